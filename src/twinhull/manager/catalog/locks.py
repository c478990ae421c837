"""Who works on what: locks that the kernel takes back when their process dies, however it dies.

A machine's lock is the proof that nobody runs anything on it: whoever holds it may run on that machine, or go on with
what a dead process left unfinished.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from twinhull.model.ports import Clock

_POLL_SECONDS = 0.1


@dataclass
class Lock:
    """A lock on a file, held from ``try_take`` (or ``take``) until ``release``; a context releases it."""

    path: Path
    _descriptor: int | None = None

    def try_take(self, holder: str) -> bool:
        """Take it if it is free; ``holder`` is one line for those who wait."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, holder.encode(), 0)
        self._descriptor = descriptor
        return True

    def take(self, holder: str, clock: Clock, *, is_unwanted: Callable[[], bool]) -> bool:
        """Wait until it is free, or until ``is_unwanted`` says that nobody wants it any more."""
        while not self.try_take(holder):
            if is_unwanted():
                return False
            clock.sleep(_POLL_SECONDS)
        return True

    def holder(self) -> str:
        """What the present or the latest holder said of itself."""
        try:
            return self.path.read_text(encoding="utf-8", errors="replace").strip()
        except FileNotFoundError:
            return ""

    def release(self) -> None:
        """Give it back; safe to repeat. The file stays: removing it would let two hold 'the same' lock."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        """It is held already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give it back."""
        self.release()


def is_free(path: Path) -> bool:
    """Whether nobody holds the lock at this moment."""
    if not path.exists():
        return True
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
