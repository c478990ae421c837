"""Room that is kept on a disk, to be given up for what makes room: removals, collections, and a manager's own records.

A disk that is full to the last byte takes no removal and no decision of a collection: nothing could ever be deleted.
The reserve is a file without content in the directory of a store, or of a manager's state; it is cut short by what is
needed, and made whole again once there is room.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from twinhull.model.units import KIB, MIB

FILE_NAME = ".twinhull-reserve"
MAX_RESERVE_BYTES = 8 * MIB
"""Enough for a thousand removals, or for a collection of some ten thousand packs."""
LEAST_RESERVE_BYTES = 256 * KIB
SHARE_OF_DISK = 1 / 64
"""The most of a small disk that is kept."""
FREE_TIMES = 4
"""The reserve is made when that many times its size is free: it takes no room that captures are about to need."""
LOW_BYTES = MIB
"""A disk that has less is nearly full; what commands write down of themselves fits into that."""
SLACK_BYTES = 128 * KIB
"""What is given up beside an object's own bytes: directories and the file system's own records grow, too."""


@dataclass(frozen=True, slots=True)
class Reserve:
    """The reserve in a directory."""

    root: Path

    @property
    def path(self) -> Path:
        """Its file."""
        return self.root / FILE_NAME

    def fill(self) -> None:
        """Make it as large as it should be, if there is plenty of room; a disk that cannot is left without one."""
        with suppress(OSError):
            disk = os.statvfs(self.root)
            wanted = min(MAX_RESERVE_BYTES, int(disk.f_blocks * disk.f_frsize * SHARE_OF_DISK))
            missing = wanted - self._size()
            if missing > 0 and wanted >= LEAST_RESERVE_BYTES and disk.f_bavail * disk.f_frsize > FREE_TIMES * missing:
                self._allocate(wanted)

    def tend(self) -> None:
        """Give some of it up if the disk is nearly full, and make it whole if there is plenty of room."""
        with suppress(OSError):
            disk = os.statvfs(self.root)
            if disk.f_bavail * disk.f_frsize < LOW_BYTES:
                self.give_up(LOW_BYTES)
                return
        self.fill()

    def give_up(self, needed_bytes: int) -> bool:
        """Give the disk that much room, and a little more; whether there was anything to give."""
        left = self._size() - needed_bytes - SLACK_BYTES
        try:
            if left > 0:
                os.truncate(self.path, left)
            else:
                self.path.unlink()
        except FileNotFoundError:
            return False
        return True

    def _size(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def _allocate(self, size_bytes: int) -> None:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, size_bytes)
        finally:
            os.close(descriptor)
