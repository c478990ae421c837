"""Retention by hand: shown first, with a reason for every point; then what was shown is removed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

from twinhull.actions.requests import Request
from twinhull.manager import clockwatch
from twinhull.manager.catalog.catalog import Catalog
from twinhull.manager.catalog.records import RunRecord
from twinhull.manager.record.history import RunHistory
from twinhull.manager.runs.kinds.registry import KINDS
from twinhull.manager.runs.removing import PRUNE, RemoveRequest
from twinhull.manager.runs.wants import Want
from twinhull.manager.sites.names import Named, Names
from twinhull.model.errors import RunUnfinished, SafetyError, UsageError
from twinhull.model.machine import MachineId, PointId, RunId
from twinhull.model.ports import Clock
from twinhull.repository import Repository, RetentionRules, Verdict


@dataclass(frozen=True, slots=True)
class Pruning:
    """What the rules say of one machine's points, the latest first."""

    machine: Named
    rules: RetentionRules
    verdicts: tuple[Verdict, ...]

    @property
    def going(self) -> frozenset[PointId]:
        """The points that the rules let go."""
        return frozenset(verdict.point.id for verdict in self.verdicts if not verdict.stays)


@dataclass(frozen=True)
class Pruner:
    """``began`` are both clocks when it began; ``owner`` finds the machine that a word means.

    ``is_at_work`` says whether somebody works on a run that has not ended.
    """

    catalog: Catalog
    history: RunHistory
    names: Names
    owner: Callable[[str], MachineId]
    repository: Repository
    clock: Clock
    began: clockwatch.Reading
    is_at_work: Callable[[RunRecord], bool]

    def look(self, word: str, asked: RetentionRules) -> list[Pruning]:
        """What would go of a machine, or of each machine of a plan; without rules asked for, by the plan's retention.

        Changes nothing. Raises NotFound, UsageError where there is no rule, RepositoryDamaged where a point cannot be
        read: it is not known then which ones are the latest.
        """
        plan = next((plan for plan in self.catalog.plans() if plan.name == word), None)
        machines = plan.machines if plan else (self.owner(word),)
        return [self._decide(self.names.name(machine_id), asked) for machine_id in machines]

    def want(self, shown: Pruning) -> Want:
        """Remove the points that were shown as going and that still go, and no others.

        Before it begins it raises SafetyError where the clock has jumped since the beginning, and RunUnfinished where a
        run of the machine waits to be gone on with.
        """
        self._require_nothing_left(shown.machine)

        def make(run_id: RunId) -> Request:
            self._require_calm_clock(shown.machine)
            now = self._decide(shown.machine, shown.rules)
            going = shown.going & now.going
            why = {verdict.point.id: verdict.reason for verdict in now.verdicts if verdict.point.id in going}
            return RemoveRequest(run_id, shown.machine.machine_id, self.repository.id, why, asdict(shown.rules))

        return Want(PRUNE.kind, shown.machine.subject, make)

    def _decide(self, machine: Named, asked: RetentionRules) -> Pruning:
        rules = self._planned(machine) if asked.is_empty else asked
        jump = clockwatch.since(self.began, self.clock)
        verdicts = self.repository.retain(machine.machine_id, rules, is_dry_run=True, clock_jumped=bool(jump))
        return Pruning(machine, rules, tuple(verdicts))

    def _planned(self, machine: Named) -> RetentionRules:
        plan = self.catalog.plan_of(machine.machine_id)
        if not plan:
            raise UsageError(
                f"{machine.name} is in no plan, so it has no retention.", hint="Say what stays: --keep-last 7"
            )
        return plan.retention

    def _require_calm_clock(self, machine: Named) -> None:
        jump = clockwatch.since(self.began, self.clock)
        if jump:
            raise SafetyError(
                f"No point of {machine.name} was removed: {jump}",
                hint="When the clock is right again, look once more at what would go: --dry-run",
            )

    def _require_nothing_left(self, machine: Named) -> None:
        for run in self.history.unfinished_runs(machine.machine_id):
            is_in_the_way = not KINDS.of(run).is_reading and run.kind != PRUNE.kind
            if is_in_the_way and not self.is_at_work(run):
                raise RunUnfinished(
                    f"No point of {machine.name} was removed: {run.run_id} was left unfinished, and may need one.",
                    hint=f"Go on with it first: twinhull runs resume {run.run_id}",
                )
