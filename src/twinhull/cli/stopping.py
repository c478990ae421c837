"""Being stopped from outside: by Ctrl-C or another key, a terminal that is closed, a service manager.

All of them ask for the same: what is running is undone, or left for ``twinhull runs resume``. Asking again leaves it as
it is.
"""

from __future__ import annotations

import os
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threading import Event
    from types import FrameType

    from twinhull.model.ports import Clock

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)

ECHO_SECONDS = 1.0
"""A closed terminal is announced by the kernel and by the shell: what follows so soon is the same request."""


def interrupt_on_stop(clock: Clock) -> None:
    """Raise KeyboardInterrupt in the main thread at each request to stop, from now on."""
    _handle(clock, _interrupt)


@contextmanager
def stopping(stop: Event, clock: Clock) -> Iterator[None]:
    """As a context: the first request sets the event, the next one raises KeyboardInterrupt."""

    def on_stop() -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {sign: signal.getsignal(sign) for sign in SIGNALS}
    _handle(clock, on_stop)
    try:
        yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)


def _leave_closed_terminal() -> None:
    """Write nowhere from now on instead of to a terminal that is gone, where each write would fail."""
    for descriptor in filter(_is_open, (0, 1, 2)):
        if stat.S_ISCHR(os.fstat(descriptor).st_mode) and not os.isatty(descriptor):
            with Path(os.devnull).open("r+b") as nowhere:
                os.dup2(nowhere.fileno(), descriptor)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _interrupt() -> None:
    raise KeyboardInterrupt


def _handle(clock: Clock, on_stop: Callable[[], None]) -> None:
    latest_seconds = float("-inf")

    def on_signal(number: int, _: FrameType | None) -> None:
        nonlocal latest_seconds
        _leave_closed_terminal()
        former_seconds, latest_seconds = latest_seconds, clock.monotonic()
        # A person who presses Ctrl-C twice means it.
        if number == signal.SIGINT or latest_seconds - former_seconds > ECHO_SECONDS:
            on_stop()

    for sign in SIGNALS:
        if signal.getsignal(sign) is not signal.SIG_IGN:  # nohup, and programs in the background of a plain shell
            signal.signal(sign, on_signal)


__all__ = ["SIGNALS", "interrupt_on_stop", "stopping"]
