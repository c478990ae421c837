"""Bringing back what is damaged from wherever the same content still lies, and saying exactly what is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby

from twinhull.blocks.disk import Disk
from twinhull.model.errors import DataError, SiteError
from twinhull.model.machine import PointId
from twinhull.model.progress import OnProgress, nobody_listens
from twinhull.repository.errors import ObjectMissing, ObjectUnfit, RepositoryDamaged, RepositoryError
from twinhull.repository.format.ids import ChunkId, ChunkKind, PackId
from twinhull.repository.format.index_table import Place, order_in_packs, payload_of
from twinhull.repository.format.packs import pack_id_in, pack_name, payload_chunks
from twinhull.repository.format.points import DiskRoot, Point
from twinhull.repository.format.tree import FAN_OUT, FAN_OUT_BITS, Shape, encode_node
from twinhull.repository.repository import Repository
from twinhull.repository.rescue.healing import Healer
from twinhull.repository.upkeep.compaction import rewrite_index
from twinhull.repository.upkeep.telling import Teller
from twinhull.repository.upkeep.verify import VerifyReport
from twinhull.repository.writing.writer import Writer

PACKS_AT_ONCE = 256
"""The entries of so many damaged packs are held at one time, a bound on memory."""


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What a repair brought back and what it could not; ``after`` is the verification at its end."""

    repaired: tuple[PointId, ...]
    lost: tuple[PointId, ...]
    reasons: tuple[str, ...]
    after: VerifyReport


def repair(
    repository: Repository, healers: Sequence[Healer] = (), *, on_progress: OnProgress = nobody_listens
) -> RepairReport:
    """Store what is damaged anew, from the first healer that still has it, reading all of this repository twice.

    Nothing that can still be read is given up: a damaged pack goes only when everything it held has a good copy
    elsewhere in the repository. Raises StoreError; a healer that fails is one that has nothing.

    ``on_progress`` is told of the phases of ``Repository.verify``, of "mend", first of what damaged packs hold and then
    of each damaged point, in bytes of its disks once for each healer, and of those of the second verification, whose
    subjects are "… again". What it raises ends the work: no pack goes before everything is mended, what was stored
    anew stays, and the next call goes on from there.
    """
    before = repository.verify(read_data=True, on_progress=on_progress)
    bad = damaged_packs(before)
    avoided = repository.avoided(bad)
    healed: Counter[str] = Counter()
    if bad or before.lost_points:
        with repository.repairer(bad) as writer:
            repository.index.recover()
            _keep_the_rest(repository, bad, avoided, writer, on_progress)
            for point in repository.all_points():
                if point.id in before.lost_points:
                    _mend(point, healers, _Mending(repository, writer, avoided, healed), on_progress)
            writer.flush()
        _drop_packs(repository, _superfluous(repository, bad, avoided))
    if any(finding.object_name.startswith("index-") for finding in before.findings):
        _drop_damaged_indexes(repository)
    after = repository.verify(read_data=True, on_progress=_again(on_progress))
    repaired = tuple(point_id for point_id in before.lost_points if point_id not in after.lost_points)
    reasons = tuple(f"{count} lost pieces came from {name}." for name, count in healed.items())
    return RepairReport(repaired, after.lost_points, reasons, after)


def damaged_packs(report: VerifyReport) -> set[PackId]:
    """The packs that a verification has found anything wrong with."""
    return {pack_id for finding in report.findings if (pack_id := pack_id_in(finding.object_name))}


def gone_packs(repository: Repository, bad: Collection[PackId]) -> set[PackId]:
    """The damaged data packs that are not there at all: nothing is asked of them. Nodes may be kept nearby."""
    there = {pack_id_in(info.name) for info in repository.store.list("pack-")}
    packs = {pack for table in repository.index.tables for pack in table.packs if pack.kind is ChunkKind.DATA}
    return {pack.pack_id for pack in packs if pack.pack_id in bad and pack.pack_id not in there}


def good_copy(repository: Repository, chunk_id: ChunkId, gone: Container[PackId]) -> bytes | None:
    """What a chunk holds, from the first place where it can still be read; None where it is lost."""
    for place in list(repository.index.find_all(chunk_id)):
        try:
            if place.pack.pack_id not in gone:
                return bytes(repository.chunks.fetch(place))
        except (RepositoryDamaged, ObjectMissing):
            continue
    return None


def _again(on_progress: OnProgress) -> OnProgress:
    return lambda progress: on_progress(replace(progress, subject=f"{progress.subject} again"))


