"""How much of each pack the points use."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from twinhull.repository.errors import RepositoryDamaged
from twinhull.repository.format.ids import ChunkId, PackId
from twinhull.repository.format.index_table import Place
from twinhull.repository.format.packs import PackInfo
from twinhull.repository.format.points import Point
from twinhull.repository.format.tree import Shape
from twinhull.repository.reading.chunks import Chunks
from twinhull.repository.reading.index import Index
from twinhull.repository.upkeep.marking import Marks, mark_disks
from twinhull.repository.upkeep.stopping import Check, never, stoppable


@dataclass(frozen=True, slots=True)
class Usage:
    """Every pack that any index or footer tells of, and how many of its chunks are used, and there."""

    marks: Marks
    packs: dict[PackId, PackInfo] = field(default_factory=dict)
    counts: defaultdict[PackId, int] = field(default_factory=lambda: defaultdict(int))
    used_counts: defaultdict[PackId, int] = field(default_factory=lambda: defaultdict(int))

    def used_bytes(self, pack_id: PackId) -> int:
        """About how many bytes of a pack are used: its chunks' share of it."""
        return self.packs[pack_id].size_bytes * self.used_counts[pack_id] // self.counts[pack_id]

    def used_places(self, pack_ids: Collection[PackId]) -> Iterator[Place]:
        """The used chunks in some packs."""
        return (place for place, is_used in self.marks.places() if is_used and place.pack.pack_id in pack_ids)


def measure_usage(
    index: Index,
    chunks: Chunks,
    points: Iterable[Point],
    avoided: Collection[PackId],
    chunk_size_bytes: int,
    *,
    check: Check = never,
) -> Usage:
    """Walk all the points; raises RepositoryDamaged where it cannot be known what they use.

    Of a chunk that is stored several times one copy counts as used, and one in an ``avoided`` pack only where there is
    no other.
    """
    marks = Marks(index, avoided)
    for point in points:
        roots = [disk.root for disk in point.document.disks]
        disks = [(root, Shape(root.size_bytes, chunk_size_bytes)) for root in roots]
        mark_disks(chunks, marks, disks, _refuse, check=check)
    usage = Usage(marks)
    for place, is_used in stoppable(marks.places(), check):
        pack_id = place.pack.pack_id
        usage.packs[pack_id] = place.pack
        usage.counts[pack_id] += 1
        usage.used_counts[pack_id] += is_used
    return usage


def _refuse(chunk_id: ChunkId, problem: str) -> None:
    raise RepositoryDamaged(
        f"A point uses the chunk {chunk_id.hex()[:16]}…, but {problem}. It is unknown what may be deleted, so "
        "nothing was.",
        hint="Verify the repository ('twinhull repository verify'), then repair it or remove the lost points.",
    )
