"""A disk's tree while it is being changed: nodes are read when touched and written when they have cooled down.

Memory is bounded by CACHED_NODES on each level, whatever the disk's size. Writing in order writes each node once; in
any other order a node may be written several times, and the superseded ones are left to collection.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from twinhull.repository.format.ids import ChunkId
from twinhull.repository.format.points import DiskRoot
from twinhull.repository.format.tree import FAN_OUT, FAN_OUT_BITS, LoadNode, Shape, Slots

CACHED_NODES = 512
"""How many nodes of each level are kept in memory."""

SaveNode = Callable[[int, Slots], ChunkId]


@dataclass(slots=True)
class _Node:
    slots: list[ChunkId | None]
    is_dirty: bool = False


class TreeWriter:
    """Starts as the base's tree (or zeros), and is changed chunk by chunk. One thread only."""

    def __init__(self, shape: Shape, base: DiskRoot | None, load: LoadNode, save: SaveNode) -> None:
        self._shape = shape
        self._load = load
        self._save = save
        self._levels: list[OrderedDict[int, _Node]] = [OrderedDict() for _ in range(shape.top + 1)]
        self._root = self._fitted_root(base) if base else None
        if base and base.size_bytes > shape.size_bytes:
            self.clear(shape.chunk_count, FAN_OUT << (FAN_OUT_BITS * shape.top))

    def set(self, number: int, chunk_id: ChunkId | None) -> None:
        """Say what the chunk of that number holds now."""
        node = self._node(0, number >> FAN_OUT_BITS)
        slot = number % FAN_OUT
        if node.slots[slot] != chunk_id:
            node.slots[slot] = chunk_id
            node.is_dirty = True

    def clear(self, first: int, end: int) -> None:
        """Make zeros of the chunks ``[first, end)``; whole subtrees go without being read."""
        self._forget_within(first, end)
        self._clear(self._shape.top, 0, first, end)

    def finish(self) -> ChunkId | None:
        """Write what is left, and return the root's id."""
        for level, nodes in enumerate(self._levels):
            while nodes:
                self._evict(level)
        return self._root

    def _fitted_root(self, base: DiskRoot) -> ChunkId | None:
        """The base's root, brought to this tree's height."""
        root = base.node
        base_top = Shape(base.size_bytes, self._shape.chunk_size_bytes).top
        for level in range(base_top, self._shape.top, -1):
            root = self._load(root, level)[0] if root else None
        for level in range(base_top + 1, self._shape.top + 1):
            if root:
                slots: list[ChunkId | None] = [root, *[None] * (FAN_OUT - 1)]
                root = self._save(level, slots)
        return root

    def _node(self, level: int, index: int) -> _Node:
        nodes = self._levels[level]
        node = nodes.get(index)
        if node:
            nodes.move_to_end(index)
            return node
        node_id = self._node_id(level, index)
        node = _Node(list(self._load(node_id, level)) if node_id else [None] * FAN_OUT)
        nodes[index] = node
        while len(nodes) > CACHED_NODES:
            self._evict(level)
        return node

    def _node_id(self, level: int, index: int) -> ChunkId | None:
        if level == self._shape.top:
            return self._root
        return self._node(level + 1, index >> FAN_OUT_BITS).slots[index % FAN_OUT]

    def _evict(self, level: int) -> None:
        """Write the node of a level that was not touched for longest, and tell its parent."""
        index, node = self._levels[level].popitem(last=False)
        if not node.is_dirty:
            return
        node_id = self._save(level, node.slots) if any(node.slots) else None
        if level == self._shape.top:
            self._root = node_id
            return
        parent = self._node(level + 1, index >> FAN_OUT_BITS)
        parent.slots[index % FAN_OUT] = node_id
        parent.is_dirty = True

    def _forget_within(self, first: int, end: int) -> None:
        """Drop cached nodes that are to be zeros as a whole, so that they are not written later."""
        for level, nodes in enumerate(self._levels):
            width = FAN_OUT << (FAN_OUT_BITS * level)
            if end - first < width:
                return
            for index in [at for at in nodes if first <= at * width and (at + 1) * width <= end]:
                del nodes[index]

    def _clear(self, level: int, index: int, first: int, end: int) -> None:
        width = 1 << (FAN_OUT_BITS * level)
        base = index * FAN_OUT * width
        low = max(first - base, 0) // width
        high = min(-(-(end - base) // width), FAN_OUT)
        for slot in range(low, high):
            start = base + slot * width
            is_covered = first <= start and start + width <= end
            if is_covered:
                node = self._node(level, index)
                if node.slots[slot] is not None:
                    node.slots[slot] = None
                    node.is_dirty = True
            elif self._may_hold(level, index, slot):
                self._clear(level - 1, index * FAN_OUT + slot, first, end)

    def _may_hold(self, level: int, index: int, slot: int) -> bool:
        """Whether anything below a slot may be other than zeros."""
        child = index * FAN_OUT + slot
        if child in self._levels[level - 1]:
            return True
        width = FAN_OUT_BITS
        below = (
            any(at >> (width * (level - 1 - lower)) == child for at in nodes)
            for lower, nodes in enumerate(self._levels[: level - 1])
        )
        return self._node(level, index).slots[slot] is not None or any(below)
