"""Bringing points from one repository to another: the second copy, elsewhere, under another key.

Only what the target lacks is written: each point is built on the one before it, and content is found again by its id.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

from twinhull.model.errors import NotFound
from twinhull.model.extents import Extent, aligned, pieces, total_bytes
from twinhull.model.machine import MachineId, PointId
from twinhull.model.progress import OnProgress, nobody_listens
from twinhull.model.units import format_bytes
from twinhull.repository.errors import ChunkLost, NotAuthentic, PointConflict, RepositoryDamaged, RepositoryError
from twinhull.repository.format.points import DiskRoot, Point, PointDisk, PointDocument
from twinhull.repository.repository import Repository
from twinhull.repository.upkeep.telling import Teller
from twinhull.repository.writing.writer import Writer

PIECE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class CopyVerdict:
    """What became of one point, or in a dry run would, and the sentence that says it.

    ``is_damaged`` where damage, here or there, is why. ``differing_bytes`` is what was read of a copied point: what
    differs from the one before, and all of its data where there is none.
    """

    point_id: PointId
    is_copied: bool
    reason: str
    is_damaged: bool = False
    differing_bytes: int = 0


def copy_points(
    source: Repository,
    target: Repository,
    machine_id: MachineId | None = None,
    *,
    is_again: bool = False,
    is_dry_run: bool = False,
    on_progress: OnProgress = nobody_listens,
) -> list[CopyVerdict]:
    """Copy the points (of one machine) that the target never had, oldest first, and the holds; ids stay what they are.

    The target lets points go by itself: one that is older than the newest that it has or had of a machine is not sent,
    unless ``is_again``, and never one whose removal it still remembers. What it holds it holds until it is released
    there. A damaged point keeps no other from being copied. A dry run writes nothing, and reads documents and trees
    only: it does not notice that data is damaged.

    ``on_progress`` is told of the phase "copy" of each point that is sent. What it raises ends the work: a point that
    was begun and not finished is not there, those before it stay, and the next call copies the rest; content that was
    stored already is not sent again.
    """
    verdicts: list[CopyVerdict] = []
    points = source.points(machine_id, lambda point_id, error: verdicts.append(_damaged(point_id, error)))
    machine_ids = {point.machine_id for point in points}
    wanted = _Wanted.of(target, machine_id, machine_ids, is_again=is_again)
    to_hold = source.held_points() - target.held_points()
    way = _Way(source, target, on_progress, is_dry_run=is_dry_run)
    last: tuple[Point, Point] | None = None
    for point in points:
        verdict = wanted.verdict(point)
        twin = wanted.there.get(point.id)
        if not verdict:
            base = last if last and last[0].machine_id == point.machine_id else None
            twin, verdict = way.send(point, base)
        if twin and is_same_capture(point, twin):
            verdict = way.hold(verdict) if point.id in to_hold else verdict
            last = point, twin
        verdicts.append(verdict)
    return verdicts


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the target has and had, and which points it is therefore not sent."""

    there: Mapping[PointId, Point]
    unreadable: Mapping[PointId, RepositoryError]
    removed: Collection[PointId]
    newest: Mapping[MachineId, int]
    """The highest number that the target has or had of each machine."""

    @classmethod
    def of(
        cls, target: Repository, only: MachineId | None, machine_ids: Collection[MachineId], *, is_again: bool
    ) -> _Wanted:
        removed = target.removed_ids()
        unreadable: dict[PointId, RepositoryError] = {}
        there = {point.id: point for point in target.points(only, unreadable.__setitem__)}
        unreadable = {each: error for each, error in unreadable.items() if not isinstance(error, NotAuthentic)}
        newest = {} if is_again else {each: target.highest_sequence(each) for each in machine_ids}
        return cls(there, unreadable, removed, newest)

    def verdict(self, point: Point) -> CopyVerdict | None:
        """Why a point is not sent; None where it is."""
        twin = self.there.get(point.id)
        if twin and is_same_capture(point, twin):
            return _left(point, "The target has it already.")
        if twin:
            return _left(point, "The target has a different point with that number. Neither was changed.")
        if point.id in self.unreadable:
            told = f"The target has it, but cannot read it: {self.unreadable[point.id].message}"
            return CopyVerdict(point.id, is_copied=False, reason=told, is_damaged=True)
        if point.id in self.removed:
            return _left(point, "The target removed it.")
        if point.sequence < self.newest.get(point.machine_id, 0):
            return _left(point, "The target had a later point, and removed or skipped this one.")
        return None


def is_same_capture(one: Point, other: Point) -> bool:
    """Whether two points, perhaps of two repositories, say the same but for their keyed roots."""
    return one.sequence == other.sequence and _without_roots(one.document) == _without_roots(other.document)


@dataclass(frozen=True, slots=True)
class _Part:
    """A disk of a point that is sent: since which disk here it differs, and over which one there it is written."""

    disk: PointDisk
    since: DiskRoot | None
    base: DiskRoot | None


