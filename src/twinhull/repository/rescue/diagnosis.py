"""What a repair would find and try: which disks miss what, and who may still have it. Nothing is stored or removed."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from twinhull.model.machine import DiskKey, PointId
from twinhull.model.progress import OnProgress, nobody_listens
from twinhull.repository.errors import RepositoryDamaged
from twinhull.repository.format.ids import ChunkId, PackId
from twinhull.repository.format.points import DiskRoot
from twinhull.repository.format.tree import FAN_OUT_BITS, Shape
from twinhull.repository.repository import Repository
from twinhull.repository.rescue.healing import Healer
from twinhull.repository.rescue.repair import damaged_packs, gone_packs, good_copy
from twinhull.repository.upkeep.telling import Teller
from twinhull.repository.upkeep.verify import VerifyReport


@dataclass(frozen=True, slots=True)
class MissingPieces:
    """What a disk of a point misses, and the healers that have a disk to look on.

    ``node_count`` of its tree's nodes are lost; what was below them is not known, and counts as nothing.
    """

    point_id: PointId
    key: DiskKey
    chunk_count: int
    node_count: int
    healers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a verification found, and what it means disk by disk."""

    found: VerifyReport
    missing: tuple[MissingPieces, ...]


def diagnose(
    repository: Repository, healers: Sequence[Healer] = (), *, on_progress: OnProgress = nobody_listens
) -> Diagnosis:
    """Verify everything, and say what a repair with these healers would look for, and where.

    Nothing is written but the verification's own note, and not that either where the store is open for reading only.
    ``on_progress`` is told of the phases of ``Repository.verify``, and of "look" for each damaged point; what it raises
    ends the work.
    """
    found = repository.verify(read_data=True, on_progress=on_progress)
    if not found.lost_points:
        return Diagnosis(found, ())
    repository.index.refresh()
    repository.index.recover()
    bad = damaged_packs(found)
    search = _Search(repository, bad, gone_packs(repository, bad))
    missing: list[MissingPieces] = []
    for point in repository.all_points():
        if point.id not in found.lost_points:
            continue
        disks = point.document.disks
        teller = Teller(on_progress, "look", point.id, sum(disk.root.size_bytes for disk in disks))
        behind = 0
        for disk in disks:
            chunk_count, node_count = search.disk(disk.root, teller, behind)
            if chunk_count or node_count:
                names = tuple(healer.name for healer in healers if healer.has(point, disk.key))
                missing.append(MissingPieces(point.id, disk.key, chunk_count, node_count, names))
            behind += disk.root.size_bytes
            teller.reach(behind)
    return Diagnosis(found, tuple(missing))


@dataclass(frozen=True, slots=True)
class _Search:
    """Counts what is lost below nodes, each of which is looked at once."""

    repository: Repository
    bad: Collection[PackId]
    gone: Collection[PackId]
    counts: dict[ChunkId, tuple[int, int]] = field(default_factory=dict)
    lost: dict[ChunkId, bool] = field(default_factory=dict)

    def disk(self, root: DiskRoot, teller: Teller, behind: int) -> tuple[int, int]:
        """How many chunks of a disk, and how many nodes of its tree, are lost."""
        if root.node is None:
            return 0, 0
        return self._below(root.node, Shape(root.size_bytes, self.repository.chunk_size_bytes).top, behind, teller)

    def _below(self, node: ChunkId, level: int, offset_bytes: int, teller: Teller) -> tuple[int, int]:
        if node not in self.counts:
            self.counts[node] = self._counted(node, level, offset_bytes, teller)
        return self.counts[node]

    def _counted(self, node: ChunkId, level: int, offset_bytes: int, teller: Teller) -> tuple[int, int]:
        teller.reach(offset_bytes)
        try:
            children = self.repository.chunks.node(node, level)
        except RepositoryDamaged:
            return 0, 1
        if level == 0:
            return sum(self._is_lost(child) for child in children if child is not None), 0
        width = self.repository.chunk_size_bytes << (FAN_OUT_BITS * level)
        below = [
            self._below(child, level - 1, offset_bytes + number * width, teller)
            for number, child in enumerate(children)
            if child is not None
        ]
        return sum(chunks for chunks, _ in below), sum(nodes for _, nodes in below)

    def _is_lost(self, chunk_id: ChunkId) -> bool:
        """Whether no copy is good; only those in damaged packs are read."""
        if any(place.pack.pack_id not in self.bad for place in self.repository.index.find_all(chunk_id)):
            return False
        if chunk_id not in self.lost:
            self.lost[chunk_id] = good_copy(self.repository, chunk_id, self.gone) is None
        return self.lost[chunk_id]
