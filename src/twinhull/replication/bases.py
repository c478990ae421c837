"""Where a capture starts from: the point whose trackers this site still has, or the content to compare with.

==  ==============================================  ==========================================================
1   the standing (of no replica) has trackers armed  start from its point: they count since the machine was put
    at a point that still exists                     there (failover, failback, rollback)
2   else, a point was captured on this site          start from the latest such, with the trackers it left
3   else, there are points of other sites            compare with the latest one; there are no trackers
4   else                                             the first capture: everything is read
==  ==============================================  ==========================================================

A tracker is a hint: the site says of each whether it is there and whole, and a scheduled comparison trusts none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from twinhull.model.machine import DiskKey, Role, SiteName, Standing
from twinhull.repository import DiskRoot, Point

TRACKER = "id"
CAPTURE = "capture"
READ = "read"

TRACKED = "tracked"
COMPARED = "compared"


@dataclass(frozen=True, slots=True)
class Base:
    """The point that a capture builds on, and the trackers that count since it."""

    point: Point | None = None
    trackers: Mapping[DiskKey, str] = field(default_factory=dict)

    def root(self, key: DiskKey) -> DiskRoot | None:
        """What the disk was at the base, if it was there."""
        disk = self.point.disk(key) if self.point else None
        return disk.root if disk else None


def choose_base(points: Sequence[Point], site: SiteName, standing: Standing | None) -> Base:
    """The base of the next capture on a site; ``points`` are the machine's, in order."""
    by_id = {point.id: point for point in points}
    if standing and standing.role is not Role.REPLICA and standing.trackers and standing.point_id in by_id:
        return Base(by_id[standing.point_id], standing.trackers)
    here = [point for point in points if point.document.source_site == site]
    if here:
        return Base(here[-1], trackers_of(here[-1]))
    return Base(points[-1]) if points else Base()


def trackers_of(point: Point) -> dict[DiskKey, str]:
    """The trackers that a capture has left on its site."""
    noted = {disk.key: disk.tracker.get(TRACKER) for disk in point.document.disks}
    return {key: str(tracker) for key, tracker in noted.items() if tracker}


def is_full_compare_due(points: Sequence[Point], site: SiteName, every: int) -> bool:
    """Whether it is time to trust no tracker: none of the last ``every - 1`` points of this site was compared.

    It counts points and not days, because the clock is not trusted; 0 means never.
    """
    if every <= 0:
        return False
    here = [point for point in points if point.document.source_site == site]
    recent = here[len(here) - every + 1 :] if len(here) >= every - 1 else []
    return len(recent) == every - 1 and all(_has_trusted(point) for point in recent)


def _has_trusted(point: Point) -> bool:
    return any(disk.tracker.get(READ) == TRACKED for disk in point.document.disks)
