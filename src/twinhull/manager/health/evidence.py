"""What is known of one planned machine at one moment: all that its health is judged by. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from twinhull.actions.telling import number_of
from twinhull.cluster.epochs import is_past_without_standing, primary
from twinhull.cluster.situation import Side, Situation
from twinhull.manager.catalog.records import LatestPoint, Plan, RunRecord, SeenMachine
from twinhull.manager.runs.kinds.registry import KINDS
from twinhull.manager.sites.names import Named
from twinhull.model.errors import DataError
from twinhull.model.machine import PointId, Role, SiteName, Standing
from twinhull.model.units import format_duration


@dataclass(frozen=True, slots=True)
class PointTime:
    """When a point was captured. ``capture`` tells it from a point of another repository that has the same id."""

    captured_at: datetime
    capture: str = ""

    def is_of(self, standing: Standing) -> bool:
        """Whether it is the point that the standing names."""
        return not standing.capture or self.capture in ("", standing.capture)


@dataclass(frozen=True)
class Evidence:
    """One machine.

    ``at_work`` are the runs that were working on it while the sites were asked, ``left`` those that were interrupted
    and wait to be resumed, ``done`` those that ended well, the latest first, ``points`` the times of its points as far
    as they are known, ``last_seen`` what each site last said of it. ``age_seconds`` is the age of
    the replica's point, for a process that has measured it; else it goes by the wall clock.
    """

    machine: Named
    plan: Plan
    situation: Situation
    now: datetime
    latest: LatestPoint | None = None
    points: Mapping[PointId, PointTime] = field(default_factory=dict)
    at_work: tuple[RunRecord, ...] = ()
    left: tuple[RunRecord, ...] = ()
    done: tuple[RunRecord, ...] = ()
    last_seen: Mapping[SiteName, SeenMachine] = field(default_factory=dict)
    is_repository_away: bool = False
    age_seconds: float | None = None

    @property
    def name(self) -> str:
        """The machine's name."""
        return self.machine.name

    @property
    def word(self) -> str:
        """The machine's name as a command takes it."""
        return shlex.quote(self.machine.name)

    @cached_property
    def holder(self) -> Side | None:
        """The primary side, if one that answers is."""
        return primary(self.situation)

    @cached_property
    def is_new(self) -> bool:
        """Whether no side has a standing, and no epoch was ever given out but the first."""
        return not self.holder and not any(side.standing for side in self.situation.sides)

    @cached_property
    def home(self) -> Side | None:
        """The side on which the machine is, as far as is known, also while that side is silent; None: on none."""
        if self.holder:
            return self.holder
        possible = [side for side in self.situation.sides if _may_be_home(side, self.situation)]
        preferred = (self.situation.known_primary, self.plan.source)
        ranked = sorted(possible, key=lambda side: _rank(side.site, preferred))
        return ranked[0] if ranked else None

    @cached_property
    def replica(self) -> Side | None:
        """The other side."""
        home = self.home.site if self.home else self.plan.source
        return next((side for side in self.situation.sides if side.site != home), None)

    @property
    def moving(self) -> RunRecord | None:
        """The run that is moving the machine, or putting it back, right now."""
        return next((run for run in self.at_work if KINDS.of(run).is_move), None)

    @property
    def syncing(self) -> RunRecord | None:
        """The sync that is running."""
        return next((run for run in self.at_work if KINDS.of(run).is_protecting), None)

    @property
    def interrupted_move(self) -> RunRecord | None:
        """A failover, failback or rollback that was interrupted."""
        return next((run for run in self.left if KINDS.of(run).is_move), None)

    @cached_property
    def sync_to_replica(self) -> RunRecord | None:
        """The latest sync that ended well and brought what is the replica now to its point."""
        site = self.replica.site if self.replica else None
        return next((run for run in self.done if KINDS.of(run).is_protecting and _brings(run, site)), None)

    @cached_property
    def arrival(self) -> RunRecord | None:
        """The latest run that left the replica at a point: a sync to it, or the planned move that made it one."""
        site = self.replica.site if self.replica else None
        return next((run for run in self.done if _brings(run, site)), None)

    @cached_property
    def replica_point(self) -> PointId | None:
        """The point that the replica is at; while it is being written or is silent, the one that it was at."""
        side = self.replica
        held = side.standing if side else None
        if held and held.role is not Role.REPLICA:
            return None
        if held and held.point_id:
            return held.point_id
        is_as_before = held.is_dirty if held else bool(side and not side.is_reachable)
        point_id = self.arrival.result.get("point_id") if self.arrival and is_as_before else None
        return PointId(str(point_id)) if point_id else None

    @cached_property
    def replica_time(self) -> datetime | None:
        """When the replica's point was captured, if that is known."""
        known = self.points.get(self.replica_point) if self.replica_point else None
        held = self.replica.standing if self.replica else None
        if known is None or (held and held.point_id == self.replica_point and not known.is_of(held)):
            return None
        return known.captured_at

    @property
    def is_from_the_future(self) -> bool:
        """Whether the replica's point is dated later than now: the clock was set back, and the age is not known."""
        return self.replica_time is not None and self.replica_time > self.now

    @property
    def lag_seconds(self) -> float | None:
        """How old the point is that the replica is at; None if that is not known."""
        if self.replica_time is None or self.age_seconds is not None:
            return self.age_seconds
        return None if self.is_from_the_future else (self.now - self.replica_time).total_seconds()

    @property
    def is_late(self) -> bool:
        """Whether the replica is older than the RPO allows."""
        return self.lag_seconds is not None and self.lag_seconds > self.plan.rpo_seconds

    def silence(self, side: Side) -> str:
        """That the side does not answer, since when, and why."""
        seen = self.last_seen.get(side.site)
        since = f" since {clock_time(seen.seen_at)}" if seen else ""
        return f"{side.site} has not answered{since}: {side.reason}"

    def point(self, point_id: PointId) -> str:
        """A point as people read it: ``db:12 (26 Nov 20:23:48 UTC, 50 s ago)``."""
        known = self.points.get(point_id)
        told = f"{self.name}:{number_of(point_id)}"
        if not known:
            return told
        ago = (self.now - known.captured_at).total_seconds()
        age = f"{format_duration(ago)} ago" if ago >= 0 else "in the future"
        return f"{told} ({clock_time(known.captured_at)}, {age})"


def _brings(run: RunRecord, site: SiteName | None) -> bool:
    """Whether the run left the replica on that site at its point; one whose record cannot be read tells nothing."""
    kind = KINDS.of(run)
    try:
        return site is not None and kind.brings(kind.request_of(run)) == site
    except DataError:
        return False


def clock_time(moment: datetime) -> str:
    """A moment as people read it."""
    return f"{moment:%d %b %H:%M:%S} UTC"


def _may_be_home(side: Side, situation: Situation) -> bool:
    """Whether the machine could be this side's while no side that answers is its primary."""
    if not side.is_reachable:
        return True
    if side.standing is None:
        is_there = side.status is not None or not any(other.standing for other in situation.sides)
        return is_there and not is_past_without_standing(side, situation)
    return side.standing.role is Role.UNREADABLE


def _rank(site: SiteName, preferred: tuple[SiteName | None, ...]) -> int:
    return preferred.index(site) if site in preferred else len(preferred)
