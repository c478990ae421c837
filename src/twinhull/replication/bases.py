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
from datetime import datetime

from twinhull.model.machine import DiskKey, Role, SiteName, Standing
from twinhull.model.units import format_duration
from twinhull.repository import DiskRoot, Point, PointDisk, current_points, latest_point
from twinhull.repository.points.retention import MAX_CREDITED_GAP_SECONDS

TRACKER = "id"
CAPTURE = "capture"
READ = "read"
UNCOMPARED = "uncompared_seconds"

TRACKED = "tracked"
COMPARED = "compared"


@dataclass(frozen=True, slots=True)
class Base:
    """The point that a capture builds on, and the trackers that count since it."""

    point: Point | None = None
    trackers: Mapping[DiskKey, str] = field(default_factory=dict)

    def is_of(self, site: SiteName) -> bool:
        """Whether the base was captured on that site."""
        return self.point is not None and self.point.document.source_site == site

    def roots(self) -> dict[DiskKey, DiskRoot]:
        """What each disk was at the base."""
        return {disk.key: disk.root for disk in self.point.document.disks} if self.point else {}

    def root(self, key: DiskKey) -> DiskRoot | None:
        """What the disk was at the base, if it was there."""
        disk = self.point.disk(key) if self.point else None
        return disk.root if disk else None


def choose_base(points: Sequence[Point], site: SiteName, standing: Standing | None) -> Base:
    """The base of the next capture on a site; ``points`` are the machine's, in order."""
    by_id = {point.id: point for point in points}
    armed_at = by_id.get(standing.point_id) if standing and standing.point_id and standing.trackers else None
    if standing and armed_at and standing.role is not Role.REPLICA and is_of(armed_at, standing):
        return Base(armed_at, standing.trackers)
    own = current_points(points)
    here = [point for point in own if point.document.source_site == site]
    if here:
        return Base(here[-1], trackers_of(here[-1]))
    return Base(latest_point(points))


def trackers_of(point: Point) -> dict[DiskKey, str]:
    """The trackers that a capture has left on its site."""
    noted = {disk.key: disk.tracker.get(TRACKER) for disk in point.document.disks}
    return {key: str(tracker) for key, tracker in noted.items() if tracker}


def capture_of(point: Point) -> str:
    """The capture that made the point, which no other point of any repository names; empty where it is not known."""
    return next((str(disk.tracker[CAPTURE]) for disk in point.document.disks if CAPTURE in disk.tracker), "")


def is_of(point: Point, standing: Standing) -> bool:
    """Whether the point is the one that the standing names: a new repository counts its own from 1."""
    return point.id == standing.point_id and standing.capture in ("", capture_of(point))


def latest_epoch(points: Sequence[Point]) -> tuple[int, SiteName | None]:
    """The highest epoch that the points know, and the site that captured the latest of it; 0 and None without points.

    A side that comes back alone may not know it. A divergent point names no primary: its site had lost the machine.
    """
    epoch = max((point.document.epoch for point in points), default=0)
    sites = [SiteName(point.document.source_site) for point in current_points(points) if point.document.epoch == epoch]
    return epoch, sites[-1] if sites else None


def uncompared_seconds(point: Point | None) -> float:
    """How long the point's disks have been followed by trackers alone, since they were last read whole; see below."""
    disks = point.document.disks if point else ()
    return max((_uncompared(disk) for disk in disks), default=0.0)


def followed_seconds(base: Point | None, key: DiskKey, captured_at: datetime) -> float:
    """The same for a disk that is followed by its tracker once more, from its base to that moment.

    The clock is credited, not believed: a capture adds a day at most, and nothing where the clock went back.
    """
    disk = base.disk(key) if base else None
    if not base or not disk:
        return 0.0
    gap = (captured_at - base.captured_at).total_seconds()
    return _uncompared(disk) + min(max(gap, 0.0), MAX_CREDITED_GAP_SECONDS)


def comparison_due(seconds: float, every_seconds: float) -> str:
    """Why no tracker is to be trusted this time, after so many uncompared seconds; empty where they may be."""
    if not every_seconds or seconds < every_seconds:
        return ""
    return f"trackers alone were trusted for {format_duration(seconds)}"


def _uncompared(disk: PointDisk) -> float:
    noted = disk.tracker.get(UNCOMPARED)
    return float(noted) if isinstance(noted, int | float) else 0.0
