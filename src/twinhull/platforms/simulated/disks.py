"""Disks in memory: sparse, with snapshots that cost their pages' names only, and a volatile cache."""

from __future__ import annotations

from collections.abc import Iterator

from twinhull.model.extents import Extent, merged
from twinhull.model.units import KIB

PAGE_BYTES = 16 * KIB
_ZEROS = bytes(PAGE_BYTES)

Pages = dict[int, bytes]
"""Page number to content; an absent page reads as zeros. The contents never change, so a copy is a snapshot."""


class SimulatedDisk:
    """The content of one disk. What is written is durable only after ``flush``: ``cut_power`` loses the rest."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.pages: Pages = {}
        self._durable: Pages = {}

    def snapshot(self) -> SimulatedDisk:
        """The content as it is now."""
        copy = SimulatedDisk(self.size_bytes)
        copy.pages = dict(self.pages)
        copy._durable = dict(self.pages)
        return copy

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        """The bytes of the range."""
        self._check(offset_bytes, length_bytes)
        parts = [page[start:end] for _, page, start, end in self._cut(offset_bytes, length_bytes)]
        return b"".join(parts)

    def write(self, offset_bytes: int, data: bytes) -> None:
        """Write, into the cache."""
        self._check(offset_bytes, len(data))
        taken = 0
        for number, page, start, end in list(self._cut(offset_bytes, len(data))):
            piece = data[taken : taken + end - start]
            taken += end - start
            content = piece if len(piece) == PAGE_BYTES else page[:start] + piece + page[end:]
            if content == _ZEROS:
                self.pages.pop(number, None)
            else:
                self.pages[number] = bytes(content)

    def extents(self, offset_bytes: int, length_bytes: int) -> Iterator[Extent]:
        """The range as data and zero extents, by pages."""
        self._check(offset_bytes, length_bytes)
        return merged(self._page_extents(offset_bytes, length_bytes))

    def grow(self, size_bytes: int) -> None:
        """Make it larger; the new part reads as zeros."""
        if size_bytes < self.size_bytes:
            raise ValueError("a simulated disk never shrinks")
        self.size_bytes = size_bytes

    def flush(self) -> None:
        """Make all that was written durable."""
        self._durable = dict(self.pages)

    def cut_power(self) -> None:
        """Lose what was not flushed."""
        self.pages = dict(self._durable)

    def _check(self, offset_bytes: int, length_bytes: int) -> None:
        if offset_bytes < 0 or length_bytes < 0 or offset_bytes + length_bytes > self.size_bytes:
            raise ValueError(f"[{offset_bytes}, +{length_bytes}) is outside of a disk of {self.size_bytes} bytes")

    def _cut(self, offset_bytes: int, length_bytes: int) -> Iterator[tuple[int, bytes, int, int]]:
        end_bytes = offset_bytes + length_bytes
        while offset_bytes < end_bytes:
            number, start = divmod(offset_bytes, PAGE_BYTES)
            end = min(PAGE_BYTES, start + end_bytes - offset_bytes)
            yield number, self.pages.get(number, _ZEROS), start, end
            offset_bytes += end - start

    def _page_extents(self, offset_bytes: int, length_bytes: int) -> Iterator[Extent]:
        offset = offset_bytes
        for number, _, start, end in self._cut(offset_bytes, length_bytes):
            yield Extent(offset, end - start, is_zero=number not in self.pages)
            offset += end - start
