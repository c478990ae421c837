"""A disk in memory: for tests, simulation and whatever fits."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock

from twinhull.model.errors import DataError
from twinhull.model.extents import Extent, merged
from twinhull.model.units import KIB

GRAIN_BYTES = 64 * KIB
"""The granularity in which a memory disk knows about zeros."""


class MemoryDisk:
    """Bytes in memory behind the :class:`~twinhull.blocks.disk.Disk` protocol; grains never written take no space.

    All handles may share one object: closing changes nothing, and a lock keeps threads apart.
    """

    def __init__(self, size_bytes: int, content: bytes = b"") -> None:
        self.size_bytes = size_bytes
        self.flush_count = 0
        self._grains: dict[int, bytearray] = {}
        self._lock = Lock()
        if content:
            self.write(0, content)

    def extents(self, offset_bytes: int, length_bytes: int) -> Iterator[Extent]:
        """The range as consecutive extents; a grain that was never written, or zeroed as a whole, is zero."""
        self._check(offset_bytes, length_bytes)
        with self._lock:
            known = list(self._pieces(offset_bytes, length_bytes))
            found = [Extent(start, length, start // GRAIN_BYTES not in self._grains) for start, length in known]
        return merged(found)

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        """The bytes of the range."""
        self._check(offset_bytes, length_bytes)
        with self._lock:
            return b"".join(self._read_piece(*piece) for piece in self._pieces(offset_bytes, length_bytes))

    def write(self, offset_bytes: int, data: bytes) -> None:
        """Write."""
        self._check(offset_bytes, len(data))
        with self._lock:
            for start, length in self._pieces(offset_bytes, len(data)):
                index, within = divmod(start, GRAIN_BYTES)
                grain = self._grains.setdefault(index, bytearray(GRAIN_BYTES))
                grain[within : within + length] = data[start - offset_bytes : start - offset_bytes + length]

    def zero(self, offset_bytes: int, length_bytes: int) -> None:
        """Make the range read as zeros; whole grains are given back."""
        self._check(offset_bytes, length_bytes)
        with self._lock:
            for start, length in self._pieces(offset_bytes, length_bytes):
                index, within = divmod(start, GRAIN_BYTES)
                if length == GRAIN_BYTES:
                    self._grains.pop(index, None)
                elif index in self._grains:
                    self._grains[index][within : within + length] = bytes(length)

    def flush(self) -> None:
        """Count the call; memory needs no more."""
        self.flush_count += 1

    def close(self) -> None:
        """Nothing to close."""

    def _check(self, offset: int, length: int) -> None:
        if offset < 0 or length < 0 or offset + length > self.size_bytes:
            raise DataError(f"Bytes {offset} to {offset + length} lie outside of a disk of {self.size_bytes} bytes.")

    def _pieces(self, offset: int, length: int) -> Iterator[tuple[int, int]]:
        end = offset + length
        while offset < end:
            step = min((offset // GRAIN_BYTES + 1) * GRAIN_BYTES, end) - offset
            yield offset, step
            offset += step

    def _read_piece(self, start: int, length: int) -> bytes:
        index, within = divmod(start, GRAIN_BYTES)
        grain = self._grains.get(index)
        return bytes(length) if grain is None else bytes(grain[within : within + length])
