"""How each planned machine is: where it runs, how old its replica is, and its health."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from twinhull.cluster.epochs import current_epoch
from twinhull.cluster.situation import Side, Situation
from twinhull.manager.catalog.catalog import Catalog
from twinhull.manager.catalog.records import LatestPoint, Plan, RunRecord, RunState, SeenMachine
from twinhull.manager.health.evidence import Evidence, PointTime
from twinhull.manager.health.health import Health, Level, Verdict
from twinhull.manager.health.judging import judge
from twinhull.manager.record.history import RunHistory
from twinhull.manager.repository.damages import Damages
from twinhull.manager.repository.soundness import Soundness
from twinhull.manager.runs.kinds.registry import KINDS
from twinhull.manager.sites.names import Named
from twinhull.manager.sites.overview import Overview
from twinhull.model.machine import MachineId, PointId, RunId, SiteName
from twinhull.replication.bases import capture_of, latest_epoch
from twinhull.repository import Point, latest_point

_RUNS_LOOKED_AT = 200
"""How many of a machine's runs are looked through."""


@dataclass(frozen=True, slots=True)
class MachineReport:
    """One machine. ``runs_on`` is the primary side; ``lag_seconds`` is how old the replica is, None if unknown."""

    machine: Named
    plan: Plan
    situation: Situation
    epoch: int
    runs_on: SiteName | None
    is_running: bool
    latest: LatestPoint | None
    replica: Side | None
    lag_seconds: float | None
    verdict: Verdict

    @property
    def health(self) -> Health:
        """The verdict's state."""
        return self.verdict.health

    @property
    def reason(self) -> str:
        """The verdict's sentence."""
        return self.verdict.sentence


def report(known: Evidence) -> MachineReport:
    """The verdict on what is known, and the facts that are shown with it."""
    home = known.home
    runs_on = home.site if home and home.is_reachable else None
    return MachineReport(
        machine=known.machine,
        plan=known.plan,
        situation=known.situation,
        epoch=current_epoch(known.situation),
        runs_on=runs_on,
        is_running=bool(home and home.is_running),
        latest=known.latest,
        replica=known.replica,
        lag_seconds=known.lag_seconds,
        verdict=judge(known),
    )


@dataclass(frozen=True)
class Watched:
    """The runs that were working on machines at some moment since ``began``: what the sites said may be half of one.

    Asked for once before the sites are looked at, and completed after it.
    """

    began: datetime
    before: frozenset[RunId]

    def at_work(self, runs: Sequence[RunRecord], is_at_work: Callable[[RunRecord], bool]) -> tuple[RunRecord, ...]:
        """Those of a machine's latest runs that worked on it meanwhile."""
        return tuple(run for run in runs if self._worked(run) or is_at_work(run))

    def _worked(self, run: RunRecord) -> bool:
        return run.run_id in self.before or (run.ended_at is not None and run.ended_at > self.began)


@dataclass(frozen=True)
class Gatherer:
    """Collects the evidence. ``points`` are the machines' points, None while the repository is away."""

    catalog: Catalog
    history: RunHistory
    overview: Overview
    points: Mapping[MachineId, Sequence[Point]] | None
    watched: Watched
    is_at_work: Callable[[RunRecord], bool]
    now: datetime

    def evidence(self, machine: Named, plan: Plan, last_seen: Sequence[SeenMachine]) -> Evidence:
        """What is known of one machine."""
        machine_id = machine.machine_id
        points = self.points.get(machine_id, ()) if self.points is not None else ()
        latest = _latest(machine_id, points) or self.catalog.latest_points().get(machine_id)
        runs = [run for run in self.history.runs(machine_id=machine_id, last=_RUNS_LOOKED_AT) if _is_on_it(run)]
        at_work = self.watched.at_work(runs, self.is_at_work)
        return Evidence(
            machine=machine,
            plan=plan,
            situation=self.overview.situation(machine_id, (plan.source, plan.target), *latest_epoch(points)),
            now=self.now,
            latest=latest,
            points={**_times_of_runs(runs, latest), **point_times(points)},
            at_work=at_work,
            left=interrupted(self.history, [run for run in runs if run not in at_work]),
            done=tuple(run for run in runs if run.state is RunState.DONE),
            last_seen={seen.site: seen for seen in last_seen if seen.machine_id == machine_id},
            is_repository_away=self.points is None,
        )

    def reports(self, name: Mapping[MachineId, Named]) -> list[MachineReport]:
        """All planned machines, by plan and boot order."""
        last_seen = self.catalog.machines()
        return [
            report(self.evidence(name[machine_id], plan, last_seen))
            for plan in self.catalog.plans()
            for machine_id in plan.machines
        ]


def interrupted(history: RunHistory, idle: Sequence[RunRecord]) -> tuple[RunRecord, ...]:
    """Those of the runs which no process works on that have not ended: one may have ended since they were read."""
    unfinished = [run for run in idle if run.state.is_unfinished]
    return tuple(run for run in unfinished if history.run(run.run_id).state.is_unfinished)


def _is_on_it(run: RunRecord) -> bool:
    """Whether it is a run that works on the machine's sides."""
    return not KINDS.of(run).is_reading


def _latest(machine_id: MachineId, points: Sequence[Point]) -> LatestPoint | None:
    latest = latest_point(points)
    return LatestPoint(machine_id, latest.id, latest.captured_at) if latest else None


def point_times(points: Sequence[Point]) -> dict[PointId, PointTime]:
    """When each point was captured."""
    return {point.id: PointTime(point.captured_at, capture_of(point)) for point in points}


def _times_of_runs(runs: Sequence[RunRecord], latest: LatestPoint | None) -> dict[PointId, PointTime]:
    """The same by what the machine's runs noted, for points that are not in the repository or cannot be asked for."""
    known = {latest.point_id: PointTime(latest.captured_at)} if latest else {}
    for run in reversed(runs):
        point_id, captured_at = run.result.get("point_id"), run.result.get("captured_at")
        if point_id and captured_at:
            moment = datetime.fromisoformat(str(captured_at))
            known[PointId(str(point_id))] = PointTime(moment, str(run.result.get("capture", "")))
    return known


@dataclass(frozen=True, slots=True)
class Status:
    """What all sites said at one moment, and what it means for each planned machine.

    ``damages`` are the planned machines' points that cannot be read, ``soundness`` what verifications of the
    repository have found. ``repository_trouble`` says why the repository could not be asked, so that points are those
    last seen; empty where it was.
    """

    overview: Overview
    reports: Sequence[MachineReport]
    damages: Damages
    now: datetime
    soundness: Soundness = field(default_factory=Soundness)
    repository_trouble: str = ""

    @property
    def level(self) -> Level:
        """What monitoring makes of all of it: the worst; nothing is known while no machine is in a plan."""
        levels = [report.verdict.level for report in self.reports] or [Level.UNKNOWN]
        is_damaged = self.soundness.is_damaged
        of_repository = Level.CRITICAL if is_damaged else Level.WARNING if self.repository_alarms() else Level.OK
        return Level.worst([*levels, of_repository])

    def repository_alarms(self) -> list[str]:
        """What is not well with the repository: damage, or that nothing has looked for damage lately."""
        if self.repository_trouble:
            return [f"repository: {self.repository_trouble}"]
        count = len(self.damages.found)
        return [*self.soundness.alarms(self.now), *([f"repository: {count} points cannot be read"] if count else [])]
