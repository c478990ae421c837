"""From a captured disk to the repository: what changed, or what differs, and nothing else.

::

    tracked:      changed() widened to chunks ─▶ data or zero? ─▶ read ─▶ write to the tree of the base
    compared:     all that is data ─▶ read ─▶ id ─▶ other than in the base's tree? ─▶ write to it
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from twinhull.blocks.disk import Disk
from twinhull.blocks.workers import Handles, Stream, in_order
from twinhull.model.errors import DataError
from twinhull.model.extents import Extent, aligned, intersection, pieces, total_bytes
from twinhull.model.machine import DiskKey
from twinhull.model.progress import Progress
from twinhull.platforms.contract import CapturedDisk
from twinhull.replication.bases import COMPARED, TRACKED
from twinhull.replication.compare import Difference, compare
from twinhull.replication.context import Context
from twinhull.replication.places import WINDOW_BYTES, chunk_states, piece_bytes, spans, windows
from twinhull.repository import DiskRoot, DiskWriter, Writer


@dataclass(frozen=True, slots=True)
class DiskRead:
    """What became of one disk. ``how`` is ``tracked`` or ``compared``; ``missed_bytes`` is what a whole tracker hid."""

    key: DiskKey
    root: DiskRoot
    how: str
    read_bytes: int
    changed_bytes: int
    missed_bytes: int = 0


def read_disk(
    context: Context, writer: Writer, disk: CapturedDisk, base: DiskRoot | None, *, is_comparing: bool
) -> DiskRead:
    """Bring a captured disk into the repository; raises what the site, the disk or the store raises."""
    with Handles(disk.open) as handles:
        with handles.lent() as handle:
            if handle.size_bytes < disk.size_bytes:
                raise DataError(
                    f"Disk {disk.key} opened with {handle.size_bytes} bytes where it has {disk.size_bytes}; "
                    "nothing of it was published."
                )
        sink = writer.disk(disk.size_bytes, base)
        reading = _Reading(context, handles, disk, sink)
        is_resized = base is not None and base.size_bytes != disk.size_bytes
        if is_comparing or not disk.is_tracked or base is None or is_resized:
            return reading.compared(base)
        return reading.tracked()


class _Reading:
    def __init__(self, context: Context, handles: Handles, disk: CapturedDisk, sink: DiskWriter) -> None:
        self._context = context
        self._handles = handles
        self._disk = disk
        self._sink = sink
        self._chunk_bytes = context.repository.chunk_size_bytes

    def tracked(self) -> DiskRead:
        places = self._tracked_places()
        total, read_bytes = total_bytes(places), 0
        with (
            self._handles.lent() as handle,
            closing(in_order(self._pieces(handle, places), self._read, self._context.workers)) as results,
        ):
            for piece, data in results:
                self._put(piece.offset_bytes, piece.length_bytes, data)
                read_bytes += len(data or b"")
                self._tell(read_bytes, total)
        return DiskRead(self._disk.key, self._sink.finish(), TRACKED, read_bytes, total)

    def compared(self, base: DiskRoot | None) -> DiskRead:
        hinted = _Hinted(self._tracked_places()) if self._disk.is_tracked else None
        read_bytes = changed_bytes = missed_bytes = 0
        size = self._disk.size_bytes
        with closing(compare(self._context.repository, self._handles, base, size, self._context.workers)) as results:
            for found in results:
                read_bytes += found.read_bytes
                for difference in found.differences:
                    self._put(difference.offset_bytes, difference.length_bytes, difference.data)
                    changed_bytes += difference.length_bytes
                    missed_bytes += _missed(hinted, difference, self._chunk_bytes)
                self._tell(found.end_bytes, size)
        return DiskRead(self._disk.key, self._sink.finish(), COMPARED, read_bytes, changed_bytes, missed_bytes)

    def _tracked_places(self) -> list[Extent]:
        return list(aligned(self._disk.changed(), self._chunk_bytes, self._disk.size_bytes))

    def _pieces(self, handle: Disk, places: Sequence[Extent]) -> Stream[Extent]:
        for span, members in spans(windows(places, self._chunk_bytes), WINDOW_BYTES):
            for state in intersection(members, chunk_states(handle, span, self._chunk_bytes)):
                if state.is_zero:
                    yield state
                else:
                    yield from pieces([state], piece_bytes(self._chunk_bytes))

    def _read(self, piece: Extent) -> tuple[Extent, bytes | None]:
        if piece.is_zero:
            return piece, None
        with self._handles.lent() as handle:
            return piece, handle.read(piece.offset_bytes, piece.length_bytes)

    def _put(self, offset_bytes: int, length_bytes: int, data: bytes | None) -> None:
        if data is None:
            self._sink.zero(offset_bytes, length_bytes)
        else:
            self._sink.write(offset_bytes, data)

    def _tell(self, done_bytes: int, total_bytes: int) -> None:
        self._context.on_progress(Progress("read", self._disk.key, done_bytes, total_bytes))


class _Hinted:
    """What a tracker calls changed, to be asked for single places."""

    def __init__(self, places: Sequence[Extent]) -> None:
        self._places = places
        self._starts = [place.offset_bytes for place in places]

    def covers(self, place: Extent) -> bool:
        at = bisect_right(self._starts, place.offset_bytes) - 1
        return at >= 0 and place.end_bytes <= self._places[at].end_bytes


def _missed(hinted: _Hinted | None, difference: Difference, chunk_bytes: int) -> int:
    if not hinted:
        return 0
    chunks = pieces([difference.place], chunk_bytes)
    return sum(chunk.length_bytes for chunk in chunks if not hinted.covers(chunk))
