"""Bringing back what is damaged from wherever the same content still lies, and saying exactly what is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Container, Iterator, Sequence
from dataclasses import dataclass, field

from twinhull.blocks.disk import Disk
from twinhull.model.errors import DataError, SiteError
from twinhull.model.machine import PointId
from twinhull.repository.compaction import rewrite_index
from twinhull.repository.errors import ObjectMissing, RepositoryDamaged
from twinhull.repository.healing import Healer
from twinhull.repository.ids import ChunkId, ChunkKind, PackId
from twinhull.repository.index_table import Place
from twinhull.repository.packs import pack_id_in, pack_name
from twinhull.repository.points import DiskRoot, Point
from twinhull.repository.repository import Repository
from twinhull.repository.tree import FAN_OUT, FAN_OUT_BITS, Shape, encode_node
from twinhull.repository.verify import VerifyReport
from twinhull.repository.writer import Writer


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What a repair brought back and what it could not; ``after`` is the verification at its end."""

    repaired: tuple[PointId, ...]
    lost: tuple[PointId, ...]
    reasons: tuple[str, ...]
    after: VerifyReport


def repair(repository: Repository, healers: Sequence[Healer] = ()) -> RepairReport:
    """Store what is damaged anew, from the first healer that still has it, reading all of this repository twice.

    Nothing that can still be read is given up: a damaged pack goes only when everything it held has a good copy
    elsewhere in the repository. Raises StoreError; a healer that fails is one that has nothing.
    """
    before = repository.verify(read_data=True)
    bad = {pack_id for finding in before.findings if (pack_id := pack_id_in(finding.object_name))}
    avoided = repository.avoided(bad)
    healed: Counter[str] = Counter()
    if bad or before.lost_points:
        with repository.repairer(bad) as writer:
            repository.index.recover()
            _keep_the_rest(repository, bad, avoided, writer)
            for point in repository.all_points():
                if point.id in before.lost_points:
                    _mend(point, healers, _Mending(repository, writer, avoided, healed))
            writer.flush()
        _drop_packs(repository, [pack_id for pack_id in bad if _is_superfluous(repository, pack_id, avoided)])
    if any(finding.object_name.startswith("index-") for finding in before.findings):
        _drop_damaged_indexes(repository)
    after = repository.verify(read_data=True)
    repaired = tuple(point_id for point_id in before.lost_points if point_id not in after.lost_points)
    reasons = tuple(f"{count} lost pieces came from {name}." for name, count in healed.items())
    return RepairReport(repaired, after.lost_points, reasons, after)


def _mend(point: Point, healers: Sequence[Healer], mending: _Mending) -> None:
    for disk in point.document.disks:
        for healer in healers:
            opened = healer.disk(point, disk.key)
            if opened:
                mending.disk(disk.root, _Source(healer.name, opened, disk.root.size_bytes))
                mending.writer.flush()  # what came from here is not asked of the next one


@dataclass(frozen=True, slots=True)
class _Source:
    """An open disk, read as the chunks of a disk of that size."""

    name: str
    opened: Disk
    size_bytes: int

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
        try:
            children = self.repository.chunks.node(node, level)
        except RepositoryDamaged:
            self._rebuild(node, level, first, source)
            return
        for number, child in enumerate(children):
            at = first + (number << (FAN_OUT_BITS * level))
            if child is not None and level > 0:
                self._node(child, level - 1, at, source)
            elif child is not None and self._is_missing(child):
                self._data(child, at, source)

    def _data(self, chunk_id: ChunkId, number: int, source: _Source) -> None:
        size = self.repository.chunk_size_bytes
        content = source.read(number, size)
        if content and self.repository.chunk_id(content) == chunk_id:
            self._keep(ChunkKind.DATA, chunk_id, content.ljust(size, b"\0"), source)

    def _rebuild(self, node: ChunkId, level: int, first: int, source: _Source) -> None:
        """Make a lost node, and all below it, of what the source holds there; keep it if that is what was lost."""
        rebuilt = _Rebuilt()
        if self._imagined(level, first, source, rebuilt) != node:
            return
        for found, content in rebuilt.nodes.items():
            self._keep(ChunkKind.NODE, found, content, source)
        for chunk_id, number in rebuilt.chunks.items():
            self._data(chunk_id, number, source)

    def _imagined(self, level: int, first: int, source: _Source, rebuilt: _Rebuilt) -> ChunkId | None:
        """The id of the node of that place, if the source still holds what it held."""
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

    def _keep(self, kind: ChunkKind, chunk_id: ChunkId, content: bytes, source: _Source) -> None:
        if self._is_missing(chunk_id):
            self.healed[source.name] += 1
            self.writer.keep(kind, chunk_id, content)

    def _is_missing(self, chunk_id: ChunkId) -> bool:
        return self.repository.index.find_outside(chunk_id, self.avoided) is None


def _keep_the_rest(repository: Repository, bad: Collection[PackId], avoided: Container[object], writer: Writer) -> None:
    """Store anew what damaged packs hold and can still be read, there or in a pack that no index names yet."""
    for place in _places(repository, bad):
        chunk_id = place.entry.chunk_id
        if repository.index.find_outside(chunk_id, avoided) is None:
            content = _good_copy(repository, chunk_id)
            if content is not None:
                writer.keep(place.pack.kind, chunk_id, content)
    writer.flush()


def _good_copy(repository: Repository, chunk_id: ChunkId) -> bytes | None:
    for place in list(repository.index.find_all(chunk_id)):
        try:
            return bytes(repository.chunks.fetch(place))
        except (RepositoryDamaged, ObjectMissing):
            continue
    return None


def _is_superfluous(repository: Repository, pack_id: PackId, avoided: Container[object]) -> bool:
    places = list(_places(repository, [pack_id]))
    return bool(places) and all(repository.index.find_outside(place.entry.chunk_id, avoided) for place in places)


def _drop_packs(repository: Repository, superfluous: Collection[PackId]) -> None:
    rewrite_index(repository.store, repository.index, superfluous, used=())
    for pack_id in sorted(superfluous):
        repository.store.delete(pack_name(pack_id))


def _drop_damaged_indexes(repository: Repository) -> None:
    """Index objects that cannot be read go once what their packs' own lists say is in another one."""
    index = repository.index
    index.refresh()
    damaged = [name for name, error in index.damaged.items() if isinstance(error, RepositoryDamaged)]
    index.recover()
    found = {pack.pack_id for table in index.recovered_tables() for pack in table.packs}
    rewrite_index(repository.store, index, expired=(), used=found)
    for name in damaged:
        repository.store.delete(name)


def _places(repository: Repository, pack_ids: Collection[PackId]) -> Iterator[Place]:
    for table in repository.index.tables:
        if any(pack.pack_id in pack_ids for pack in table.packs):
            yield from (place for place in table.places() if place.pack.pack_id in pack_ids)
