"""Runs that an older Twinhull kept in its catalog move into the engine's record: once, and one way.

The engine had only unfinished runs then, without a header; the catalog had all of them, with their steps' times. What
was unfinished can be resumed here as it could be there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from twinhull.manager.catalog import rows
from twinhull.manager.catalog.catalog import Catalog
from twinhull.manager.catalog.records import RunRecord, RunState, StepRecord
from twinhull.manager.record import document
from twinhull.manager.record.claims import Claims
from twinhull.manager.record.database import RunsDatabase, inputs, operations, outputs, tokens, workflows
from twinhull.manager.record.history import WORKFLOW
from twinhull.manager.runs.engine import RECORD_VERSION, SERIALIZATION, Engine
from twinhull.model.ports import Ports

_JSON_FIELDS = ("request", "result", "reasons")


def adopt(catalog: Catalog, database: RunsDatabase, ports: Ports) -> None:
    """Move them, all at once; a process that is killed in between leaves it to the next one."""
    claims = Claims(database, ports)
    try:
        with claims.take("older runs", f"moving the runs of an older Twinhull ({claims.process_name})"):
            if not catalog.has_older_runs():
                return
            older = catalog.older_runs()
            if older:
                Engine(database, claims, {}, ports).make_tables()
                _write(database, older)
            catalog.forget_older_runs()
    finally:
        claims.close()


def _write(database: RunsDatabase, older: Sequence[Mapping[str, Any]]) -> None:
    with database.writing() as connection:
        rise = sa.update(tokens).values(latest=tokens.c.latest + len(older)).returning(tokens.c.latest)
        first = int(connection.execute(rise).scalar_one()) - len(older) + 1
        query = sa.select(workflows.c.workflow_uuid, workflows.c.attributes)
        known = {row.workflow_uuid: row.attributes for row in connection.execute(query)}
        for number, values in enumerate(older, first):
            run, steps = _run(values), [_step(step) for step in values["steps"]]
            if known.get(run.run_id):
                continue  # an earlier attempt has moved it
            if run.run_id in known:
                _complete(connection, run, steps, number)
            else:
                insert(connection, run, steps, number)


def _run(values: Mapping[str, Any]) -> RunRecord:
    decoded = {name: json.loads(values[name]) for name in _JSON_FIELDS}
    return document.read(RunRecord, {**values, **decoded})


def _step(values: Mapping[str, Any]) -> StepRecord:
    return document.read(StepRecord, {**values, "is_undo": bool(values["is_undo"])})


def _complete(connection: sa.Connection, run: RunRecord, steps: Sequence[StepRecord], number: int) -> None:
    """A run that the engine has: add what only the catalog had."""
    is_it = operations.c.workflow_uuid == run.run_id
    names = {document.step_name(step): step for step in steps}
    query = sa.select(operations.c.function_id, operations.c.function_name, operations.c.output).where(is_it)
    for row in connection.execute(query).all():
        step = names.pop(row.function_name, None)
        if step:
            told = json.dumps({**json.loads(row.output), "step": rows.values(step)})
            change = sa.update(operations).where(is_it, operations.c.function_id == row.function_id)
            connection.execute(change.values(output=told))
    attributes = _attributes(run, steps, number, at_hand=list(names.values()))
    is_run = workflows.c.workflow_uuid == run.run_id
    connection.execute(sa.update(workflows).where(is_run).values(attributes=attributes))


def insert(connection: sa.Connection, run: RunRecord, steps: Sequence[StepRecord], number: int) -> None:
    """A run that the engine does not have: an ended one, or one that was killed before its first step."""
    began, ended = _milliseconds(run.started_at), _milliseconds(run.ended_at or run.started_at)
    status = "PENDING" if run.state.is_unfinished else "CANCELLED" if run.state is RunState.ABANDONED else "SUCCESS"
    own = {"workflow_uuid": run.run_id, "retention_timestamp": began}
    common = {"serialization": SERIALIZATION, "application_name": "twinhull"}
    workflow = {
        "workflow_uuid": run.run_id,
        "name": WORKFLOW,
        "status": status,
        "application_version": RECORD_VERSION,
        "application_id": "",
        "recovery_attempts": 1,
        "priority": 0,
        "created_at": began,
        "updated_at": ended,
        "completed_at": None if run.state.is_unfinished else ended,
        "attributes": _attributes(run, steps, number, at_hand=[]),
    }
    connection.execute(sa.insert(workflows).values({**workflow, **common}))
    arguments = {"args": [run.run_id, run.kind, json.dumps(dict(run.request))], "kwargs": {}}
    connection.execute(sa.insert(inputs).values({**own, "inputs": json.dumps(arguments)}))
    if status == "SUCCESS":
        connection.execute(sa.insert(outputs).values({**own, "output": json.dumps(_ending(run))}))
    recorded = [
        {
            **own,
            **common,
            "function_id": function_id,
            "function_name": document.step_name(step),
            "output": json.dumps({"step": rows.values(step)}),
        }
        for function_id, step in enumerate(steps, 1)
    ]
    if recorded:
        connection.execute(sa.insert(operations), recorded)


def _attributes(
    run: RunRecord, steps: Sequence[StepRecord], number: int, *, at_hand: Sequence[StepRecord]
) -> document.Document:
    """The header; ``at_hand`` are the steps that the engine has no result of, of which the last is the latest."""
    attributes = document.header(run, number)
    attributes["attempts"] = {
        document.step_key(step.position, is_undo=step.is_undo): step.attempt_count for step in steps
    }
    attributes["reasons"] = list(run.reasons)
    if at_hand:
        attributes["at"] = rows.values(at_hand[-1])
    if run.state is RunState.STOPPED:
        attributes["stopped"] = _ending(run)
    if run.state is RunState.ABANDONED:
        attributes["ended"] = _ending(run)
    return attributes


def _ending(run: RunRecord) -> document.Document:
    error = {"kind": run.error_kind, "message": run.error, "hint": run.hint} if run.error_kind else None
    ended_at = run.ended_at or run.started_at
    return document.ending(run.state, ended_at, result=run.result, reasons=run.reasons, error=error)


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
