"""What is written down of a run while it runs: the record that 'runs show' reads, also after a kill."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from twinhull.manager.catalog.catalog import Catalog
from twinhull.manager.catalog.records import RunRecord, RunState, StepRecord, StepState
from twinhull.model.machine import RunId
from twinhull.model.ports import Clock
from twinhull.model.steps import JsonValue


class Journal:
    """Writes runs and steps into the catalog, with their times."""

    def __init__(self, catalog: Catalog, clock: Clock) -> None:
        self._catalog = catalog
        self._clock = clock

    def begin(self, run: RunRecord) -> None:
        """A run begins."""
        self._catalog.add_run(run)

    def go_on(self, run_id: RunId) -> None:
        """A run that was killed or stopped goes on."""
        self._catalog.update_run(run_id, lambda run: replace(run, state=RunState.RUNNING, ended_at=None))

    def begin_step(self, run_id: RunId, position: int, name: str, *, is_undo: bool) -> StepRecord:
        """A step begins, or begins again."""
        step = StepRecord(position, name, is_undo, StepState.RUNNING, self._clock.now())
        self._catalog.write_step(run_id, step)
        return step

    def end_step(self, run_id: RunId, step: StepRecord, seconds: float, error: str = "") -> None:
        """A step ended."""
        state = StepState.FAILED if error else StepState.DONE
        self._catalog.write_step(run_id, replace(step, state=state, seconds=seconds, error=error))

    def end(
        self,
        run_id: RunId,
        state: RunState,
        *,
        result: Mapping[str, JsonValue],
        reasons: tuple[str, ...],
        error: Mapping[str, JsonValue] | None = None,
    ) -> RunRecord:
        """A run ended, or stopped where the only way is forward. Safe to repeat."""
        told = error or {}
        return self._catalog.update_run(
            run_id,
            lambda run: replace(
                run,
                state=state,
                ended_at=self._clock.now(),
                result=result,
                reasons=tuple(dict.fromkeys((*run.reasons, *reasons))),
                error_kind=str(told.get("kind", "")),
                error=str(told.get("message", "")),
                hint=str(told.get("hint", "")),
            ),
        )
