"""What is known of a replica's disks before anything is applied to them, disk by disk.

==  ============================================================  ================================================
1   the disk is not there, or must be made anew (it would shrink)  zeros: all of the point's data is applied
2   the standing is at a point, the disk is as that point has it   differences between the two points
3   as 2, but the standing is half-way to a further point          differences of both, content of the wanted one
4   the disk came half-way to a further point that brought it      zeros, or that point's content: as 3
5   anything else                                                  nothing: it is compared in full, by hashes
==  ============================================================  ================================================

A row that a killed process could not tell again leaves the standing's point unknown while the disks are changed, so
that whoever goes on compares in full.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from twinhull.model.machine import DiskKey, DiskSpec, MachineSpec, PointId, Role, Standing
from twinhull.replication.bases import is_of
from twinhull.replication.divergent import is_kept
from twinhull.repository import DiskRoot, Point


@dataclass(frozen=True, slots=True)
class Known:
    """What one disk holds: ``old``'s content, or ``half``'s, chunk by chunk. ``reason`` says why nothing is known.

    ``old`` None means zeros. ``is_to_be_made`` disks are made by preparing the replica. ``can_be_told_again`` is
    whether the same would be found after a kill during the work.
    """

    old: DiskRoot | None = None
    half: DiskRoot | None = None
    reason: str = ""
    is_to_be_made: bool = False
    can_be_told_again: bool = True

    @property
    def is_unknown(self) -> bool:
        """Whether only a full comparison helps."""
        return bool(self.reason)


def believed(standing: Standing | None, points: Mapping[PointId, Point]) -> Standing | None:
    """What a standing says of the disks, as far as it can be believed.

    A fenced side ran as the primary after it was at its standing's point: its disks are at no known one, unless what it
    wrote was kept as a divergent point. Nor are those
    whose point another one has taken the number of, in a repository that came in the place of the first.
    """
    if not standing:
        return None
    point = points.get(standing.point_id) if standing.point_id else None
    is_fenced = standing.role is Role.FENCED and not is_kept(standing, points)
    if is_fenced or (point and not is_of(point, standing)):
        return replace(standing, point_id=None, applying_point_id=None)
    return standing


def what_is_known(
    wanted: MachineSpec, here: MachineSpec | None, standing: Standing | None, points: Mapping[PointId, Point]
) -> dict[DiskKey, Known]:
    """For each wanted disk, what the replica's disk of that key holds now."""
    old = points.get(standing.point_id) if standing and standing.point_id else None
    half = points.get(standing.applying_point_id) if standing and standing.applying_point_id else None
    sides = _Sides(old, half if standing and standing.is_dirty else None, bool(standing and standing.is_dirty))
    return {disk.key: _known(disk, here.disk(disk.key) if here else None, sides) for disk in wanted.disks}


@dataclass(frozen=True, slots=True)
class _Sides:
    old: Point | None
    half: Point | None
    is_dirty: bool


def _known(wanted: DiskSpec, here: DiskSpec | None, sides: _Sides) -> Known:
    was = _root(sides.old, wanted.key)
    if here is None:
        return Known(is_to_be_made=True, can_be_told_again=was is None and sides.old is not None)
    if here.size_bytes > wanted.size_bytes:
        return Known(is_to_be_made=True, can_be_told_again=was is not None and was.size_bytes > wanted.size_bytes)
    if sides.old is None:
        return Known(reason=f"Disk {wanted.key} is at no known point.")
    return _present(wanted.key, here.size_bytes, was, sides)


def _present(key: DiskKey, size_bytes: int, was: DiskRoot | None, sides: _Sides) -> Known:
    coming = _root(sides.half, key)
    if was is None:
        if coming and size_bytes == coming.size_bytes:
            return Known(half=coming)
        return Known(reason=f"Disk {key} was not in the replica's last point.")
    if sides.is_dirty and (coming is None or coming.size_bytes < was.size_bytes):
        return Known(reason=f"Disk {key} may have been made anew half-way.")
    if size_bytes not in {was.size_bytes, coming.size_bytes if coming else was.size_bytes}:
        return Known(reason=f"Disk {key} has not the size of the replica's last point.")
    return Known(was, coming)


def _root(point: Point | None, key: DiskKey) -> DiskRoot | None:
    disk = point.disk(key) if point else None
    return disk.root if disk else None
