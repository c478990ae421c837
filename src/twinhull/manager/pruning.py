"""Retention by hand: shown first, with a reason for every point; then what was shown is removed."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from twinhull.manager import clockwatch
from twinhull.manager.catalog import Catalog
from twinhull.manager.locks import Lock
from twinhull.manager.names import Named, Names
from twinhull.manager.state import READING_KINDS, StateDirectory
from twinhull.model.errors import RunUnfinished, SafetyError, UsageError
from twinhull.model.machine import MachineId, PointId
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
    """``began`` are both clocks when it began; ``owner`` finds the machine that a word means."""

    state: StateDirectory
    catalog: Catalog
    names: Names
    owner: Callable[[str], MachineId]
    repository: Repository
    clock: Clock
    began: clockwatch.Reading

    def look(self, word: str, asked: RetentionRules) -> list[Pruning]:
        """What would go of a machine, or of each machine of a plan; without rules asked for, by the plan's retention.

        Changes nothing. Raises NotFound, UsageError where there is no rule, RepositoryDamaged where a point cannot be
        read: it is not known then which ones are the latest.
        """
        plan = next((plan for plan in self.catalog.plans() if plan.name == word), None)
        machines = plan.machines if plan else (self.owner(word),)
        return [self._decide(self.names.name(machine_id), asked) for machine_id in machines]

    def carry_out(self, shown: Pruning, on_message: Callable[[str], None]) -> list[PointId]:
        """Remove the points that were shown as going and that still go, and no others; returns them.

        Waits for the run that works on the machine. Raises SafetyError where the clock has jumped since the beginning,
        RunUnfinished where a run of the machine waits to be gone on with; then nothing was removed.
        """
        lock = Lock(self.state.machine_lock(shown.machine.machine_id))
        holder = f"twinhull points prune (process {os.getpid()})"
        if not lock.try_take(holder):
            on_message(f"{shown.machine.name} is being worked on: {lock.holder()}. Waiting for it to end.")
            lock.take(holder, self.clock, is_unwanted=lambda: False)
        with lock:
            self._require_calm(shown.machine)
            now = self._decide(shown.machine, shown.rules)
            gone = [verdict for verdict in now.verdicts if verdict.point.id in shown.going & now.going]
            for verdict in gone:
                self.repository.remove_point(verdict.point.id, verdict.reason)
        return [verdict.point.id for verdict in gone]

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

    def _require_calm(self, machine: Named) -> None:
        jump = clockwatch.since(self.began, self.clock)
        if jump:
            raise SafetyError(
                f"No point of {machine.name} was removed: {jump}",
                hint="When the clock is right again, look once more at what would go: --dry-run",
            )
        unfinished = self.catalog.unfinished_runs(machine.machine_id)
        left = next((run.run_id for run in unfinished if run.kind not in READING_KINDS), None)
        if left:
            raise RunUnfinished(
                f"No point of {machine.name} was removed: {left} was left unfinished, and may need one.",
                hint=f"Go on with it first: twinhull runs resume {left}",
            )
