"""Changes that no tracker counts, because nothing was written: a disk that was made smaller and larger again.

What was cut off reads as zeros then, and the tracker, cut and grown with the disk, calls it unchanged. Such a cut takes
everything from one place to the end. So one place proves or disproves it: of all that the tracker calls unchanged and
that is data in the last point, the one nearest the end::

    last point   ▓▓▓▓▓▓░░▓▓▓▓▓▓▓▓▓▓░░▓▓░░     ▓ data  ░ zeros
    tracker      ..........c..........c...     c changed
                                    ▲          this chunk is read, and must be as it was
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import islice

from twinhull.blocks.disk import Disk
from twinhull.model.extents import Extent
from twinhull.model.units import GIB
from twinhull.repository import DiskRoot, Reader, Repository

PROBE_CHUNKS = 16
"""How many chunks of data nearest the end are made readable where else only changes are: some may have changed."""

_FIRST_CHUNKS = 64
"""How much of the disk's end is searched first; each further window is twice as large, up to a GiB."""


def is_cut(
    repository: Repository,
    disk: Disk,
    base: DiskRoot,
    changed: Sequence[Extent],
    only: Sequence[Extent] | None = None,
) -> bool:
    """Whether the disk lost what its tracker calls unchanged; ``changed`` are whole chunks, sorted.

    Where ``only`` some places can be read, and the one that proves it is not among them, it may have.
    """
    reader = repository.reader()
    place = _highest_unchanged(reader, base, changed, repository.chunk_size_bytes)
    if place is None:
        return False
    if only is not None and place not in only:
        return True
    [known] = reader.chunk_ids(base, place.offset_bytes, place.length_bytes)
    return repository.chunk_id(memoryview(disk.read(place.offset_bytes, place.length_bytes))) != known


def probes(repository: Repository, base: DiskRoot) -> tuple[Extent, ...]:
    """The chunks of data nearest the disk's end, the nearest first."""
    chunk_bytes = repository.chunk_size_bytes
    found = (
        Extent(start, min(start + chunk_bytes, data.end_bytes) - start)
        for data in _data_from_the_end(repository.reader(), base, chunk_bytes)
        for start in reversed(range(data.offset_bytes, data.end_bytes, chunk_bytes))
    )
    return tuple(islice(found, PROBE_CHUNKS))


def _highest_unchanged(reader: Reader, base: DiskRoot, changed: Sequence[Extent], chunk_bytes: int) -> Extent | None:
    starts = [place.offset_bytes for place in changed]
    for data in _data_from_the_end(reader, base, chunk_bytes):
        end = data.end_bytes
        while end > data.offset_bytes:
            start = max((end - 1) // chunk_bytes * chunk_bytes, data.offset_bytes)
            at = bisect_right(starts, start) - 1
            if at < 0 or changed[at].end_bytes <= start:
                return Extent(start, end - start)
            end = changed[at].offset_bytes
    return None


def _data_from_the_end(reader: Reader, base: DiskRoot, chunk_bytes: int) -> Iterator[Extent]:
    end, window = base.size_bytes, _FIRST_CHUNKS * chunk_bytes
    while end > 0:
        start = max((end - 1) // chunk_bytes * chunk_bytes + chunk_bytes - window, 0)
        data = [extent for extent in reader.extents(base, start, end - start) if not extent.is_zero]
        yield from reversed(data)
        end, window = start, min(2 * window, max(GIB, _FIRST_CHUNKS * chunk_bytes))
