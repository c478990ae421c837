"""A lock on a state directory that the kernel takes back when its process dies, however it dies.

Who works on a machine is a claim in the record of runs (``record/claims.py``), which other hosts see, too.
"""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self


@dataclass
class Lock:
    """A lock on a file, held from ``try_take`` until ``release``; a context releases it."""

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
