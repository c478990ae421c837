"""What remembers a run while it runs: the engine's steps, and the header beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import sqlalchemy as sa
from dbos import DBOS
from dbos import error as engine_errors

from twinhull.manager.catalog.records import RunRecord, StepRecord, StepState
from twinhull.manager.record import document
from twinhull.manager.record.claims import Claim
from twinhull.manager.record.database import RunsDatabase, workflows
from twinhull.model.errors import ClaimLost
from twinhull.model.ports import Clock
from twinhull.runs.leash import Halt
from twinhull.runs.stepper import Attempt, Recorded


@dataclass
class EngineRecord:
    """Writes one run down. Everything that it writes itself is written only while the run's claim is held.

    An error of the database halts the run: what is not recorded must not go on.
    """

    run: RunRecord
    claim: Claim
    database: RunsDatabase
    clock: Clock
    _ended: StepRecord | None = field(default=None, init=False)

    def once(self, name: str, act: Callable[[], Recorded]) -> Recorded:
        """Do it as a step of the engine, which records its result only while this execution owns the run."""
        try:
            recorded: Recorded = DBOS.run_step({"name": name}, lambda: self._with_step(act))
        except (engine_errors.DBOSWorkflowConflictIDError, engine_errors.DBOSWorkflowCancelledError) as error:
            raise Halt(ClaimLost(f"Another process has taken over the run {self.run.run_id}.")) from error
        except Exception as error:
            raise Halt(error) from error
        return {key: value for key, value in recorded.items() if key != "step"}

    def _with_step(self, act: Callable[[], Recorded]) -> Recorded:
        self._ended = None
        recorded = act()
        return {**recorded, "step": document.step_values(self._ended)} if self._ended else recorded

    def begin_step(self, attempt: Attempt) -> None:
        """Note the attempt, or halt: whoever lost the claim must not begin another step."""
        key = document.step_key(attempt.position, is_undo=attempt.is_undo)

        def note(attributes: dict[str, Any]) -> None:
            attempts = attributes.setdefault("attempts", {})
            attempts[key] = attempts.get(key, 0) + 1
            step = StepRecord(
                attempt.position,
                attempt.name,
                attempt.is_undo,
                StepState.RUNNING,
                self.clock.now(),
                attempt_count=attempts[key],
            )
            attributes["at"] = document.step_values(step)
            self._ended = step

        self._halting(note)

    def end_step(self, attempt: Attempt, seconds: float, error: str) -> None:
        """Remember the times; they are written with the step's result, or with why the run stopped."""
        del attempt
        if self._ended:
            state = StepState.FAILED if error else StepState.DONE
            self._ended = replace(self._ended, state=state, seconds=seconds, error=error)

    def go_on(self) -> None:
        """A run that was killed or stopped goes on."""
        self._change(lambda attributes: attributes.pop("stopped", None))

    def stop(self, end: document.Document) -> RunRecord:
        """The run stopped in the middle."""
        at_hand = document.step_values(self._ended) if self._ended else None

        def note(attributes: dict[str, Any]) -> None:
            reasons = [*(attributes.get("reasons") or ()), *end["reasons"]]
            attributes |= {"stopped": end, "reasons": list(dict.fromkeys(reasons))}
            if at_hand:
                attributes["at"] = at_hand

        self._change(note)
        return document.with_ending(self.run, end)

    def end(self, end: document.Document) -> RunRecord:
        """The run was ended from outside, as it stands."""
        self._change(lambda attributes: attributes.update(ended=end))
        return document.with_ending(self.run, end)

    def _halting(self, change: Callable[[dict[str, Any]], object]) -> None:
        try:
            self._change(change)
        except Exception as error:
            raise Halt(error) from error

    def _change(self, change: Callable[[dict[str, Any]], object]) -> None:
        is_it = workflows.c.workflow_uuid == self.run.run_id
        with self.database.writing() as connection:
            self.claim.require(connection)
            query = sa.select(workflows.c.attributes).where(is_it).with_for_update()
            attributes = dict(cast("dict[str, Any]", connection.execute(query).scalar_one()))
            change(attributes)
            connection.execute(sa.update(workflows).where(is_it).values(attributes=attributes))
