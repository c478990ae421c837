"""Extents: byte ranges of a disk, and the little algebra they need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Extent:
    """The byte range ``[offset_bytes, offset_bytes + length_bytes)`` of a disk.

    ``is_zero`` says that the range is known to read as zeros; otherwise it may hold anything. Whether a list of extents
    means *data* or *changes* is said by whoever returns it.
    """

    offset_bytes: int
    length_bytes: int
    is_zero: bool = False

    @property
    def end_bytes(self) -> int:
        """The first byte behind the range."""
        return self.offset_bytes + self.length_bytes


def total_bytes(extents: Iterable[Extent]) -> int:
    """The sum of the lengths."""
    return sum(extent.length_bytes for extent in extents)


def merged(extents: Iterable[Extent]) -> Iterator[Extent]:
    """Join neighbours of the same state; the extents come sorted by offset and do not overlap."""
    last: Extent | None = None
    for extent in extents:
        if last and last.end_bytes == extent.offset_bytes and last.is_zero == extent.is_zero:
            last = Extent(last.offset_bytes, last.length_bytes + extent.length_bytes, last.is_zero)
            continue
        if last:
            yield last
        last = extent
    if last:
        yield last


def aligned(extents: Iterable[Extent], grain_bytes: int, size_bytes: int) -> Iterator[Extent]:
    """Widen extents to multiples of ``grain_bytes`` (clipped to ``size_bytes``), sorted, disjoint, states dropped.

    What a tracker calls changed is widened so, because the repository keeps whole chunks.
    """
    end = 0
    pending: Extent | None = None
    for extent in sorted(extents):
        if extent.length_bytes == 0:
            continue
        start = max(extent.offset_bytes // grain_bytes * grain_bytes, end)
        end = min(-(-extent.end_bytes // grain_bytes) * grain_bytes, size_bytes)
        if end <= start:
            end = max(start, end)
            continue
        if pending and pending.end_bytes == start:
            pending = Extent(pending.offset_bytes, end - pending.offset_bytes)
            continue
        if pending:
            yield pending
        pending = Extent(start, end - start)
    if pending:
        yield pending


def pieces(extents: Iterable[Extent], piece_bytes: int) -> Iterator[Extent]:
    """Cut extents at multiples of ``piece_bytes``, so that no piece crosses one."""
    for extent in extents:
        offset = extent.offset_bytes
        while offset < extent.end_bytes:
            end = min((offset // piece_bytes + 1) * piece_bytes, extent.end_bytes)
            yield Extent(offset, end - offset, extent.is_zero)
            offset = end


def intersection(left: Iterable[Extent], right: Iterable[Extent]) -> Iterator[Extent]:
    """The ranges in both; each side is sorted and disjoint; a range is zero where ``right`` says so."""
    rights = iter(right)
    current = next(rights, None)
    for extent in left:
        while current and current.end_bytes <= extent.offset_bytes:
            current = next(rights, None)
        while current and current.offset_bytes < extent.end_bytes:
            start = max(extent.offset_bytes, current.offset_bytes)
            end = min(extent.end_bytes, current.end_bytes)
            yield Extent(start, end - start, current.is_zero)
            if current.end_bytes > extent.end_bytes:
                break
            current = next(rights, None)
