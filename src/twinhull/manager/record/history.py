"""The runs that were and are: what every list, report and decision about runs reads. It does not load the engine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count, islice
from typing import Any

import sqlalchemy as sa

from twinhull.manager.catalog.records import RunRecord, RunState, StepRecord
from twinhull.manager.record import document
from twinhull.manager.record.database import RunsDatabase, inputs, operations, outputs, workflows
from twinhull.model.errors import NotFound, UsageError
from twinhull.model.machine import MachineId, RunId
from twinhull.model.steps import Facts, JsonValue

WORKFLOW = "twinhull.run"
"""The name under which the engine knows a run."""
_OPEN = ("PENDING", "ENQUEUED", "DELAYED", "ERROR", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")
"""The engine's states of a run that has not ended; the last two it should never reach: its record says why."""
_READ_AT_ONCE = 32


class RunHistory:
    """Reads the engine's record."""

    def __init__(self, database: RunsDatabase) -> None:
        """Nothing is opened yet."""
        self._database = database

    def runs(self, *, machine_id: MachineId | None = None, last: int | None = None) -> tuple[RunRecord, ...]:
        """Runs, the latest first."""
        query = self._query(machine_id).order_by(self._number.desc())
        return tuple(self._read(query.limit(last)))

    def latest_done(self, machine_id: MachineId, kind: str) -> RunRecord | None:
        """The latest run of that kind that has ended well."""
        return next(iter(self.done(machine_id, kind, last=1)), None)

    def done(self, machine_id: MachineId, kind: str, *, last: int) -> tuple[RunRecord, ...]:
        """The latest runs of that kind that have ended well, the latest first."""
        ended = self._query(machine_id).where(workflows.c.status == "SUCCESS", self._attribute("kind") == kind)
        runs = self._read_on(ended.order_by(self._number.desc()))
        return tuple(islice((run for run in runs if run.state is RunState.DONE), last))

    def unfinished_runs(self, machine_id: MachineId | None = None) -> tuple[RunRecord, ...]:
        """Runs with something left to do, the earliest first; whether a process works on one says its claim."""
        query = self._query(machine_id).where(workflows.c.status.in_(_OPEN)).order_by(self._number)
        return tuple(run for run in self._read(query) if run.state.is_unfinished)

    def run(self, name: str) -> RunRecord:
        """The run whose id is, or alone begins with, ``name``; raises NotFound, and UsageError for several."""
        is_it = workflows.c.workflow_uuid.startswith(name, autoescape=True)
        found = list(self._read(self._query().where(is_it).order_by(self._number.desc())))
        exact = [run for run in found if run.run_id == name]
        if len(exact or found) == 1:
            return (exact or found)[0]
        if found:
            candidates = ", ".join(run.run_id for run in found[:4])
            raise UsageError(f"Several runs begin with '{name}'.", hint=f"Name one of them: {candidates}.")
        raise NotFound(f"There is no run '{name}'.", hint="'twinhull runs list' shows them.")

    def steps(self, run_id: RunId) -> tuple[StepRecord, ...]:
        """The run's steps in the order in which they began."""
        recorded = [stored["step"] for stored in self._recorded(run_id) if "step" in stored]
        steps = [document.step_record(values) for values in recorded]
        at_hand = self._at_hand(run_id)
        known = {(step.position, step.is_undo) for step in steps}
        if at_hand and (at_hand.position, at_hand.is_undo) not in known:
            steps.append(at_hand)
        return tuple(steps)

    def found(self, run_id: RunId) -> Facts:
        """What the finished steps of a run have found; nothing if none has."""
        facts: dict[str, JsonValue] = {}
        for stored in self._recorded(run_id):
            facts.update(document.facts_of(stored))
        return facts

    def _at_hand(self, run_id: RunId) -> StepRecord | None:
        query = sa.select(workflows.c.attributes).where(workflows.c.workflow_uuid == run_id)
        with self._database.reading() as connection:
            attributes: dict[str, Any] = connection.execute(query).scalar() or {}
        values = attributes.get("at")
        return document.step_record(values) if values else None

    def _recorded(self, run_id: RunId) -> list[dict[str, Any]]:
        if not self._database.has_runs():
            return []
        query = sa.select(operations.c.output).where(operations.c.workflow_uuid == run_id)
        with self._database.reading() as connection:
            stored = connection.execute(query.order_by(operations.c.function_id)).scalars().all()
        return [json.loads(output) for output in stored if output]

    @property
    def _number(self) -> sa.ColumnElement[int]:
        return self._database.number

    def _attribute(self, name: str) -> sa.ColumnElement[str]:
        return self._database.attribute(name)

    def _query(self, machine_id: MachineId | None = None) -> sa.Select[Any]:
        joined = workflows.outerjoin(inputs, inputs.c.workflow_uuid == workflows.c.workflow_uuid)
        joined = joined.outerjoin(outputs, outputs.c.workflow_uuid == workflows.c.workflow_uuid)
        columns = (workflows.c.workflow_uuid, workflows.c.status, workflows.c.attributes)
        query = sa.select(*columns, inputs.c.inputs, outputs.c.output).select_from(joined)
        query = query.where(workflows.c.name == WORKFLOW)
        return query.where(self._attribute("machine_id") == machine_id) if machine_id else query

    def _read(self, query: sa.Select[Any]) -> Iterator[RunRecord]:
        if not self._database.has_runs():
            return
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        for row in rows:
            yield document.run_record(row.workflow_uuid, row.status, row.attributes, row.inputs, row.output)

    def _read_on(self, query: sa.Select[Any]) -> Iterator[RunRecord]:
        """As far as the caller goes on asking: few of many runs may be wanted."""
        for page in count():
            runs = list(self._read(query.limit(_READ_AT_ONCE).offset(page * _READ_AT_ONCE)))
            yield from runs
            if len(runs) < _READ_AT_ONCE:
                return
