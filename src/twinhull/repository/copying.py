"""Bringing points from one repository to another: the second copy, elsewhere, under another key.

Only what the target lacks is written: each point is built on the one before it, and content is found again by its id.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from twinhull.model.extents import Extent, aligned, pieces
from twinhull.model.machine import MachineId, PointId
from twinhull.repository.errors import PointConflict
from twinhull.repository.points import DiskRoot, Point, PointDisk, PointDocument
from twinhull.repository.repository import Repository
from twinhull.repository.writer import Writer

PIECE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class CopyVerdict:
    """What became of one point, and the sentence that says it."""

    point_id: PointId
    is_copied: bool
    reason: str


def copy_points(source: Repository, target: Repository, machine_id: MachineId | None = None) -> list[CopyVerdict]:
    """Copy every point (of one machine) that the target lacks, oldest first; ids stay what they are.

    A point that was begun and not finished is not there, and the next call copies it. Raises ChunkLost where the source
    itself misses content; the points before that one are copied.
    """
    verdicts = []
    last: tuple[Point, Point] | None = None
    there = {point.id: point for point in target.points(machine_id)}
    gone = {removal.point_id for removal in target.removed_points()}
    for point in source.points(machine_id):
        if point.id in gone:
            verdicts.append(CopyVerdict(point.id, is_copied=False, reason="The target has removed it."))
            continue
        twin = there.get(point.id)
        if twin and not is_same_capture(point, twin):
            reason = "The target has another point of that number; neither was touched."
            verdicts.append(CopyVerdict(point.id, is_copied=False, reason=reason))
            continue
        if twin:
            verdicts.append(CopyVerdict(point.id, is_copied=False, reason="The target has it already."))
        else:
            base = last if last and last[0].machine_id == point.machine_id else None
            twin, verdict = _copied(source, target, point, base)
            verdicts.append(verdict)
        last = (point, twin) if twin else last
    return verdicts


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


def _copied(
    source: Repository, target: Repository, point: Point, base: tuple[Point, Point] | None
) -> tuple[Point | None, CopyVerdict]:
    with target.writer() as writer:
        disks = tuple(_copied_disk(source, writer, disk, base) for disk in point.document.disks)
        document = replace(point.document, disks=disks)
        try:
            copied = writer.publish(document, as_sequence=point.sequence)
        except PointConflict as error:
            return None, CopyVerdict(point.id, is_copied=False, reason=error.message)
        reason = f"Copied: {writer.stats.bytes_stored} bytes were added to the target."
        return copied, CopyVerdict(point.id, is_copied=True, reason=reason)


def _copied_disk(source: Repository, writer: Writer, disk: PointDisk, base: tuple[Point, Point] | None) -> PointDisk:
    ours, theirs = (base[0].disk(disk.key), base[1].disk(disk.key)) if base else (None, None)
    changes = source.diff(ours.root if ours and theirs else None, disk.root)
    return replace(disk, root=write_from(source, disk.root, changes, writer, theirs.root if ours and theirs else None))


def _without_roots(document: PointDocument) -> PointDocument:
    disks = tuple(replace(disk, root=DiskRoot(disk.root.size_bytes, None)) for disk in document.disks)
    return replace(document, disks=disks)
