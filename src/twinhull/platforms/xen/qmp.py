"""QEMU's own language, for the QEMU in dom0 that serves a running machine's disks.

libxl uses another monitor of the same QEMU; this one is there for statistics, and one client at a time may use it.

Source: QEMU, docs/interop/qmp-spec.rst.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from twinhull.model.errors import SiteError
from twinhull.model.lines import LineSocket
from twinhull.model.ports import Clock

ANSWER_SECONDS = 30.0
"""How long QEMU may take to answer one command."""

SETTLE_SECONDS = 30.0
"""How long jobs and exports may take to end after they were told to."""

_POLL_SECONDS = 0.05


class QmpRefused(SiteError):
    """QEMU refused a command; the message says which and why."""


class QemuGone(SiteError):
    """The QEMU that served a machine's disks is dead; nothing of ours is in it any more."""


class Qmp:
    """One connection to a QEMU."""

    def __init__(self, name: str, pipe: LineSocket, clock: Clock) -> None:
        self._name = name
        self._pipe = pipe
        self._clock = clock

    def __call__(self, command: str, **arguments: object) -> Any:  # noqa: ANN401 - whatever QEMU answers
        """Run a command and return its answer; raises QmpRefused, SiteError where QEMU does not answer."""
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        try:
            self._pipe.send(json.dumps({"execute": command, "arguments": named}).encode())
            return self._answer(command)
        except OSError as error:
            raise SiteError(f"The QEMU of machine {self._name} did not answer {command}: {error}") from error

    def _answer(self, command: str) -> Any:  # noqa: ANN401 - whatever QEMU answers
        while line := self._pipe.line():
            answer = json.loads(line)
            if "error" in answer:
                reason = answer["error"]["desc"]
                raise QmpRefused(f"The QEMU of machine {self._name} refused {command}: {reason}")
            if "return" in answer:
                return answer["return"]
        raise SiteError(
            f"The QEMU of machine {self._name} went away during {command}.", hint="Was the machine switched off?"
        )

    def hello(self) -> None:
        """Read QEMU's greeting and begin."""
        try:
            greeting = self._pipe.line()
        except OSError as error:
            raise SiteError(f"The QEMU of machine {self._name} does not greet: {error}") from error
        if not greeting:
            raise QemuGone(f"The QEMU of machine {self._name} is gone: its monitor closed at once.")
        self("qmp_capabilities")

    def settle(self, what: str, is_done: Callable[[], bool], seconds: float = SETTLE_SECONDS) -> None:
        """Wait until something that ends in the background has ended; raises SiteError."""
        deadline = self._clock.monotonic() + seconds
        while not is_done():
            if self._clock.monotonic() > deadline:
                raise SiteError(f"In the QEMU of machine {self._name} {what} did not end in {seconds:.0f} s.")
            self._clock.sleep(_POLL_SECONDS)

    def nodes(self) -> Sequence[Mapping[str, Any]]:
        """All block nodes."""
        nodes: Sequence[Mapping[str, Any]] = self("query-named-block-nodes", flat=True)
        return nodes


@contextmanager
def talking(socket_path: str, name: str, clock: Clock) -> Iterator[Qmp]:
    """Talk to the QEMU behind a socket of this machine."""
    try:
        pipe = LineSocket(socket_path, ANSWER_SECONDS)
    except OSError as error:
        raise QemuGone(f"The QEMU of machine {name} cannot be reached: {error}") from error
    with pipe:
        qmp = Qmp(name, pipe, clock)
        qmp.hello()
        yield qmp
