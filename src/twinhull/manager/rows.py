"""Between the catalog's rows and the records they hold."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from twinhull.manager.records import (
    LatestPoint,
    Plan,
    RunRecord,
    RunState,
    SeenMachine,
    StepRecord,
    StepState,
)
from twinhull.model.machine import MachineId, PlanName, PointId, RunId, SiteName
from twinhull.platforms.contract import SiteSettings
from twinhull.repository import RetentionRules

Row = Any
"""A row of SQLAlchemy, whose columns are its attributes."""

Values = dict[str, Any]


def site(row: Row) -> SiteSettings:
    """A site."""
    return SiteSettings(
        SiteName(row.name), row.platform, row.uri, row.directory, row.hooks_directory, dict(row.options)
    )


def site_values(record: SiteSettings) -> Values:
    """Its row."""
    return {
        "name": record.name,
        "platform": record.platform,
        "uri": record.uri,
        "directory": record.directory,
        "hooks_directory": record.hooks_directory,
        "options": dict(record.options),
    }


def plan(row: Row) -> Plan:
    """A plan."""
    return Plan(
        name=PlanName(row.name),
        machines=tuple(MachineId(machine) for machine in row.machines),
        source=SiteName(row.source),
        target=SiteName(row.target),
        rpo_seconds=row.rpo_seconds,
        retention=RetentionRules(**row.retention),
        networks=dict(row.networks),
        boot_mode=row.boot_mode,
        full_compare_every=row.full_compare_every,
        is_freezing=row.is_freezing,
        is_paused=row.is_paused,
    )


def plan_values(record: Plan) -> Values:
    """Its row."""
    return {
        "name": record.name,
        "machines": list(record.machines),
        "source": record.source,
        "target": record.target,
        "rpo_seconds": record.rpo_seconds,
        "retention": asdict(record.retention),
        "networks": dict(record.networks),
        "boot_mode": record.boot_mode,
        "full_compare_every": record.full_compare_every,
        "is_freezing": record.is_freezing,
        "is_paused": record.is_paused,
    }


def seen(row: Row) -> SeenMachine:
    """A machine as it was last seen."""
    return SeenMachine(MachineId(row.machine_id), SiteName(row.site), row.name, row.power, _time(row.seen_at))


def seen_values(record: SeenMachine) -> Values:
    """Its row."""
    return {
        "machine_id": record.machine_id,
        "site": record.site,
        "name": record.name,
        "power": record.power,
        "seen_at": record.seen_at.isoformat(),
    }


def latest(row: Row) -> LatestPoint:
    """A machine's latest point."""
    return LatestPoint(MachineId(row.machine_id), PointId(row.point_id), _time(row.captured_at))


def latest_values(record: LatestPoint) -> Values:
    """Its row."""
    return {
        "machine_id": record.machine_id,
        "point_id": record.point_id,
        "captured_at": record.captured_at.isoformat(),
    }


def run(row: Row) -> RunRecord:
    """A run."""
    return RunRecord(
        run_id=RunId(row.run_id),
        kind=row.kind,
        machine_id=MachineId(row.machine_id),
        machine_name=row.machine_name,
        origin=row.origin,
        request=dict(row.request),
        state=RunState(row.state),
        started_at=_time(row.started_at),
        ended_at=_time(row.ended_at) if row.ended_at else None,
        result=dict(row.result),
        reasons=tuple(row.reasons),
        error_kind=row.error_kind,
        error=row.error,
        hint=row.hint,
    )


def run_values(record: RunRecord) -> Values:
    """Its row."""
    return {
        "run_id": record.run_id,
        "kind": record.kind,
        "machine_id": record.machine_id,
        "machine_name": record.machine_name,
        "origin": record.origin,
        "request": dict(record.request),
        "state": record.state.value,
        "started_at": record.started_at.isoformat(),
        "ended_at": record.ended_at.isoformat() if record.ended_at else None,
        "result": dict(record.result),
        "reasons": list(record.reasons),
        "error_kind": record.error_kind,
        "error": record.error,
        "hint": record.hint,
    }


def step(row: Row) -> StepRecord:
    """A step."""
    return StepRecord(
        position=row.position,
        name=row.name,
        is_undo=row.is_undo,
        state=StepState(row.state),
        started_at=_time(row.started_at),
        seconds=row.seconds,
        attempt_count=row.attempt_count,
        error=row.error,
    )


def step_values(run_id: RunId, record: StepRecord) -> Values:
    """Its row."""
    return {
        "run_id": run_id,
        "position": record.position,
        "is_undo": record.is_undo,
        "name": record.name,
        "state": record.state.value,
        "started_at": record.started_at.isoformat(),
        "seconds": record.seconds,
        "attempt_count": record.attempt_count,
        "error": record.error,
    }


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
