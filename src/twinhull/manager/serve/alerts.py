"""What ``serve`` reports of its machines' health: each change of state once, and each RPO that is missed, twice.

The verdict is the one of :mod:`twinhull.manager.health.judging`. Between two looks at a site nothing is known to have
changed, so a machine is judged only by looks that began after the last run on it had ended; the replica's age goes by
the monotonic clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from twinhull.manager.catalog.records import Plan, RunRecord, RunState, SeenMachine
from twinhull.manager.clockwatch import Reading
from twinhull.manager.health.evidence import Evidence
from twinhull.manager.health.health import Health, Verdict
from twinhull.manager.health.judging import judge
from twinhull.manager.health.status import interrupted
from twinhull.manager.runs.kinds.registry import KINDS
from twinhull.manager.serve.facts import SiteFacts
from twinhull.manager.serve.known import Known
from twinhull.manager.serve.welcoming import Tell
from twinhull.manager.sites.names import Named
from twinhull.manager.sites.overview import Overview
from twinhull.model.machine import MachineId, SiteName
from twinhull.model.units import format_duration

_RUNS_LOOKED_AT = 50
_CALM = (Health.SYNCING, Health.PROTECTED)


@dataclass(frozen=True, slots=True)
class _Late:
    """An RPO that is being missed since ``began`` (monotonic), and how old the replica has become."""

    began: float
    worst_seconds: float


@dataclass(frozen=True, slots=True)
class _Moment:
    """What one cycle has seen."""

    overview: Overview
    unfinished: Sequence[RunRecord]
    seen: Sequence[SeenMachine]
    now: Reading


@dataclass
class Alerts:
    """Call ``note`` once a cycle. ``known`` is what ``serve`` knows of its machines."""

    known: Known
    tell: Tell
    is_at_work: Callable[[RunRecord], bool]
    _states: dict[MachineId, Health] = field(default_factory=dict)
    _late: dict[MachineId, _Late] = field(default_factory=dict)
    _busy: set[MachineId] = field(default_factory=set)
    _busy_at: dict[MachineId, float] = field(default_factory=dict)
    _done: dict[MachineId, tuple[object, tuple[RunRecord, ...]]] = field(default_factory=dict)

    def note(self, overview: Overview, sites: Mapping[SiteName, SiteFacts], now: Reading) -> None:
        """Judge every planned machine of which both sites were looked at, and report what has changed."""
        catalog = self.known.manager.catalog
        history = self.known.manager.history
        moment = _Moment(_answering(overview, sites), history.unfinished_runs(), catalog.machines(), now)
        for plan in catalog.plans():
            for machine_id in plan.machines if {plan.source, plan.target} <= sites.keys() else ():
                known = self._evidence(machine_id, plan, moment)
                if known:
                    self._report(known, judge(known), now)

    def _evidence(self, machine_id: MachineId, plan: Plan, moment: _Moment) -> Evidence | None:
        """None if a run has changed the machine since its sites were looked at."""
        now = moment.now
        unfinished = [run for run in moment.unfinished if _is_of(run, machine_id)]
        at_work = tuple(run for run in unfinished if self.is_at_work(run))
        if not at_work and machine_id in self._busy:
            self._busy_at[machine_id] = now.monotonic
        (self._busy.add if at_work else self._busy.discard)(machine_id)
        changed_at = max(self._busy_at.get(machine_id, 0.0), self.known.ended_at.get(machine_id, 0.0))
        if any(self.known.seen_at(site) <= changed_at for site in (plan.source, plan.target)):
            return None
        last_seen = {machine.site: machine for machine in moment.seen if machine.machine_id == machine_id}
        name = next((machine.name for machine in last_seen.values()), machine_id)
        lore = self.known.lore(machine_id)
        known = Evidence(
            machine=Named(machine_id, name),
            plan=plan,
            situation=self.known.situation(machine_id, plan, moment.overview),
            now=now.wall,
            latest=self.known.manager.catalog.latest_points().get(machine_id),
            points=lore.times,
            at_work=at_work,
            left=interrupted(self.known.manager.history, [run for run in unfinished if run not in at_work]),
            done=self._ended_well(machine_id, (changed_at, lore.point_id)),
            last_seen=last_seen,
            is_repository_away=not self.known.has_repository(),
        )
        return replace(known, age_seconds=self.known.replica_age(known, now))

    def _ended_well(self, machine_id: MachineId, key: object) -> tuple[RunRecord, ...]:
        """The machine's latest runs that ended well, asked for again once something has changed."""
        known = self._done.get(machine_id)
        if known is None or known[0] != key:
            runs = self.known.manager.history.runs(machine_id=machine_id, last=_RUNS_LOOKED_AT)
            known = key, tuple(run for run in runs if run.state is RunState.DONE)
            self._done[machine_id] = known
        return known[1]

    def _report(self, known: Evidence, verdict: Verdict, now: Reading) -> None:
        self._report_rpo(known, verdict, now)
        others = [finding for finding in verdict.findings if finding.health is not Health.RPO_MISSED]
        first = next((finding for finding in others if finding.health not in _CALM), None)
        if first is None and verdict.health is Health.RPO_MISSED:
            return  # it is neither worse than that, nor well
        state, before = first.health if first else Health.PROTECTED, self._states.get(known.machine.machine_id)
        self._states[known.machine.machine_id] = state
        if state is not (before or Health.PROTECTED):
            told = first or verdict.findings[0]
            self._tell("health", known, told.sentence, health=state.value, command=told.command)

    def _report_rpo(self, known: Evidence, verdict: Verdict, now: Reading) -> None:
        machine_id, lag = known.machine.machine_id, known.lag_seconds
        late = self._late.get(machine_id)
        missed = next((finding for finding in verdict.findings if finding.health is Health.RPO_MISSED), None)
        if missed and lag is not None:
            worst = max(lag, late.worst_seconds) if late else lag
            self._late[machine_id] = _Late(late.began if late else now.monotonic, worst)
            if not late:
                self._tell("late", known, missed.sentence, command=missed.command)
        elif late and lag is not None and not known.is_late:
            del self._late[machine_id]
            missed_for = format_duration(now.monotonic - late.began)
            rpo, worst_age = format_duration(known.plan.rpo_seconds), format_duration(late.worst_seconds)
            told = (
                f"The RPO of {rpo} is met again: it was missed for {missed_for}, the replica was up to {worst_age} old."
            )
            self._tell("in time", known, told, worst_seconds=late.worst_seconds)

    def _tell(self, word: str, known: Evidence, reason: str, **more: object) -> None:
        facts = {"machine": known.name, "plan": known.plan.name, "reason": reason}
        figures = {"lag_seconds": known.lag_seconds, "rpo_seconds": known.plan.rpo_seconds}
        self.tell(word, {**facts, **figures, **more})


def _is_of(run: RunRecord, machine_id: MachineId) -> bool:
    return run.machine_id == machine_id and not KINDS.of(run).is_reading


def _answering(overview: Overview, sites: Mapping[SiteName, SiteFacts]) -> Overview:
    """What was seen, without what a site that hangs by now had said before."""
    views = {
        name: view
        if sites[name].is_reachable
        else replace(view, is_reachable=False, reason=sites[name].reason, machines=(), standings={})
        for name, view in overview.sites.items()
        if name in sites
    }
    return Overview(views)
