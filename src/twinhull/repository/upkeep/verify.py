"""Is everything there, and is it what was written?

Without reading data: every document, index, the listing of the packs, and every tree. With it: every byte of every
pack, or of a sample that prefers packs never found good, then those found so longest ago, so that samples add up to
everything. What was found damaged is read each time, besides, until it is repaired.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import groupby

from twinhull.blocks.workers import Stream, in_order
from twinhull.model.machine import PointId
from twinhull.model.progress import OnProgress, Progress
from twinhull.repository.errors import (
    ObjectMissing,
    RepositoryDamaged,
    RepositoryError,
    RepositoryVersionTooNew,
    StoreError,
)
from twinhull.repository.format.envelope import ObjectKind
from twinhull.repository.format.ids import ChunkId, PackId
from twinhull.repository.format.index_table import Place, order_in_packs, payload_of
from twinhull.repository.format.keyring import Keys
from twinhull.repository.format.packs import PackInfo, chunk_in, open_payload, pack_id_in, pack_name, read_footer
from twinhull.repository.format.points import DiskRoot, Point
from twinhull.repository.format.tree import Shape
from twinhull.repository.format.verification_notes import DAMAGED, Notes, latest_notes, next_number, store_notes
from twinhull.repository.keys.key_objects import check_signed
from twinhull.repository.points.catalog import Catalog
from twinhull.repository.reading.chunks import Chunks
from twinhull.repository.reading.index import Index
from twinhull.repository.store.contract import CONFIG_NAME, Store
from twinhull.repository.upkeep.marking import Marks, chunk_ids_of, mark_disks

_DAMAGE = (RepositoryDamaged, RepositoryVersionTooNew)
"""What is found of an object that was read. That the store failed is no finding, and is raised."""
_DOCUMENTS = (
    ObjectKind.REMOVAL,
    ObjectKind.HOLD,
    ObjectKind.COLLECTION,
    ObjectKind.VERIFICATION,
    ObjectKind.ROTATION,
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as required, and the points whose content it takes away (none: nothing is lost)."""

    object_name: str
    problem: str
    points: tuple[PointId, ...] = ()


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a verification has looked at, and what it found."""

    point_count: int
    pack_count: int
    packs_read: int
    bytes_read: int
    findings: tuple[Finding, ...]
    reasons: tuple[str, ...] = ()
    """What could not be done, where it is no damage."""

    @property
    def is_good(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    @property
    def lost_points(self) -> tuple[PointId, ...]:
        """The points that cannot be restored whole."""
        return tuple(sorted({point for finding in self.findings for point in finding.points}))


@dataclass(slots=True)
class _Bad:
    """What is wrong, while it is being gathered. The reason for each bad chunk is kept with the object it was in."""

    findings: list[tuple[str, str]] = field(default_factory=list)
    chunks: dict[ChunkId, tuple[str, str]] = field(default_factory=dict)

    def add(self, name: str, problem: object) -> None:
        self.findings.append((name, problem.message if isinstance(problem, RepositoryError) else str(problem)))


@dataclass(frozen=True, slots=True)
class Verifier:
    """Looks at all of a repository; changes nothing but the note on what was read when."""

    store: Store
    keys: Keys
    index: Index
    chunks: Chunks
    catalog: Catalog
    chunk_size_bytes: int

    def verify(self, *, read_data: bool, sample: float, on_progress: OnProgress) -> VerifyReport:
        """See ``Repository.verify``."""
        bad = _Bad()
        points = self._points(bad)  # before the index, which then has everything they name
        self.index.refresh()
        self.index.recover()
        for name, error in self.index.damaged.items():
            bad.add(name, error)
        self._check_documents(bad)
        sizes = self._packs(bad)
        self._check_listing(sizes, bad)
        chosen = self._chosen(sizes, sample) if read_data else []
        reasons = self._read_packs(chosen, sizes, bad, on_progress)
        self._check_trees(points, bad, on_progress)
        return VerifyReport(
            point_count=len(points),
            pack_count=len(sizes),
            packs_read=len(chosen),
            bytes_read=sum(sizes[name] for name in chosen),
            findings=tuple(self._told(bad, points, on_progress)),
            reasons=reasons,
        )

    def _check_documents(self, bad: _Bad) -> None:
        names = [CONFIG_NAME, *(info.name for info in self.store.list("key-"))]
        for name in names:
            try:
                check_signed(self.store, self.keys, name)
            except ObjectMissing:  # a passphrase was changed since the listing
                continue
            except _DAMAGE as error:
                bad.add(name, error)
        for kind in _DOCUMENTS:
            for info in self.store.list(f"{kind.purpose}-"):
                try:
                    self.catalog.documents.open(kind, info.name)
                except ObjectMissing:
                    continue
                except _DAMAGE as error:
                    bad.add(info.name, error)

    def _packs(self, bad: _Bad) -> dict[str, int]:
        """The sizes of all packs that are there."""
        sizes = {info.name: info.size_bytes for info in self.store.list("pack-")}
        for name in [name for name in sizes if not pack_id_in(name)]:
            bad.add(name, "The object has a name that no object of a repository has.")
            del sizes[name]
        return sizes

    def _check_listing(self, sizes: dict[str, int], bad: _Bad) -> None:
        """Every pack that the index knows is there, as long as it was."""
        if any(pack.name not in sizes for pack in self._named_packs()):
            self.index.refresh()  # a collection may have come between
            sizes.update(self._packs(bad))  # and captures, whose packs the index names now
        wrong: set[PackInfo] = set()
        for pack in self._named_packs():
            if pack.name not in sizes:
                bad.add(pack.name, "The pack is missing.")
                wrong.add(pack)
            elif sizes[pack.name] != pack.size_bytes:
                bad.add(pack.name, f"The pack has {sizes[pack.name]} bytes instead of {pack.size_bytes}.")
                wrong.add(pack)
        for table in self.index.tables:
            if not wrong.isdisjoint(table.packs):
                for place in table.places():
                    if place.pack in wrong:
                        self._blame(place, bad)

    def _named_packs(self) -> set[PackInfo]:
        return {pack for table in self.index.tables for pack in table.packs}

    def _read_packs(
        self, names: Sequence[str], sizes: Mapping[str, int], bad: _Bad, on_progress: OnProgress
    ) -> tuple[str, ...]:
        """Read them and note how they are, also where it is ended before the last one; why that failed."""
        is_good: dict[str, bool] = {}
        done, total = 0, sum(sizes[name] for name in names)
        try:
            with closing(in_order(_each(names), self._read_pack, os.cpu_count() or 1)) as results:
                for name, found in zip(names, results, strict=True):
                    for place, problem in found:
                        bad.add(name, problem)
                        if place:
                            self._blame(place, bad)
                    is_good[name] = not found
                    done += sizes[name]
                    on_progress(Progress("read", "packs", done, total))
        finally:
            reasons = self._note(is_good, sizes) if is_good else ()
        return reasons

    def _read_pack(self, name: str) -> list[tuple[Place | None, str]]:
        """The chunks of a pack that are not what was written."""
        pack_id = _pack_id(name)
        found: list[tuple[Place | None, str]] = []
        data: memoryview | None = None
        try:
            data = memoryview(self.store.read(name))
        except ObjectMissing:  # collected since the listing
            return []
        except RepositoryDamaged as error:  # a bad place of the disk: the rest of it is read in pieces
            found.append((None, error.message))
        try:
            pack, entries = read_footer(self.keys, self.store, pack_id)
            places = [Place(pack, entry) for entry in entries]
        except ObjectMissing:  # collected in this moment
            return []
        except _DAMAGE as error:
            found.append((None, error.message))
            places = [place for table in self.index.tables for place in table.places() if place.pack.pack_id == pack_id]
        for _, shared in groupby(sorted(places, key=order_in_packs), key=payload_of):
            found += self._check_payload(data, list(shared))
        return found

    def _check_payload(self, data: memoryview | None, places: Sequence[Place]) -> Iterator[tuple[Place, str]]:
        pack, first, size = places[0].pack, places[0].entry, self.chunk_size_bytes
        start, length = first.offset_bytes, first.length_bytes
        try:
            sealed = self._piece(pack.name, start, length) if data is None else bytes(data[start : start + length])
            content = open_payload(self.keys, pack, first, sealed, size)
        except RepositoryDamaged:
            content = b""
        for place in places:
            try:
                chunk_in(self.keys, pack, place.entry, content, size)
            except RepositoryDamaged as error:
                yield place, error.message

    def _piece(self, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        try:
            return self.store.read_range(name, offset_bytes, length_bytes)
        except ObjectMissing:  # collected in this moment: as much as a pack that holds nothing good
            return b""

    def _blame(self, place: Place, bad: _Bad) -> None:
        """A chunk is bad if no other copy of it is good."""
        for other in self.index.find_all(place.entry.chunk_id):
            try:
                if other != place:
                    self.chunks.fetch(other)
                    return
            except (RepositoryDamaged, ObjectMissing):
                continue
        bad.chunks[place.entry.chunk_id] = (place.pack.name, "holds a chunk that is lost")

    def _points(self, bad: _Bad) -> list[Point]:
        for name in self.catalog.misnamed():
            bad.add(name, "The object has a name that no object of a repository has.")
        return self.catalog.all_points(on_damage=bad.add)

    def _check_trees(self, points: Sequence[Point], bad: _Bad, on_progress: OnProgress) -> None:
        """Progress is told in bytes of disks, whatever was stored of them."""
        marks = Marks(self.index)
        done, total = 0, _size_bytes(points)

        def missing(chunk_id: ChunkId, problem: str) -> None:
            bad.chunks.setdefault(chunk_id, (f"chunk {chunk_id.hex()}", problem))

        def check() -> None:
            on_progress(Progress("check", "trees", done, total))

        for point in points:
            mark_disks(self.chunks, marks, self._disks(point), missing, check=check)
            done += _size_bytes([point])

    def _disks(self, point: Point) -> list[tuple[DiskRoot, Shape]]:
        return [(disk.root, Shape(disk.root.size_bytes, self.chunk_size_bytes)) for disk in point.document.disks]

    def _told(self, bad: _Bad, points: Collection[Point], on_progress: OnProgress) -> Iterator[Finding]:
        """The findings, each lost chunk with the points that miss it; that walk is made only where there is damage."""
        for name, problem in dict.fromkeys(bad.findings):
            yield Finding(name, problem)
        victims: dict[ChunkId, set[PointId]] = {chunk_id: set() for chunk_id in bad.chunks}
        done, total = 0, _size_bytes(points)

        def check() -> None:
            on_progress(Progress("trace", "lost chunks", done, total))

        for point in points if victims else ():
            for root, shape in self._disks(point):
                for chunk_id in chunk_ids_of(self.chunks, root, shape, check=check):
                    if chunk_id in victims:
                        victims[chunk_id].add(point.id)
            done += _size_bytes([point])
        for chunk_id, (name, problem) in bad.chunks.items():
            yield Finding(name, problem, tuple(sorted(victims[chunk_id])))

    def _chosen(self, sizes: dict[str, int], sample: float) -> list[str]:
        """The packs to read: all damaged ones; then never good ones, and those good longest ago, to fill the sample."""
        last_good = {pack_name(pack_id): run for pack_id, run in latest_notes(self.catalog.documents).last_good.items()}
        order = sorted(sizes, key=lambda name: (last_good.get(name, 0), name))
        room = sum(sizes.values()) * sample
        chosen = []
        for name in order:
            is_damaged = last_good.get(name) == DAMAGED
            if room <= 0 and not is_damaged:
                break
            chosen.append(name)
            room -= 0 if is_damaged else sizes[name]
        return chosen

    def _note(self, is_good: Mapping[str, bool], sizes: Mapping[str, int]) -> tuple[str, ...]:
        """Note what was read, so that the next sample reads something else, and what is damaged once more."""
        documents = self.catalog.documents
        latest = latest_notes(documents)
        number = next_number(documents)
        last_good = {pack_id: run for pack_id, run in latest.last_good.items() if pack_name(pack_id) in sizes}
        last_good |= {_pack_id(name): number if is_fine else DAMAGED for name, is_fine in is_good.items()}
        try:
            is_noted = store_notes(documents, Notes(number, last_good))
        except StoreError as error:
            return (f"What was verified could not be recorded, and may be read again soon: {error.message}",)
        return () if is_noted else ("Another verification ran at the same time, so this one is not recorded.",)


def _pack_id(name: str) -> PackId:
    return PackId(bytes.fromhex(name.removeprefix("pack-")))


def _each(names: Sequence[str]) -> Stream[str]:
    yield from names


def _size_bytes(points: Iterable[Point]) -> int:
    return sum(disk.root.size_bytes for point in points for disk in point.document.disks)
