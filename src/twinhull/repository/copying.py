"""Bringing points from one repository to another: the second copy, elsewhere, under another key.

Only what the target lacks is written: each point is built on the one before it, and content is found again by its id.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from twinhull.model.errors import NotFound
from twinhull.model.extents import Extent, aligned, pieces
from twinhull.model.machine import MachineId, PointId
from twinhull.repository.errors import ChunkLost, PointConflict, RepositoryDamaged, RepositoryError
from twinhull.repository.points import DiskRoot, Point, PointDisk, PointDocument
from twinhull.repository.repository import Repository
from twinhull.repository.writer import Writer

PIECE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class CopyVerdict:
    """What became of one point, and the sentence that says it. ``is_damaged`` where damage, here or there, is why."""

    point_id: PointId
    is_copied: bool
    reason: str
    is_damaged: bool = False


def copy_points(
    source: Repository, target: Repository, machine_id: MachineId | None = None, *, is_again: bool = False
) -> list[CopyVerdict]:
    """Copy the points (of one machine) that the target never had, oldest first, and the holds; ids stay what they are.

    The target lets points go by itself: one that is older than the newest that it has or had of a machine is not sent,
    unless ``is_again``, and never one whose removal it still remembers. What it holds it holds until it is released
    there. A point that was begun and not finished is not there, and the next call copies it. A damaged point keeps no
    other from being copied.
    """
    verdicts: list[CopyVerdict] = []
    points = source.points(machine_id, lambda point_id, error: verdicts.append(_damaged(point_id, error)))
    wanted = _Wanted.of(target, {point.machine_id for point in points}, is_again=is_again)
    to_hold = source.held_points() - target.held_points()
    last: tuple[Point, Point] | None = None
    for point in points:
        verdict = wanted.verdict(point)
        twin = wanted.there.get(point.id)
        if not verdict:
            base = last if last and last[0].machine_id == point.machine_id else None
            twin, verdict = _copied(source, target, point, base)
        if twin and is_same_capture(point, twin):
            verdict = _held(source, target, verdict) if point.id in to_hold else verdict
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
    def of(cls, target: Repository, machine_ids: Collection[MachineId], *, is_again: bool) -> _Wanted:
        removed = target.removed_ids()
        unreadable: dict[PointId, RepositoryError] = {}
        there = {point.id: point for point in target.points(on_damage=unreadable.__setitem__)}
        newest = {} if is_again else {each: target.next_sequence(each) - 1 for each in machine_ids}
        return cls(there, unreadable, removed, newest)

    def verdict(self, point: Point) -> CopyVerdict | None:
        """Why a point is not sent; None where it is."""
        twin = self.there.get(point.id)
        if twin and is_same_capture(point, twin):
            return _left(point, "The target has it already.")
        if twin:
            return _left(point, "The target has another point of that number; neither was touched.")
        if point.id in self.unreadable:
            told = f"The target has it, and cannot read it: {self.unreadable[point.id].message}"
            return CopyVerdict(point.id, is_copied=False, reason=told, is_damaged=True)
        if point.id in self.removed:
            return _left(point, "The target has removed it.")
        if point.sequence < self.newest.get(point.machine_id, 0):
            return _left(point, "The target has had a later one, and has let this one go or passed it over.")
        return None


def is_same_capture(one: Point, other: Point) -> bool:
    """Whether two points, perhaps of two repositories, say the same but for their keyed roots."""
    return one.sequence == other.sequence and _without_roots(one.document) == _without_roots(other.document)


def write_from(
    source: Repository, root: DiskRoot, changes: Iterator[Extent], target: Writer, base: DiskRoot | None
) -> DiskRoot:
    """Write a disk of another repository: its changed ranges, over a base that the target has."""
    disk = target.disk(root.size_bytes, base)
    reader = source.reader()
    for piece in pieces(aligned(changes, target.chunk_size_bytes, root.size_bytes), PIECE_BYTES):
        disk.write(piece.offset_bytes, reader.read(root, piece.offset_bytes, piece.length_bytes))
    return disk.finish()


def _held(source: Repository, target: Repository, verdict: CopyVerdict) -> CopyVerdict:
    """Hold in the target what is held in the source; the verdict that tells of it."""
    try:
        reason = source.hold_reason(verdict.point_id)
    except RepositoryDamaged:
        reason = "held where it was copied from"
    if reason is None:  # released in this moment
        return verdict
    try:
        target.hold_point(verdict.point_id, reason)
    except NotFound as error:  # removed there in this moment
        return replace(verdict, reason=f"{verdict.reason} It could not be held: {error.message}")
    return replace(verdict, reason=f"{verdict.reason} It is held there now, as it is here: {reason}")


def _left(point: Point, reason: str) -> CopyVerdict:
    return CopyVerdict(point.id, is_copied=False, reason=reason)


def _damaged(point_id: PointId, error: RepositoryError) -> CopyVerdict:
    return CopyVerdict(point_id, is_copied=False, reason=error.message, is_damaged=True)


def _copied(
    source: Repository, target: Repository, point: Point, base: tuple[Point, Point] | None
) -> tuple[Point | None, CopyVerdict]:
    with target.writer() as writer:
        try:
            disks = tuple(_copied_disk(source, writer, disk, base) for disk in point.document.disks)
            copied = writer.publish(replace(point.document, disks=disks), as_sequence=point.sequence)
        except ChunkLost as error:
            return None, _damaged(point.id, error)
        except PointConflict as error:
            return None, _left(point, error.message)
        reason = f"Copied: {writer.stats.bytes_stored} bytes were added to the target."
        return copied, CopyVerdict(point.id, is_copied=True, reason=reason)


def _copied_disk(source: Repository, writer: Writer, disk: PointDisk, base: tuple[Point, Point] | None) -> PointDisk:
    ours, theirs = (base[0].disk(disk.key), base[1].disk(disk.key)) if base else (None, None)
    changes = source.diff(ours.root if ours and theirs else None, disk.root)
    return replace(disk, root=write_from(source, disk.root, changes, writer, theirs.root if ours and theirs else None))


def _without_roots(document: PointDocument) -> PointDocument:
    disks = tuple(replace(disk, root=DiskRoot(disk.root.size_bytes, None)) for disk in document.disks)
    return replace(document, disks=disks)
