"""How each planned machine stands: where it runs, how far its replica lags, and why where that is not well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from twinhull.cluster.epochs import corrections, current_epoch, primary
from twinhull.cluster.situation import Side, Situation
from twinhull.manager.catalog import Catalog
from twinhull.manager.names import Named
from twinhull.manager.overview import Overview
from twinhull.manager.records import LatestPoint, Plan, RunRecord
from twinhull.model.machine import MachineId, Role, SiteName, Standing
from twinhull.model.units import format_duration


class Health(StrEnum):
    """In one word. What is not ``protected`` has a reason."""

    PROTECTED = "protected"
    LATE = "late"
    UNPROTECTED = "unprotected"
    CONFLICT = "conflict"
    PAUSED = "paused"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class MachineReport:
    """One machine. ``runs_on`` is the primary side; ``lag_seconds`` is the age of the latest point."""

    machine: Named
    plan: Plan
    situation: Situation
    epoch: int
    runs_on: SiteName | None
    is_running: bool
    latest: LatestPoint | None
    replica: Side | None
    lag_seconds: float | None
    health: Health
    reason: str


def report(
    machine: Named,
    plan: Plan,
    overview: Overview,
    latest: LatestPoint | None,
    now: datetime,
    *,
    last_sync: RunRecord | None,
) -> MachineReport:
    """The machine as its plan's two sites tell it; ``last_sync`` is the latest one that ended well."""
    situation = overview.situation(machine.machine_id, (plan.source, plan.target))
    holder = primary(situation)
    runs_on = holder.site if holder else _unsynced_home(situation, plan)
    replica = next((side for side in situation.sides if side.site != (runs_on or plan.source)), None)
    lag = max((now - latest.captured_at).total_seconds(), 0.0) if latest else None
    health, reason = _judge(plan, situation, latest, replica, lag)
    if health is Health.PROTECTED and latest and replica and _is_left_behind(last_sync, replica, latest):
        reason = f"The replica on {replica.site} is not at the latest point: the latest sync made only that, and the "
        health, reason = Health.LATE, f"{reason}next one brings the replica there."
    obstacles = _obstacles(last_sync)
    if health is Health.PROTECTED and obstacles:
        health, reason = Health.UNPROTECTED, f"The replica would not start, found the last sync: {' '.join(obstacles)}"
    return MachineReport(
        machine=machine,
        plan=plan,
        situation=situation,
        epoch=current_epoch(situation),
        runs_on=runs_on,
        is_running=any(side.is_running for side in situation.sides if side.site == runs_on),
        latest=latest,
        replica=replica,
        lag_seconds=lag,
        health=health,
        reason=reason,
    )


def reports(
    catalog: Catalog,
    overview: Overview,
    name: Mapping[MachineId, Named],
    latest: Mapping[MachineId, LatestPoint],
    now: datetime,
) -> list[MachineReport]:
    """All planned machines, by plan and boot order."""
    return [
        report(
            name[machine_id],
            plan,
            overview,
            latest.get(machine_id),
            now,
            last_sync=catalog.latest_done(machine_id, "sync"),
        )
        for plan in catalog.plans()
        for machine_id in plan.machines
    ]


def _obstacles(last_sync: RunRecord | None) -> list[str]:
    found = last_sync.result.get("obstacles") if last_sync else None
    return [str(obstacle) for obstacle in found] if isinstance(found, list) else []


def _is_left_behind(last_sync: RunRecord | None, replica: Side, latest: LatestPoint) -> bool:
    """Not while a sync is on its way from the point to the replica: every one is there for a moment."""
    is_left = last_sync is not None and not last_sync.request.get("target")
    return is_left and replica.standing is not None and replica.standing.point_id != latest.point_id


def _unsynced_home(situation: Situation, plan: Plan) -> SiteName | None:
    side = situation.side(plan.source)
    return plan.source if side.status and not side.standing else None


def _judge(
    plan: Plan, situation: Situation, latest: LatestPoint | None, replica: Side | None, lag: float | None
) -> tuple[Health, str]:
    silent = next((side for side in situation.sides if not side.is_reachable), None)
    wrong = corrections(situation)
    if wrong:
        return Health.CONFLICT, f"{wrong[0].reason} 'twinhull serve' puts that right, or the machine's next run."
    damaged = next((side for side in situation.sides if side.standing and side.standing.role is Role.UNREADABLE), None)
    if damaged:
        told = f"What {damaged.site} holds about the machine cannot be read: it is not started there, and not stopped."
        return Health.CONFLICT, f"{told} 'twinhull sync {situation.name}' names the file."
    if latest is None or lag is None:
        return Health.UNPROTECTED, "There is no restore point yet." + (f" {silent.reason}" if silent else "")
    if silent:
        return Health.UNKNOWN, f"{silent.site} does not answer: {silent.reason}{_while_silent(silent, replica, lag)}"
    if plan.is_paused:
        return Health.PAUSED, f"The plan is paused; the latest point is {format_duration(lag)} old."
    return _judge_replica(plan, replica.standing if replica else None, lag)


def _while_silent(silent: Side, replica: Side | None, lag: float) -> str:
    """What becomes of a replica that cannot be brought on."""
    if replica is None or silent.site != replica.site:
        return ""
    return f" The replica there falls behind; the latest point is {format_duration(lag)} old."


def _judge_replica(plan: Plan, standing: Standing | None, lag: float) -> tuple[Health, str]:
    if standing is None or standing.point_id is None or standing.is_dirty:
        return Health.UNPROTECTED, "The replica is at no known point: the next sync brings it to one."
    if lag > plan.rpo_seconds:
        over = format_duration(lag - plan.rpo_seconds)
        return Health.LATE, f"The latest point is {format_duration(lag)} old, {over} more than the RPO."
    return Health.PROTECTED, ""