@dataclass(frozen=True, slots=True)
class _Way:
    """From one repository to the other; in a dry run nothing goes it."""

    source: Repository
    target: Repository
    on_progress: OnProgress
    is_dry_run: bool

    def send(self, point: Point, base: tuple[Point, Point] | None) -> tuple[Point | None, CopyVerdict]:
        """Write a point over the one before, and tell what became of it; what is there then."""
        teller = Teller(self.on_progress, "copy", point.id)
        teller.tell()
        try:
            parts = [_part(disk, base) for disk in point.document.disks]
            # Walked once more when it is written: a list of a large disk's changes has no bound.
            teller.total_bytes = sum(total_bytes(self._changes(part)) for part in parts)
        except ChunkLost as error:
            return None, _damaged(point.id, error)
        if self.is_dry_run:
            return point, _foretold(point, teller.total_bytes, is_first=base is None)
        return self._written(point, parts, teller)

    def hold(self, verdict: CopyVerdict) -> CopyVerdict:
        """Hold in the target what is held in the source; the verdict that tells of it."""
        try:
            reason = self.source.hold_reason(verdict.point_id)
        except RepositoryDamaged:
            reason = "held in the original repository"
        if reason is None:  # released in this moment
            return verdict
        if self.is_dry_run:
            return replace(verdict, reason=f"{verdict.reason} It would be held there, as it is here: {reason}")
        try:
            self.target.hold_point(verdict.point_id, reason)
        except NotFound as error:  # removed there in this moment
            return replace(verdict, reason=f"{verdict.reason} It could not be held: {error.message}")
        return replace(verdict, reason=f"{verdict.reason} It is now held there, as it is here: {reason}")

    def _changes(self, part: _Part, gaps: Sequence[Extent] = ()) -> Iterator[Extent]:
        changes = self.source.diff(part.since, part.disk.root)
        return aligned(chain(changes, gaps), self.target.chunk_size_bytes, part.disk.root.size_bytes)

    def _written(self, point: Point, parts: Sequence[_Part], teller: Teller) -> tuple[Point | None, CopyVerdict]:
        try:
            return self._tried(point, parts, teller)
        except ChunkLost as error:
            return None, _damaged(point.id, error)
        except PointConflict as error:
            return None, _left(point, error.message)

    def _tried(self, point: Point, parts: Sequence[_Part], teller: Teller) -> tuple[Point, CopyVerdict]:
        """Write it; without a base if it turns out that part of what it was to be built on is lost there."""
        known = len(self.target.chunks.damaged)
        try:
            return self._published(point, parts, teller)
        except ChunkLost:
            if len(self.target.chunks.damaged) == known:
                raise
        return self._published(point, [_Part(part.disk, None, None) for part in parts], teller)

    def _published(self, point: Point, parts: Sequence[_Part], teller: Teller) -> tuple[Point, CopyVerdict]:
        with self.target.writer() as writer:
            disks = tuple(replace(part.disk, root=self._write(part, writer, teller)) for part in parts)
            copied = writer.publish(replace(point.document, disks=disks), as_sequence=point.sequence)
            reason = f"Copied: {writer.stats.bytes_stored} bytes were added to the target."
            return copied, CopyVerdict(point.id, is_copied=True, reason=reason, differing_bytes=teller.done_bytes)

    def _write(self, part: _Part, writer: Writer, teller: Teller) -> DiskRoot:
        """A disk over the one before, and what of that is damaged there once more."""
        try:
            gaps = writer.gaps(part.base) if part.base else []
        except ChunkLost:
            part, gaps = _Part(part.disk, None, None), []
        root, reader = part.disk.root, self.source.reader()
        disk = writer.disk(root.size_bytes, part.base)
        for piece in pieces(self._changes(part, gaps), PIECE_BYTES):
            disk.write(piece.offset_bytes, reader.read(root, piece.offset_bytes, piece.length_bytes))
            teller.add(piece.length_bytes)
        return disk.finish()


def _part(disk: PointDisk, base: tuple[Point, Point] | None) -> _Part:
    ours, theirs = (base[0].disk(disk.key), base[1].disk(disk.key)) if base else (None, None)
    return _Part(disk, ours.root, theirs.root) if ours and theirs else _Part(disk, None, None)


def _foretold(point: Point, differing_bytes: int, *, is_first: bool) -> CopyVerdict:
    size = format_bytes(differing_bytes)
    much = f"It holds about {size} of data." if is_first else f"About {size} differ from the point before it."
    reason = f"Would be copied: the target does not have it. {much}"
    return CopyVerdict(point.id, is_copied=True, reason=reason, differing_bytes=differing_bytes)


def _left(point: Point, reason: str) -> CopyVerdict:
    return CopyVerdict(point.id, is_copied=False, reason=reason)


def _damaged(point_id: PointId, error: RepositoryError) -> CopyVerdict:
    is_damaged = not isinstance(error, NotAuthentic)
    return CopyVerdict(point_id, is_copied=False, reason=error.message, is_damaged=is_damaged)


def _without_roots(document: PointDocument) -> PointDocument:
    disks = tuple(replace(disk, root=DiskRoot(disk.root.size_bytes, None)) for disk in document.disks)
    return replace(document, disks=disks)
