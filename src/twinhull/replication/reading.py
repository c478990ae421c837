"""From a captured disk to the repository: what changed, or what differs, and nothing else.

::

    tracked:      is what it calls unchanged still there? ─▶ changed() widened to chunks ─▶ data or zero?
                  ─▶ read ─▶ write to the tree of the base
    compared:     all that is data ─▶ read ─▶ id ─▶ other than in the base's tree? ─▶ write to it

What the base has in damaged packs of the repository is read and written in both ways, changed or not. A base whose tree
is lost in part is no base: all of the disk is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from twinhull.actions.context import Context
from twinhull.blocks.disk import Disk
from twinhull.blocks.workers import Handles, Stream, in_order
from twinhull.model.errors import DataError
from twinhull.model.extents import Extent, aligned, intersection, pieces, total_bytes
from twinhull.model.machine import DiskKey
from twinhull.model.progress import Progress
from twinhull.platforms.contract import CapturedDisk
from twinhull.replication.bases import COMPARED, TRACKED
from twinhull.replication.compare import Compared, Difference, compare
from twinhull.replication.places import WINDOW_BYTES, Places, chunk_states, piece_bytes, spans, union, windows
from twinhull.replication.unwritten import is_cut
from twinhull.repository import ChunkLost, DiskRoot, Writer


class NotWhole(Exception):
    """A disk must be compared in full, and only what its tracker calls changed can be read in this capture.

    The capture is made once more, without trackers.
    """

    def __init__(self, key: DiskKey, reason: str) -> None:
        super().__init__(reason)
        self.key = key
        self.reason = reason


@dataclass(frozen=True, slots=True)
class DiskRead:
    """What became of one disk. ``how`` is ``tracked`` or ``compared``; ``missed_bytes`` is what a whole tracker hid.

    ``mended_bytes`` were damaged in the repository and are stored anew; ``is_base_lost``: it is built on no base.
    ``is_cut``: it was compared because it had lost what its tracker calls unchanged. The chunk that is read to know
    that is not counted in ``read_bytes``.
    """

    key: DiskKey
    root: DiskRoot
    how: str
    read_bytes: int
    changed_bytes: int
    missed_bytes: int = 0
    mended_bytes: int = 0
    is_base_lost: bool = False
    is_cut: bool = False


def read_disk(
    context: Context, writer: Writer, disk: CapturedDisk, base: DiskRoot | None, *, is_comparing: bool
) -> DiskRead:
    """Bring a captured disk into the repository; raises what the site, the disk or the store raises, and NotWhole."""
    with Handles(disk.open) as handles:
        with handles.lent() as handle:
            if handle.size_bytes < disk.size_bytes:
                raise DataError(
                    f"Disk {disk.key} opened with {handle.size_bytes} bytes where it has {disk.size_bytes}; "
                    "nothing of it was published."
                )
        is_resized = base is not None and base.size_bytes != disk.size_bytes
        is_tracked = disk.is_tracked and base is not None and not is_comparing and not is_resized
        if not disk.is_whole and not is_tracked:
            raise NotWhole(disk.key, "it is compared in full")
        try:
            reading = _Reading(context, handles, disk, base, writer)
            reading.require_readable()
            if is_tracked and disk.is_whole and reading.is_cut():
                return replace(reading.compared(), is_cut=True)
            return reading.tracked() if is_tracked else reading.compared()
        except ChunkLost:
            if base is None:
                raise
            if not disk.is_whole:
                raise NotWhole(disk.key, "part of it is lost in the repository") from None
        return replace(_Reading(context, handles, disk, None, writer).compared(), is_base_lost=True)


class _Reading:
    def __init__(
        self, context: Context, handles: Handles, disk: CapturedDisk, base: DiskRoot | None, writer: Writer
    ) -> None:
        self._context = context
        self._handles = handles
        self._disk = disk
        self._base = base
        self._gaps = writer.gaps(base) if base else []
        self._sink = writer.disk(disk.size_bytes, base)
        self._chunk_bytes = context.repository.chunk_size_bytes

    def require_readable(self) -> None:
        """Where only changes can be read, nothing else may be wanted; raises NotWhole."""
        if self._disk.is_whole:
            return
        changed = Places(self._tracked_places())
        if not all(changed.cover(gap) for gap in self._gaps):
            raise NotWhole(self._disk.key, "part of it was damaged in the repository")
        if self.is_cut():
            raise NotWhole(self._disk.key, "it may have been made smaller and larger again")

    def is_cut(self) -> bool:
        """Whether the disk was changed where nothing was written."""
        if self._base is None:
            return False
        only = None if self._disk.is_whole else self._disk.probes
        with self._handles.lent() as handle:
            return is_cut(self._context.repository, handle, self._base, self._tracked_places(), only)

    def tracked(self) -> DiskRead:
        places = list(union(self._tracked_places(), self._gaps))
        total, read_bytes = total_bytes(places), 0
        with (
            self._handles.lent() as handle,
            closing(in_order(self._pieces(handle, places), self._read, self._context.workers)) as results,
        ):
            for piece, data in results:
                self._put(piece.offset_bytes, piece.length_bytes, data)
                read_bytes += len(data or b"")
                self._tell(read_bytes, total)
        mended = total_bytes(self._gaps)
        return DiskRead(self._disk.key, self._sink.finish(), TRACKED, read_bytes, total, mended_bytes=mended)

    def compared(self) -> DiskRead:
        hinted = Places(self._tracked_places()) if self._disk.is_tracked and self._base else None
        read_bytes = changed_bytes = missed_bytes = mended_bytes = 0
        with closing(self._compare()) as results:
            for found in results:
                read_bytes += found.read_bytes
                for difference in found.differences:
                    self._put(difference.offset_bytes, difference.length_bytes, difference.data)
                    if difference.is_same:
                        mended_bytes += difference.length_bytes
                        continue
                    changed_bytes += difference.length_bytes
                    missed_bytes += _missed(hinted, difference, self._chunk_bytes)
                self._tell(found.end_bytes, self._disk.size_bytes)
        root = self._sink.finish()
        return DiskRead(self._disk.key, root, COMPARED, read_bytes, changed_bytes, missed_bytes, mended_bytes)

    def _compare(self) -> Stream[Compared]:
        repository, size = self._context.repository, self._disk.size_bytes
        workers, wanted = self._context.workers, Places(self._gaps)
        return compare(repository, self._handles, self._base, size, workers, wanted=wanted)

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


def _missed(hinted: Places | None, difference: Difference, chunk_bytes: int) -> int:
    if not hinted:
        return 0
    chunks = pieces([difference.place], chunk_bytes)
    return sum(chunk.length_bytes for chunk in chunks if not hinted.cover(chunk))