def _mend(point: Point, healers: Sequence[Healer], mending: _Mending, on_progress: OnProgress) -> None:
    disks = point.document.disks
    teller = Teller(on_progress, "mend", point.id, sum(disk.root.size_bytes for disk in disks) * len(healers))
    behind = 0
    for disk in disks:
        for healer in healers:
            opened = healer.disk(point, disk.key)
            if opened:
                reach = partial(_reach, teller, behind)
                mending.disk(disk.root, _Source(healer.name, opened, disk.root.size_bytes, reach))
                mending.writer.flush()  # what came from here is not asked of the next one
            behind += disk.root.size_bytes
            teller.reach(behind)


def _reach(teller: Teller, behind: int, offset_bytes: int) -> None:
    teller.reach(behind + offset_bytes)


@dataclass(frozen=True, slots=True)
class _Source:
    """An open disk, read as the chunks of a disk of that size; ``reach`` is told up to where it was gone through."""

    name: str
    opened: Disk
    size_bytes: int
    reach: Callable[[int], None]

    def read(self, number: int, chunk_bytes: int) -> bytes:
        """What it holds where that chunk lies; nothing where it fails, or ends before."""
        offset = number * chunk_bytes
        length = min(chunk_bytes, self.size_bytes - offset)
        if length <= 0 or offset + length > self.opened.size_bytes:
            return b""
        try:
            return self.opened.read(offset, length)
        except (DataError, SiteError):
            return b""

    def is_zero(self, first: int, count: int, chunk_bytes: int) -> bool:
        """Whether the source knows, without reading, that all these chunks are zeros."""
        offset, end = first * chunk_bytes, min((first + count) * chunk_bytes, self.size_bytes, self.opened.size_bytes)
        try:
            return offset >= end or all(extent.is_zero for extent in self.opened.extents(offset, end - offset))
        except (DataError, SiteError):
            return False


@dataclass(slots=True)
class _Rebuilt:
    """Nodes as they must have been if the source holds what they stood for."""

    nodes: dict[ChunkId, bytes] = field(default_factory=dict)
    chunks: dict[ChunkId, int] = field(default_factory=dict)
    """The chunks below that are missing, and their numbers."""


