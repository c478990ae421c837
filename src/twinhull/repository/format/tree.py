"""A disk as a tree of chunk ids with a fan-out of 64; an empty subtree is nothing at all.

The nodes above the data chunks are at level 0, their parents at level 1, and so on to one root. A node is
``level u8 | 0 7 | present u64 | the ids of the present children, 32 bytes each``: bit *n* of ``present`` stands for
child *n*, and what is not present is zeros. No node is empty: its parent leaves it out instead. The number of levels
follows from the disk's size, so equal content of equal size has equal roots.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from twinhull.repository.errors import RepositoryDamaged
from twinhull.repository.format.ids import CHUNK_ID_BYTES, ChunkId
from twinhull.repository.format.points import DiskRoot

FAN_OUT_BITS = 6
FAN_OUT = 1 << FAN_OUT_BITS
_HEAD = struct.Struct("<B7xQ")
MAX_NODE_BYTES = _HEAD.size + FAN_OUT * CHUNK_ID_BYTES

Slots = Sequence[ChunkId | None]
"""The 64 children of a node; None where a child is all zeros."""

LoadNode = Callable[[ChunkId, int], Slots]
"""The children of a node, by its id and the level it must have."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How a disk of some size is cut into chunks, and how many levels of nodes stand above them."""

    size_bytes: int
    chunk_size_bytes: int

    @property
    def chunk_count(self) -> int:
        """How many chunks the disk has; the last one may reach behind the disk's end."""
        return -(-self.size_bytes // self.chunk_size_bytes)

    @property
    def top(self) -> int:
        """The level of the root node."""
        top = 0
        while FAN_OUT << (FAN_OUT_BITS * top) < self.chunk_count:
            top += 1
        return top


def encode_node(level: int, slots: Slots) -> bytes:
    """A node's content; at least one child must be there."""
    present = sum(1 << number for number, child in enumerate(slots) if child is not None)
    if not present:
        raise ValueError("an empty node is not written")
    return _HEAD.pack(level, present) + b"".join(child for child in slots if child is not None)


def decode_node(content: bytes, level: int) -> Slots:
    """The children in a node's content; raises RepositoryDamaged where it is not one of that level."""
    try:
        found, present = _HEAD.unpack_from(content)
    except struct.error as error:
        raise RepositoryDamaged("A tree node is too short.") from error
    is_whole = len(content) == _HEAD.size + present.bit_count() * CHUNK_ID_BYTES
    if found != level or not present or not is_whole or any(content[1:8]):
        raise RepositoryDamaged(f"A tree node of level {level} is invalid.")
    slots: list[ChunkId | None] = [None] * FAN_OUT
    offset = _HEAD.size
    for number in range(FAN_OUT):
        if present >> number & 1:
            slots[number] = ChunkId(content[offset : offset + CHUNK_ID_BYTES])
            offset += CHUNK_ID_BYTES
    return slots


def chunk_ids(load: LoadNode, shape: Shape, root: DiskRoot, first: int, end: int) -> Iterator[tuple[int, ChunkId]]:
    """The number and id of every stored chunk in ``[first, end)``, in order; chunks left out are zeros."""
    if root.node is not None:
        yield from _walk(load, root.node, shape.top, 0, range(first, min(end, shape.chunk_count)))


def changed_chunks(
    load: LoadNode, old: DiskRoot | None, new: DiskRoot, chunk_size_bytes: int
) -> Iterator[tuple[int, ChunkId | None]]:
    """The number and new id of every chunk that differs; what the old disk does not reach counts as zeros there.

    Only subtrees whose ids differ are read.
    """
    shape = Shape(new.size_bytes, chunk_size_bytes)
    old_shape = Shape(old.size_bytes, chunk_size_bytes) if old else shape
    pair = _Pair(load, shape.chunk_count)
    old_top = old_shape.top if old and old.node else shape.top
    yield from pair.walk((old.node if old else None, old_top), (new.node, shape.top), max(old_top, shape.top), 0)


def _walk(load: LoadNode, node: ChunkId, level: int, base: int, span: range) -> Iterator[tuple[int, ChunkId]]:
    width = 1 << (FAN_OUT_BITS * level)
    children = load(node, level)
    low = max(span.start - base, 0) // width
    high = min(-(-(span.stop - base) // width), FAN_OUT)
    for number in range(low, high):
        child, start = children[number], base + number * width
        if child is None:
            continue
        if level == 0:
            yield start, child
        else:
            yield from _walk(load, child, level - 1, start, span)


_Side = tuple[ChunkId | None, int]
"""A subtree and the level of its node; where that is lower than the walk, it stands for a first and only child."""


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two trees, walked down together."""

    load: LoadNode
    end: int

    def walk(self, old: _Side, new: _Side, level: int, base: int) -> Iterator[tuple[int, ChunkId | None]]:
        if old == new or (old[0] is None and new[0] is None) or base >= self.end:
            return
        width = 1 << (FAN_OUT_BITS * level)
        pairs = zip(self._children(old, level), self._children(new, level), strict=True)
        for number, (old_child, new_child) in enumerate(pairs):
            start = base + number * width
            if level > 0:
                yield from self.walk(old_child, new_child, level - 1, start)
            elif old_child != new_child and start < self.end:
                yield start, new_child[0]

    def _children(self, side: _Side, level: int) -> Sequence[_Side]:
        node, at = side
        if node is None:
            return [(None, level - 1)] * FAN_OUT
        if at < level:
            return [side] + [(None, level - 1)] * (FAN_OUT - 1)
        return [(child, level - 1) for child in self.load(node, level)]
