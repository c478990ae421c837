"""Walking the trees of many points once, and remembering what was met: one bit for each entry of the index.

A repository of a hundred million chunks is walked with some twelve MiB of marks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

from twinhull.repository.errors import RepositoryDamaged
from twinhull.repository.format.ids import ChunkId, PackId
from twinhull.repository.format.index_table import IndexTable, Place
from twinhull.repository.format.points import DiskRoot
from twinhull.repository.format.tree import Shape
from twinhull.repository.reading.chunks import Chunks
from twinhull.repository.reading.index import Index
from twinhull.repository.reading.lanes import Lanes
from twinhull.repository.upkeep.stopping import Check, never

OnMissing = Callable[[ChunkId, str], None]
"""Told of each chunk that is in no place, or is a node that cannot be read, and why."""


class Marks:
    """Which entries of the index are in use. Of several copies of a chunk one is marked, and always the same."""

    def __init__(self, index: Index, avoided: Collection[PackId] = frozenset()) -> None:
        """Copies in ``avoided`` packs are marked only where there is no other."""
        self._tables = index.tables
        self._lanes = Lanes.of(self._tables)
        self._avoided = avoided
        self._bits = {table: bytearray(len(table) // 8 + 1) for table in self._tables}

    def add(self, chunk_id: ChunkId) -> bool | None:
        """Mark a chunk: True the first time, False afterwards, None where the index has no such chunk."""
        chosen = self._choose(chunk_id)
        if not chosen:
            return None
        table, position = chosen
        bits, mask = self._bits[table], 1 << (position & 7)
        is_first = not bits[position >> 3] & mask
        bits[position >> 3] |= mask
        return is_first

    def marked_place(self, chunk_id: ChunkId) -> Place | None:
        """The copy of a chunk that is marked, None where the chunk is not."""
        chosen = self._choose(chunk_id)
        if not chosen:
            return None
        table, position = chosen
        return table.place(position) if self._bits[table][position >> 3] >> (position & 7) & 1 else None

    def places(self) -> Iterator[tuple[Place, bool]]:
        """Every entry of the index, and whether it is marked."""
        for table, bits in self._bits.items():
            for position, place in enumerate(table.places()):
                yield place, bool(bits[position >> 3] >> (position & 7) & 1)

    def _choose(self, chunk_id: ChunkId) -> tuple[IndexTable, int] | None:
        if not self._avoided:
            return self._first(chunk_id)
        fallback = None
        for table in self._lanes.around(chunk_id):
            for position in _positions(table, chunk_id):
                if table.place(position).pack.pack_id not in self._avoided:
                    return table, position
                fallback = fallback or (table, position)
        return fallback

    def _first(self, chunk_id: ChunkId) -> tuple[IndexTable, int] | None:
        for table in self._lanes.around(chunk_id):
            position = table.find(chunk_id)
            if position is not None:
                return table, position
        return None


def mark_disks(
    chunks: Chunks,
    marks: Marks,
    disks: Iterable[tuple[DiskRoot, Shape]],
    on_missing: OnMissing,
    *,
    check: Check = never,
) -> None:
    """Mark every chunk of every disk; a subtree that was met before is not walked again."""
    for root, shape in disks:
        if root.node is not None:
            _mark_node(chunks, marks, root.node, shape.top, on_missing, check=check)


def chunk_ids_of(chunks: Chunks, root: DiskRoot, shape: Shape, *, check: Check = never) -> Iterator[ChunkId]:
    """The ids of all nodes and chunks of a disk that can be reached, with repetitions."""
    if root.node is None:
        return
    below = [(root.node, shape.top)]
    while below:
        node, level = below.pop()
        yield node
        if level < 0:
            continue
        check()
        try:
            below += [(child, level - 1) for child in chunks.node(node, level) if child is not None]
        except RepositoryDamaged:
            continue


def _mark_node(chunks: Chunks, marks: Marks, node: ChunkId, level: int, on_missing: OnMissing, *, check: Check) -> None:
    check()
    is_first = marks.add(node)
    if is_first is None:
        on_missing(node, "it is in no pack")
    if not is_first:
        return
    try:
        children = chunks.node(node, level)
    except RepositoryDamaged as error:
        on_missing(node, error.message)
        return
    for child in children:
        if child is None:
            continue
        if level > 0:
            _mark_node(chunks, marks, child, level - 1, on_missing, check=check)
        elif marks.add(child) is None:
            on_missing(child, "it is in no pack")


def _positions(table: IndexTable, chunk_id: ChunkId) -> Iterator[int]:
    position = table.find(chunk_id)
    while position is not None and position < len(table) and table.rows[position] == chunk_id:
        yield position
        position += 1
