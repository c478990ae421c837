"""What ``serve`` knows of its machines between two cycles, and the planner's snapshot that it makes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from twinhull.cluster.epochs import FIRST_EPOCH, corrections, current_epoch, primary
from twinhull.cluster.situation import Situation
from twinhull.manager.catalog.records import Plan, RunRecord
from twinhull.manager.clockwatch import Reading
from twinhull.manager.health.ages import Aged, observe
from twinhull.manager.health.evidence import Evidence, PointTime
from twinhull.manager.health.status import point_times
from twinhull.manager.manager import Manager
from twinhull.manager.record.claims import machine_claim
from twinhull.manager.runs.desk import other_site, running_side
from twinhull.manager.serve.facts import MachineFacts
from twinhull.manager.serve.patient_reads import PatientReads, StillAsking
from twinhull.manager.sites.names import Named
from twinhull.manager.sites.overview import Overview
from twinhull.model.machine import MachineId, PointId, SiteName
from twinhull.replication.bases import latest_epoch, uncompared_seconds
from twinhull.repository import RepositoryMissing, StoreError, latest_point


@dataclass(frozen=True, slots=True)
class Trouble:
    """How a machine's latest runs failed in a row: those that put the sites right, or all others."""

    count: int
    at_monotonic: float
    reason: str
    is_correction: bool = False


@dataclass(frozen=True, slots=True)
class Lore:
    """What a machine's points tell, of which this is the latest; ``times`` are when each was captured."""

    point_id: PointId | None = None
    epoch: int = 0
    primary: SiteName | None = None
    uncompared_seconds: float = 0.0
    times: Mapping[PointId, PointTime] = field(default_factory=dict)


