"""A disk of a restore point, as the copy engine wants disks: no server between, and read-only."""

from __future__ import annotations

from collections.abc import Iterator

from twinhull.model.errors import UsageError
from twinhull.model.extents import Extent
from twinhull.repository.format.points import DiskRoot
from twinhull.repository.reading.reader import Reader


class PointDiskReader:
    """An open ``blocks.Disk`` on a disk of a point. Nothing that goes through it can change the point."""

    def __init__(self, reader: Reader, root: DiskRoot) -> None:
        self._reader = reader
        self._root = root

    @property
    def size_bytes(self) -> int:
        """The disk's virtual size."""
        return self._root.size_bytes

    def extents(self, offset_bytes: int, length_bytes: int) -> Iterator[Extent]:
        """The range as consecutive extents of data and zeros."""
        return self._reader.extents(self._root, offset_bytes, length_bytes)

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        """The bytes of the range; raises ChunkLost."""
        return self._reader.read(self._root, offset_bytes, length_bytes)

    def write(self, offset_bytes: int, data: bytes) -> None:
        """Refused: a restore point never changes."""
        raise UsageError(f"A restore point cannot be written to ({len(data)} bytes at {offset_bytes}).")

    def zero(self, offset_bytes: int, length_bytes: int) -> None:
        """Refused: a restore point never changes."""
        raise UsageError(f"A restore point cannot be written to ({length_bytes} bytes at {offset_bytes}).")

    def flush(self) -> None:
        """Nothing waits to be written."""

    def close(self) -> None:
        """Nothing is held open."""
