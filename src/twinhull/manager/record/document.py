"""How a run lies in the engine's record, and how it is read back.

::

    workflow's attributes   the header: kind, machine, origin, number, …; what changes meanwhile: attempts, the step
                            at hand (``at``), why it stopped (``stopped``), how it was ended from outside (``ended``)
    workflow's input        the request
    steps' outputs          what each step found, with its times
    workflow's output       how the run ended: state, result, reasons, error

``number`` is the token of the claim that the run began with. It rises whatever the clocks say, so it orders the runs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar, cast

from twinhull.manager.catalog import rows
from twinhull.manager.catalog.records import RunRecord, RunState, StepRecord
from twinhull.model.steps import Facts, JsonValue

Document = dict[str, Any]
"""Plain JSON data."""

Record = TypeVar("Record")

_HEADER = ("kind", "machine_id", "machine_name", "origin", "started_at")
_STATUS_DONE = "SUCCESS"
_STATUS_CANCELLED = "CANCELLED"


def header(run: RunRecord, number: int) -> Document:
    """What is known of a run at its beginning, beside its request."""
    values = rows.values(run)
    return {**{name: values[name] for name in _HEADER}, "number": number}


def ending(
    state: RunState,
    ended_at: datetime,
    *,
    result: Facts,
    reasons: tuple[str, ...],
    error: Facts | None = None,
) -> Document:
    """How a run ended, or why it stopped."""
    return {
        "state": state.value,
        "ended_at": ended_at.isoformat(),
        "result": dict(result),
        "reasons": list(reasons),
        "error": dict(error) if error else None,
    }


def run_record(
    run_id: str, status: str, attributes: Mapping[str, Any], inputs: str | None, output: str | None
) -> RunRecord:
    """The run of a workflow."""
    request = json.loads(json.loads(inputs)["args"][2]) if inputs else {}
    begun: RunRecord = read(
        RunRecord,
        {
            **{name: attributes[name] for name in _HEADER},
            "run_id": run_id,
            "request": request,
            "state": RunState.RUNNING,
            "reasons": attributes.get("reasons") or (),
        },
    )
    return with_ending(begun, _ending(status, attributes, output))


def _ending(status: str, attributes: Mapping[str, Any], output: str | None) -> Document | None:
    if attributes.get("ended"):
        return cast("Document", attributes["ended"])
    if status == _STATUS_DONE and output:
        return cast("Document", json.loads(output))
    return cast("Document | None", attributes.get("stopped"))


def with_ending(run: RunRecord, end: Document | None) -> RunRecord:
    """The run with its end; as it is without one."""
    if not end:
        return run
    error: Mapping[str, Any] = end["error"] or {}
    return replace(
        run,
        state=RunState(end["state"]),
        ended_at=datetime.fromisoformat(end["ended_at"]),
        result=end["result"],
        reasons=tuple(dict.fromkeys((*run.reasons, *end["reasons"]))),
        error_kind=str(error.get("kind", "")),
        error=str(error.get("message", "")),
        hint=str(error.get("hint", "")),
    )


def step_values(step: StepRecord) -> Document:
    """A step as it is stored."""
    return rows.values(step)


def step_record(values: Document) -> StepRecord:
    """A stored step."""
    return read(StepRecord, values)


def step_name(step: StepRecord) -> str:
    """The name under which the engine knows the step."""
    return f"undo {step.name}" if step.is_undo else step.name


def step_key(position: int, *, is_undo: bool) -> str:
    """What names a step, or its undo, in the header."""
    return f"undo {position}" if is_undo else str(position)


def facts_of(recorded: JsonValue) -> Facts:
    """What a finished step has found."""
    found = recorded.get("facts") if isinstance(recorded, dict) else None
    return found if isinstance(found, dict) else {}


def read(kind: type[Record], values: Mapping[str, Any]) -> Record:
    """The record of that kind in these values."""
    return rows.record(kind, cast("Any", values))
