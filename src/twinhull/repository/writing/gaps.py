"""Where a disk's tree needs what cannot be counted on: one walk, which skips what an earlier one found whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from twinhull.repository.format.ids import ChunkId
from twinhull.repository.format.points import DiskRoot
from twinhull.repository.format.tree import FAN_OUT_BITS, LoadNode, Shape, Slots
from twinhull.repository.writing.treewriter import SaveNode

CountsOn = Callable[[ChunkId], bool]
Doubtful = dict[int, ChunkId]
"""The chunks below one lowest node that cannot be counted on, by their numbers in the disk."""


@dataclass(frozen=True, slots=True)
class TreeWalk:
    """Walks trees. Nodes that cannot be counted on and can still be read are stored anew on the way.

    ``whole`` are nodes below which nothing is missing; it is added to.
    """

    counts_on: CountsOn
    load: LoadNode
    save: SaveNode
    whole: set[ChunkId]

    def doubtful(self, root: DiskRoot, shape: Shape) -> Iterator[Doubtful]:
        """The chunks that cannot be counted on, in order; raises ChunkLost at a node that cannot be read."""
        if root.node is not None:
            yield from self._below(root.node, shape.top, 0)

    def _below(self, node: ChunkId, level: int, first: int) -> Iterator[Doubtful]:
        if node in self.whole:
            return
        children = self.load(node, level)
        is_whole = self.counts_on(node)
        if not is_whole:
            self.save(level, children)
        for leaves in self._leaves(children, level, first):
            is_whole = False
            yield leaves
        if is_whole and self._are_whole(children, level):
            self.whole.add(node)

    def _leaves(self, children: Slots, level: int, first: int) -> Iterator[Doubtful]:
        if level == 0:
            doubtful = {
                first + number: child
                for number, child in enumerate(children)
                if child is not None and not self.counts_on(child)
            }
            if doubtful:
                yield doubtful
            return
        for number, child in enumerate(children):
            if child is not None:
                yield from self._below(child, level - 1, first + (number << (FAN_OUT_BITS * level)))

    def _are_whole(self, children: Slots, level: int) -> bool:
        """Nodes that were stored anew are not durable yet: whoever is above them is walked once more."""
        return level == 0 or all(child is None or child in self.whole for child in children)
