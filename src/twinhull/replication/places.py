"""Where to read and write: places of a disk in whole chunks, as streams, so that memory does not grow with the disk."""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

from twinhull.blocks.disk import Disk
from twinhull.model.extents import Extent, aligned, pieces
from twinhull.model.units import GIB, MIB

WINDOW_BYTES = GIB
"""How much of a disk is asked for its extents at a time."""
PIECE_BYTES = MIB
"""What a worker reads or writes at a time, where chunks are smaller."""


class Places:
    """Sorted, disjoint places, to be asked for single ones."""

    def __init__(self, places: Sequence[Extent]) -> None:
        self._places = places
        self._starts = [place.offset_bytes for place in places]

    def cover(self, place: Extent) -> bool:
        """Whether one of them holds all of a place."""
        at = bisect_right(self._starts, place.offset_bytes) - 1
        return at >= 0 and place.end_bytes <= self._places[at].end_bytes


NOWHERE = Places(())


def piece_bytes(chunk_bytes: int) -> int:
    """What a worker takes at a time: whole chunks."""
    return max(PIECE_BYTES // chunk_bytes, 1) * chunk_bytes


def whole(size_bytes: int) -> Iterator[Extent]:
    """All of a disk."""
    if size_bytes:
        yield Extent(0, size_bytes)


def windows(places: Iterable[Extent], chunk_bytes: int) -> Iterator[Extent]:
    """The places, cut at multiples of the window."""
    return pieces(places, max(WINDOW_BYTES // chunk_bytes, 1) * chunk_bytes)


def chunk_states(disk: Disk, place: Extent, chunk_bytes: int) -> Iterator[Extent]:
    """A chunk-aligned place as chunk-aligned data and zero extents; a chunk is zero where all of it is known to be."""
    found = disk.extents(place.offset_bytes, place.length_bytes)
    data = aligned((extent for extent in found if not extent.is_zero), chunk_bytes, place.end_bytes)
    position = place.offset_bytes
    for extent in data:
        if extent.offset_bytes > position:
            yield Extent(position, extent.offset_bytes - position, is_zero=True)
        yield extent
        position = extent.end_bytes
    if position < place.end_bytes:
        yield Extent(position, place.end_bytes - position, is_zero=True)


def union(*sides: Iterable[Extent]) -> Iterator[Extent]:
    """The places of any side, sorted and disjoint; each side is sorted; states are dropped."""
    pending: Extent | None = None
    for extent in heapq.merge(*sides):
        if pending and extent.offset_bytes <= pending.end_bytes:
            end = max(pending.end_bytes, extent.end_bytes)
            pending = Extent(pending.offset_bytes, end - pending.offset_bytes)
            continue
        if pending:
            yield pending
        pending = Extent(extent.offset_bytes, extent.length_bytes)
    if pending:
        yield pending


def clipped(places: Iterable[Extent], size_bytes: int) -> Iterator[Extent]:
    """What of the places lies inside of a disk of that size."""
    for place in places:
        length = min(place.end_bytes, size_bytes) - place.offset_bytes
        if length > 0:
            yield Extent(place.offset_bytes, length, place.is_zero)


def spans(places: Iterable[Extent], limit_bytes: int) -> Iterator[tuple[Extent, list[Extent]]]:
    """Sorted places, gathered while they lie within the limit: one question about a span serves all places in it."""
    members: list[Extent] = []
    for place in places:
        if members and place.end_bytes - members[0].offset_bytes > limit_bytes:
            yield _span(members), members
            members = []
        members.append(place)
    if members:
        yield _span(members), members


def _span(members: list[Extent]) -> Extent:
    start = members[0].offset_bytes
    return Extent(start, members[-1].end_bytes - start)