@dataclass(frozen=True, slots=True)
class _Mending:
    """Walks a damaged tree, and stores what is missing in it."""

    repository: Repository
    writer: Writer
    avoided: Container[object]
    healed: Counter[str]

    def disk(self, root: DiskRoot, source: _Source) -> None:
        """Everything that the source has of a disk."""
        if root.node is not None:
            self._node(root.node, Shape(root.size_bytes, self.repository.chunk_size_bytes).top, 0, source)

    def _node(self, node: ChunkId, level: int, first: int, source: _Source) -> None:
        source.reach(first * self.repository.chunk_size_bytes)
        try:
            children = self.repository.chunks.node(node, level)
        except RepositoryDamaged:
            self._rebuild(node, level, first, source)
            return
        missing: list[tuple[int, ChunkId]] = []
        for number, child in enumerate(children):
            at = first + (number << (FAN_OUT_BITS * level))
            if child is not None and level > 0:
                self._node(child, level - 1, at, source)
            elif child is not None and self._is_missing(child):
                missing.append((at, child))
        self._data(missing, source)

    def _data(self, missing: Sequence[tuple[int, ChunkId]], source: _Source) -> None:
        """Store what the source has of missing chunks, by number; neighbours together, as a capture would."""
        size = self.repository.chunk_size_bytes
        neighbours = payload_chunks(size)
        for _, piece in groupby(missing, key=lambda each: each[0] // neighbours):
            found: dict[ChunkId, bytes] = {}
            for number, chunk_id in piece:
                content = source.read(number, size)
                if content and self.repository.chunk_id(content) == chunk_id:
                    found[chunk_id] = content.ljust(size, b"\0")
            self._keep(ChunkKind.DATA, found, source)

    def _rebuild(self, node: ChunkId, level: int, first: int, source: _Source) -> None:
        """Make a lost node, and all below it, of what the source holds there; keep it if that is what was lost."""
        rebuilt = _Rebuilt()
        if self._imagined(level, first, source, rebuilt) != node:
            return
        self._keep(ChunkKind.NODE, rebuilt.nodes, source)
        self._data(sorted((number, chunk_id) for chunk_id, number in rebuilt.chunks.items()), source)

    def _imagined(self, level: int, first: int, source: _Source, rebuilt: _Rebuilt) -> ChunkId | None:
        """The id of the node of that place, if the source still holds what it held."""
        source.reach(first * self.repository.chunk_size_bytes)
        chunk_bytes = self.repository.chunk_size_bytes
        if source.is_zero(first, FAN_OUT << (FAN_OUT_BITS * level), chunk_bytes):
            return None
        slots: list[ChunkId | None] = []
        for number in range(FAN_OUT):
            at = first + (number << (FAN_OUT_BITS * level))
            if level > 0:
                slots.append(self._imagined(level - 1, at, source, rebuilt))
                continue
            slots.append(self.repository.chunk_id(source.read(at, chunk_bytes)))
            if slots[-1] and self._is_missing(slots[-1]):
                rebuilt.chunks[slots[-1]] = at
        if not any(slots):
            return None
        content = encode_node(level, slots)
        node = self.repository.keys.chunk_id(ChunkKind.NODE, content)
        rebuilt.nodes[node] = content
        return node

    def _keep(self, kind: ChunkKind, contents: Mapping[ChunkId, bytes], source: _Source) -> None:
        missing = {chunk_id: content for chunk_id, content in contents.items() if self._is_missing(chunk_id)}
        if missing:
            self.healed[source.name] += len(missing)
            self.writer.keep(kind, missing)

    def _is_missing(self, chunk_id: ChunkId) -> bool:
        return self.repository.index.find_outside(chunk_id, self.avoided) is None


def _keep_the_rest(
    repository: Repository,
    bad: Collection[PackId],
    avoided: Container[object],
    writer: Writer,
    on_progress: OnProgress,
) -> None:
    """Store anew what damaged packs hold and can still be read, there or in a pack that no index names yet.

    Chunks that were compressed together stay together.
    """
    index = repository.index
    packs = {pack for table in index.tables for pack in table.packs if pack.pack_id in bad}
    teller = Teller(on_progress, "mend", "damaged packs", sum(pack.size_bytes for pack in packs))
    order = sorted(pack.pack_id for pack in packs)
    gone = gone_packs(repository, bad)
    for start in range(0, len(order), PACKS_AT_ONCE):
        places = sorted(_places(repository, order[start : start + PACKS_AT_ONCE]), key=order_in_packs)
        for pack, in_pack in groupby(places, key=lambda place: place.pack):
            for _, shared in groupby(in_pack, key=payload_of):
                teller.tell()
                wanted = [place for place in shared if not index.find_outside(place.entry.chunk_id, avoided)]
                writer.keep(pack.kind, _good_copies(repository, wanted, gone))
            teller.add(pack.size_bytes)
    writer.flush()


def _good_copies(
    repository: Repository, places: Sequence[Place], gone: Container[PackId]
) -> dict[ChunkId, bytes | memoryview]:
    """What chunks of one payload hold: read as one where all of them are good there, each from anywhere if not."""
    chunk_ids = [place.entry.chunk_id for place in places]
    with suppress(RepositoryDamaged, ObjectMissing):
        if places and places[0].pack.pack_id not in gone:
            return dict(zip(chunk_ids, repository.chunks.fetch_together(places), strict=True))
    found = ((chunk_id, good_copy(repository, chunk_id, gone)) for chunk_id in chunk_ids)
    return {chunk_id: content for chunk_id, content in found if content is not None}


def _superfluous(repository: Repository, bad: Collection[PackId], avoided: Container[object]) -> set[PackId]:
    """The damaged packs of which everything that is known to be in them has a good copy elsewhere."""
    known: set[PackId] = set()
    needed: set[PackId] = set()
    for place in _places(repository, bad):
        pack_id = place.pack.pack_id
        known.add(pack_id)
        if pack_id not in needed and repository.index.find_outside(place.entry.chunk_id, avoided) is None:
            needed.add(pack_id)
    return known - needed


def _drop_packs(repository: Repository, superfluous: Collection[PackId]) -> None:
    rewrite_index(repository.store, repository.index, superfluous, used=())
    for pack_id in sorted(superfluous):
        repository.store.delete(pack_name(pack_id))


def _drop_damaged_indexes(repository: Repository) -> None:
    """Index objects that cannot be read go once what their packs' own lists say is in another one."""
    index = repository.index
    index.refresh()
    damaged = [name for name, error in index.damaged.items() if _is_ours_to_drop(error)]
    index.recover()
    found = {pack.pack_id for table in index.recovered_tables() for pack in table.packs}
    rewrite_index(repository.store, index, expired=(), used=found)
    for name in damaged:
        repository.store.delete(name)


def _is_ours_to_drop(error: RepositoryError) -> bool:
    """Whether an index object that cannot be read may have been one: what was not even read is left for a person."""
    return isinstance(error, RepositoryDamaged) and not isinstance(error, ObjectUnfit)


def _places(repository: Repository, pack_ids: Collection[PackId]) -> Iterator[Place]:
    for table in repository.index.tables:
        if any(pack.pack_id in pack_ids for pack in table.packs):
            yield from (place for place in table.places() if place.pack.pack_id in pack_ids)
