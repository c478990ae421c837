"""Comparing a disk with a restore point, chunk by chunk, by their ids: what no tracker can spoil."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from enum import Enum
from itertools import groupby

from twinhull.blocks.disk import Disk
from twinhull.blocks.workers import Handles, Stream, in_order
from twinhull.model.extents import Extent, aligned, pieces
from twinhull.replication.places import NOWHERE, Places, chunk_states, piece_bytes, whole, windows
from twinhull.repository import ChunkId, DiskRoot, Repository


@dataclass(frozen=True, slots=True)
class Difference:
    """Neighbouring chunks in which a disk differs from a point, all of them zeros there or all of them data.

    ``data`` is what the disk holds, None where it is zeros. ``is_same``: it is what the point has, and wanted anew.
    """

    offset_bytes: int
    length_bytes: int
    data: bytes | None
    is_same: bool = False

    @property
    def place(self) -> Extent:
        """Where."""
        return Extent(self.offset_bytes, self.length_bytes)


@dataclass(frozen=True, slots=True)
class Compared:
    """What comparing one piece of a disk has found; ``read_bytes`` were read of the disk for it."""

    end_bytes: int
    read_bytes: int
    differences: list[Difference]


def compare(
    repository: Repository,
    handles: Handles,
    root: DiskRoot | None,
    size_bytes: int,
    workers: int,
    *,
    wanted: Places = NOWHERE,
) -> Stream[Compared]:
    """Compare a disk of that size with the root (None: with zeros), piece by piece, in order.

    Reads what the disk does not know to be zero. What the root does not reach counts as zeros. What is in the
    ``wanted`` places is a difference even if it is the same.
    """
    comparer = _Comparer(repository, handles, root, wanted)
    with handles.lent() as disk:
        found = in_order(_pieces(disk, size_bytes, repository.chunk_size_bytes), comparer.piece, workers)
        with closing(found):
            yield from found


def _pieces(disk: Disk, size_bytes: int, chunk_bytes: int) -> Stream[Extent]:
    for window in windows(whole(size_bytes), chunk_bytes):
        for state in chunk_states(disk, window, chunk_bytes):
            if state.is_zero:
                yield state
            else:
                yield from pieces([state], piece_bytes(chunk_bytes))


class _State(Enum):
    SAME = 1
    DATA = 2
    ZERO = 3
    WANTED = 4


class _Comparer:
    def __init__(self, repository: Repository, handles: Handles, root: DiskRoot | None, wanted: Places) -> None:
        self._repository = repository
        self._chunk_bytes = repository.chunk_size_bytes
        self._reader = repository.reader()
        self._handles = handles
        self._root = root
        self._wanted = wanted

    def piece(self, place: Extent) -> Compared:
        """Compare one piece; zero ones are not read, whatever their length."""
        if place.is_zero:
            unlike = [Difference(data.offset_bytes, data.length_bytes, None) for data in self._data(place)]
            return Compared(place.end_bytes, 0, unlike)
        with self._handles.lent() as disk:
            data = disk.read(place.offset_bytes, place.length_bytes)
        return Compared(place.end_bytes, place.length_bytes, list(self._unlike(place, data)))

    def _unlike(self, place: Extent, data: bytes) -> Iterator[Difference]:
        """The chunks of a piece whose ids are others than the root's."""
        for state, numbers in groupby(enumerate(self._states(place, data)), key=lambda found: found[1]):
            if state is not _State.SAME:
                first, *_ = run = [number for number, _ in numbers]
                start, end = first * self._chunk_bytes, min((run[-1] + 1) * self._chunk_bytes, len(data))
                content = None if state is _State.ZERO else data[start:end]
                yield Difference(place.offset_bytes + start, end - start, content, state is _State.WANTED)

    def _states(self, place: Extent, data: bytes) -> Iterator[_State]:
        """What each chunk of a piece is beside the root's."""
        view = memoryview(data)
        for number, known in enumerate(self._known_ids(place)):
            chunk = view[number * self._chunk_bytes : (number + 1) * self._chunk_bytes]
            state = self._state(chunk, known)
            is_wanted = state is _State.SAME and known and self._is_wanted(place.offset_bytes, number)
            yield _State.WANTED if is_wanted else state

    def _state(self, chunk: memoryview, known: ChunkId | None) -> _State:
        if known is None:  # no hash is needed to see whether it is zeros
            return _State.SAME if self._repository.is_zero(chunk) else _State.DATA
        found = self._repository.chunk_id(chunk)
        return _State.SAME if found == known else _State.DATA if found else _State.ZERO

    def _is_wanted(self, offset_bytes: int, number: int) -> bool:
        return self._wanted.cover(Extent(offset_bytes + number * self._chunk_bytes, 1))

    def _known_ids(self, place: Extent) -> list[ChunkId | None]:
        count = -(-place.length_bytes // self._chunk_bytes)
        inside = self._inside(place)
        known = list(self._reader.chunk_ids(self._root, place.offset_bytes, inside)) if self._root and inside else []
        return known + [None] * (count - len(known))

    def _data(self, place: Extent) -> list[Extent]:
        inside = self._inside(place)
        if not self._root or not inside:
            return []
        found = self._reader.extents(self._root, place.offset_bytes, inside)
        # A short last chunk of a smaller root is widened to the chunk that it is in this disk.
        data = aligned((e for e in found if not e.is_zero), self._chunk_bytes, place.end_bytes)
        return list(data)

    def _inside(self, place: Extent) -> int:
        """How much of the place the root reaches."""
        return max(min(place.end_bytes, self._root.size_bytes) - place.offset_bytes, 0) if self._root else 0
