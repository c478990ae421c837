"""What every disk is to us, wherever it lies: something with extents, reads and writes.

The real ones are NBD exports (:mod:`twinhull.blocks.nbd`); a restore point, a replica, a running machine's disk and a
plain file are all opened as one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from twinhull.model.extents import Extent


class Disk(Protocol):
    """An open disk. One handle is used by one thread at a time; open several for parallel work."""

    @property
    def size_bytes(self) -> int:
        """The disk's virtual size."""
        ...

    def extents(self, offset_bytes: int, length_bytes: int) -> Iterator[Extent]:
        """The range as consecutive extents, each known to be zero or possibly data; covers the range exactly."""
        ...

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        """The bytes of the range; raises DataError where they cannot be had."""
        ...

    def write(self, offset_bytes: int, data: bytes) -> None:
        """Write; durable only after ``flush``."""
        ...

    def zero(self, offset_bytes: int, length_bytes: int) -> None:
        """Make the range read as zeros, giving its space back where the disk can."""
        ...

    def flush(self) -> None:
        """Return when everything written is durable."""
        ...

    def close(self) -> None:
        """Close the handle; safe to repeat. Does not flush."""
        ...


class DiskOpener(Protocol):
    """Opens one more handle on the same disk, for a further worker."""

    def __call__(self) -> Disk:
        """Open."""
        ...
