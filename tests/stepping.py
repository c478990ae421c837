"""The stepper of production, with a record that outlives a killed process as long as its owner keeps it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from twinhull.actions.context import Context
from twinhull.model.machine import RunId
from twinhull.model.steps import Action, Facts, JsonValue
from twinhull.runs import failures
from twinhull.runs.leash import Halt, Leash
from twinhull.runs.stepper import Attempt, Ending, Recorded, Stepper


@dataclass(slots=True)
class Journal:
    """What a run has done and undone. It is a :class:`twinhull.runs.stepper.Record` in memory.

    ``failure`` says why the run is being taken back; ``is_forward_only``, whether it was beyond its point of no return.
    """

    recorded: dict[str, Recorded] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    is_forward_only: bool = False

    @property
    def done(self) -> dict[str, Recorded]:
        return {name: found for name, found in self.recorded.items() if "facts" in found}

    @property
    def failure(self) -> Facts | None:
        return next((found["error"] for found in self.recorded.values() if "error" in found), None)  # type: ignore[return-value]

    def once(self, name: str, act: Callable[[], Recorded]) -> Recorded:
        if name not in self.recorded:
            self.recorded[name] = json.loads(json.dumps(act()))
        return self.recorded[name]

    def begin_step(self, attempt: Attempt) -> None:
        self.attempts.append(attempt)

    def end_step(self, attempt: Attempt, seconds: float, error: str) -> None:
        pass


def perform(
    action: Action[Context], context: Context, facts: Facts, journal: Journal, leash: Leash | None = None
) -> dict[str, JsonValue]:
    """Do the steps that the journal does not have yet; returns all facts, raises the run's error or what it stopped at.

    Performing again goes on where it stopped: with the failed step beyond the point of no return, or with the undo.
    """
    leash = leash or Leash(RunId(str(facts["run_id"])), signal_seconds=0.0)
    try:
        outcome = Stepper(action, context, leash, journal, context.ports.clock).run(facts)
    except Halt as halt:
        raise halt.error from None
    finally:
        journal.is_forward_only = leash.is_forward_only and journal.failure is None
    if outcome.ending is not Ending.DONE:
        raise failures.decode(outcome.error or {})
    return dict(outcome.facts)
