"""From the repository to a disk: content at a place, never a difference, so that applying twice does no harm."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from twinhull.actions.context import Context
from twinhull.blocks.workers import Handles, Stream, in_order
from twinhull.model.errors import DataError, TargetTooSmall
from twinhull.model.extents import Extent, pieces
from twinhull.model.progress import Progress
from twinhull.platforms.contract import DiskDoor
from twinhull.replication.compare import Difference, compare
from twinhull.replication.known import Known
from twinhull.replication.places import clipped, piece_bytes, union, windows
from twinhull.repository import DiskRoot, Repository


@dataclass(slots=True)
class Applied:
    """What was read of and written to one disk. ``written_bytes`` counts data, ``zeroed_bytes`` zeros."""

    read_bytes: int = 0
    written_bytes: int = 0
    zeroed_bytes: int = 0

    def count(self, piece: Extent) -> None:
        """One more piece is written."""
        if piece.is_zero:
            self.zeroed_bytes += piece.length_bytes
        else:
            self.written_bytes += piece.length_bytes


def apply_disk(context: Context, door: DiskDoor, name: str, root: DiskRoot, known: Known) -> Applied:
    """Bring an open disk to the root's content and make it durable; raises TargetTooSmall, DataError, site errors."""
    with Handles(door) as handles:
        require_room(handles, name, root)
        applied = Applied()
        if known.is_unknown:
            places = _unlike(context, handles, name, root, applied)
        else:
            places = places_between(context.repository, known, root)
        writer = _DiskWriting(context.repository, handles, root)
        with closing(in_order(writer.pieces(places), writer.put, context.workers)) as results:
            for piece in results:
                applied.count(piece)
                context.on_progress(Progress("apply", name, piece.end_bytes, root.size_bytes))
        handles.flush()
        return applied


def places_between(repository: Repository, known: Known, root: DiskRoot) -> Stream[Extent]:
    """Where a disk that holds what is known may differ from the root."""
    if known.half is None or known.half == root:
        yield from repository.diff(known.old, root)
        return
    either = union(repository.diff(known.old, root), repository.diff(known.old, known.half))
    yield from clipped(either, root.size_bytes)


def verify_disk(context: Context, door: DiskDoor, name: str, root: DiskRoot) -> int:
    """Compare a whole disk with the root by hashes; returns the bytes read, raises DataError where one differs."""
    read_bytes = 0
    with Handles(door) as handles:
        require_room(handles, name, root)
        with closing(compare(context.repository, handles, root, root.size_bytes, context.workers)) as results:
            for found in results:
                read_bytes += found.read_bytes
                context.on_progress(Progress("verify", name, found.end_bytes, root.size_bytes))
                if found.differences:
                    raise _unlike_error(name, found.differences[0])
    return read_bytes


def require_room(handles: Handles, name: str, root: DiskRoot) -> None:
    """Refuse a disk that is smaller than what is to be written; raises TargetTooSmall."""
    with handles.lent() as handle:
        if handle.size_bytes < root.size_bytes:
            raise TargetTooSmall(
                f"Disk {name} has {handle.size_bytes} bytes and the point has {root.size_bytes}; nothing was written.",
                hint="Make the target larger.",
            )


def _unlike_error(name: str, first: Difference) -> DataError:
    return DataError(
        f"Disk {name} differs from its point at byte {first.offset_bytes}.",
        hint="Sync once more: it is compared in full then. If it happens again, check the target's storage.",
    )


def _unlike(context: Context, handles: Handles, name: str, root: DiskRoot, applied: Applied) -> Stream[Extent]:
    with closing(compare(context.repository, handles, root, root.size_bytes, context.workers)) as results:
        for found in results:
            applied.read_bytes += found.read_bytes
            context.on_progress(Progress("compare", name, found.end_bytes, root.size_bytes))
            for difference in found.differences:
                yield difference.place


class _DiskWriting:
    def __init__(self, repository: Repository, handles: Handles, root: DiskRoot) -> None:
        self._reader = repository.reader()
        self._chunk_bytes = repository.chunk_size_bytes
        self._handles = handles
        self._root = root

    def pieces(self, places: Stream[Extent]) -> Stream[Extent]:
        """The places as the root has them: zeros as a whole, data in what a worker takes at a time."""
        with closing(places):
            for window in windows(places, self._chunk_bytes):
                for state in self._reader.extents(self._root, window.offset_bytes, window.length_bytes):
                    if state.is_zero:
                        yield state
                    else:
                        yield from pieces([state], piece_bytes(self._chunk_bytes))

    def put(self, piece: Extent) -> Extent:
        """Bring one piece to the disk."""
        with self._handles.lent() as handle:
            if piece.is_zero:
                handle.zero(piece.offset_bytes, piece.length_bytes)
            else:
                handle.write(piece.offset_bytes, self._reader.read(self._root, piece.offset_bytes, piece.length_bytes))
        return piece