@dataclass
class Known:
    """Written by the runs' threads, read by the loop; each entry is replaced as a whole."""

    manager: Manager
    is_busy: Callable[[MachineId], bool]
    seen_at: Callable[[SiteName], float]
    has_repository: Callable[[], bool]
    reads: PatientReads
    ages: Mapping[MachineId, Aged] = field(default_factory=dict)
    lores: dict[MachineId, Lore] = field(default_factory=dict)
    troubles: dict[MachineId, Trouble] = field(default_factory=dict)
    typical_seconds: dict[MachineId, float] = field(default_factory=dict)
    ended_at: dict[MachineId, float] = field(default_factory=dict)
    replica_ages: dict[MachineId, Aged] = field(default_factory=dict)
    unread: set[MachineId] = field(default_factory=set)
    """Whose points are being read: until then their sides can be corrected, and nothing else is begun."""

    def machines(
        self, overview: Overview, unfinished: Mapping[MachineId, RunRecord], now: Reading
    ) -> Iterator[MachineFacts]:
        """The facts of every planned machine."""
        catalog = self.manager.catalog
        self.ages = observe(self.ages, catalog.latest_points(), now)
        names = {seen.machine_id: seen.name for seen in catalog.machines()}
        for plan in catalog.plans():
            for machine_id in plan.machines:
                named = Named(machine_id, names.get(machine_id, machine_id))
                yield self._facts(named, plan, overview, unfinished.get(machine_id), now)

    def _facts(
        self, machine: Named, plan: Plan, overview: Overview, unfinished: RunRecord | None, now: Reading
    ) -> MachineFacts:
        machine_id = machine.machine_id
        lore, situation = self.lore(machine_id), self.situation(machine_id, plan, overview)
        source = running_side(plan, situation)
        trouble = self.troubles.get(machine_id)
        aged = self.ages.get(machine_id)
        at_work = self.at_work(machine_id)
        return MachineFacts(
            machine=machine,
            plan=plan.name,
            source=source,
            target=other_site(plan, source),
            rpo_seconds=plan.rpo_seconds,
            is_paused=plan.is_paused,
            age_seconds=aged.age_at(now) if aged else None,
            typical_seconds=self.typical_seconds.get(machine_id, 0.0),
            failure_count=trouble.count if trouble else 0,
            since_failure_seconds=now.monotonic - trouble.at_monotonic if trouble else 0.0,
            failure=trouble.reason if trouble else "",
            is_correction_failing=bool(trouble and trouble.is_correction),
            unfinished=unfinished.run_id if unfinished and not at_work else "",
            at_work=at_work,
            wrong=self._wrong(machine_id, situation, is_automatic=True),
            undecided=self._wrong(machine_id, situation, is_automatic=False),
            behind=self._behind(machine_id, situation, other_site(plan, source), aged),
            uncompared_seconds=lore.uncompared_seconds,
            full_compare_seconds=plan.full_compare_seconds,
            is_source_known=_is_primary(situation, source),
        )

    def situation(self, machine_id: MachineId, plan: Plan, overview: Overview) -> Situation:
        """The machine on its plan's sites, and the epoch that its points know."""
        sites = [site for site in (plan.source, plan.target) if site in overview.sites]
        lore = self.lore(machine_id)
        return overview.situation(machine_id, sites, lore.epoch, lore.primary)

    def replica_age(self, known: Evidence, now: Reading) -> float | None:
        """How old the replica's point is by the monotonic clock, since it was first seen; None if not known."""
        machine_id, point_id, captured_at = known.machine.machine_id, known.replica_point, known.replica_time
        if point_id is None or captured_at is None:
            return None
        latest, before = self.ages.get(machine_id), self.replica_ages.get(machine_id)
        aged = next((aged for aged in (before, latest) if aged and aged.point_id == point_id), None)
        if aged is None:
            # As of a latest point: one that is dated in the future is better taken for too old than for too young.
            aged = Aged(point_id, abs((now.wall - captured_at).total_seconds()), now.monotonic)
        self.replica_ages[machine_id] = aged
        return aged.age_at(now)

    def _wrong(self, machine_id: MachineId, situation: Situation, *, is_automatic: bool) -> str:
        """What is first to be corrected, by us or by people, on a site that was looked at since the last run ended."""
        ended_at = self.ended_at.get(machine_id)
        for correction in corrections(situation):
            is_fresh = ended_at is None or self.seen_at(correction.site) > ended_at
            if is_fresh and correction.is_automatic is is_automatic:
                return correction.reason
        return ""

    def _behind(self, machine_id: MachineId, situation: Situation, target: SiteName, aged: Aged | None) -> str:
        """Why the replica is not at the latest point, if the site was looked at since that point and the last run."""
        side = next((side for side in situation.sides if side.site == target), None)
        if not aged or not side or not side.is_reachable:
            return ""
        if self.seen_at(target) <= max(aged.monotonic, self.ended_at.get(machine_id, 0.0)):
            return ""
        if not side.standing:
            return f"There is no replica on {target}."
        if side.standing.is_dirty:
            return f"The replica on {target} is half-way between two points."
        return "" if side.standing.point_id == aged.point_id else f"The replica on {target} is not at the latest point."

    def at_work(self, machine_id: MachineId) -> str:
        """What is done on the machine right now, by this process or another one."""
        holder = self.manager.claims.holder(machine_claim(machine_id))
        return holder or ("another run" if self.is_busy(machine_id) else "")

    def lore(self, machine_id: MachineId) -> Lore:
        """Its points are listed once for each new latest point, whoever made it."""
        latest, known = self.ages.get(machine_id), self.lores.get(machine_id, Lore())
        if not latest or known.point_id == latest.point_id or not self.has_repository():
            return known
        self.unread.discard(machine_id)
        read = lambda: self.manager.repository.points(machine_id, self.manager.damages.note)  # noqa: E731 - one question
        try:
            points = self.reads.ask(f"points of {machine_id}", read)
        except StillAsking:
            self.unread.add(machine_id)
            return known
        except (RepositoryMissing, StoreError):
            return known  # it went away just now: the sides are corrected by what was known, and it is asked again
        known = Lore(
            latest.point_id, *latest_epoch(points), uncompared_seconds(latest_point(points)), point_times(points)
        )
        self.lores[machine_id] = known
        return known

    def went_well(self, machine_id: MachineId, seconds: float, at_monotonic: float, *, is_sync: bool) -> None:
        """A run ended well."""
        self.ended_at[machine_id] = at_monotonic
        self.troubles.pop(machine_id, None)
        if is_sync:
            self.typical_seconds[machine_id] = seconds

    def failed(self, machine_id: MachineId, reason: str, at_monotonic: float, *, is_correction: bool) -> None:
        """A run failed; ``is_correction``: one that was to put the sites right."""
        self.ended_at[machine_id] = at_monotonic
        before = self.troubles.get(machine_id)
        count = before.count + 1 if before and before.is_correction == is_correction else 1
        self.troubles[machine_id] = Trouble(count, at_monotonic, reason, is_correction)


def _is_primary(situation: Situation, source: SiteName) -> bool:
    """Whether the machine is the site's, whatever a silent site may hold: it is so there, or never had an epoch."""
    holder = primary(situation)
    if holder:
        return holder.site == source
    is_free = all(side.standing is None for side in situation.sides)
    return is_free and current_epoch(situation) <= FIRST_EPOCH
