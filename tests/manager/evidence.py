"""Evidence in few words, for tests of the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from twinhull.actions.requests import SyncRequest
from twinhull.cluster.situation import Side, Situation
from twinhull.manager.catalog.records import LatestPoint, Plan, RunRecord, RunState, SeenMachine
from twinhull.manager.health.evidence import Evidence, PointTime
from twinhull.manager.sites.names import Named
from twinhull.model.machine import (
    MachineId,
    MachineSpec,
    MachineStatus,
    PlanName,
    PointId,
    PowerState,
    Role,
    RunId,
    SiteName,
    Standing,
)

DB = MachineId("00000001-0000-4000-8000-000000000000")
ALPHA, BETA = SiteName("alpha"), SiteName("beta")
NOW = datetime(2026, 11, 26, 20, 24, 38, tzinfo=UTC)
P11, P12 = PointId(f"{DB}/00000011"), PointId(f"{DB}/00000012")
PLAN = Plan(PlanName("shop"), (DB,), ALPHA, BETA, rpo_seconds=300.0)
UNREADABLE = Standing(DB, Role.UNREADABLE, 0)


def held(role: Role, epoch: int = 1, point: PointId | None = P12, *, is_dirty: bool = False) -> Standing:
    return Standing(DB, role, epoch, point, is_dirty, P12 if is_dirty else None)


PRIMARY, REPLICA = held(Role.PRIMARY, point=None), held(Role.REPLICA)


def side(site: SiteName, standing: Standing | None, power: PowerState | None) -> Side:
    status = MachineStatus(MachineSpec(DB, "db", 1, 1), power, standing=standing) if power else None
    return Side(site, is_reachable=True, standing=standing, status=status)


def silent(site: SiteName) -> Side:
    return Side(site, is_reachable=False, reason="no route to host.")


def run(kind: str, state: RunState = RunState.RUNNING, **result: object) -> RunRecord:
    found: Mapping[str, object] = {"point_id": P11, **result}
    request = SyncRequest(f"{kind}-1", DB, ALPHA, BETA).facts() if kind == "sync" else {}
    return RunRecord(RunId(f"{kind}-1"), kind, DB, "db", "test", request, state, NOW, result=found)  # type: ignore[arg-type]


SYNCED = run("sync", RunState.DONE)


def evidence(home: Side, replica: Side, *, age_seconds: float | None = 50.0, **more: object) -> Evidence:
    """``age_seconds`` is that of point 12; point 11 is a minute older. None: not known."""
    points = {}
    if age_seconds is not None:
        twelve = NOW - timedelta(seconds=age_seconds)
        points = {P12: PointTime(twelve), P11: PointTime(twelve - timedelta(seconds=60))}
    plain = Evidence(
        Named(DB, "db"),
        PLAN,
        Situation(DB, (home, replica)),
        NOW,
        latest=LatestPoint(DB, P12, points[P12].captured_at if points else NOW),
        points=points,
        done=(SYNCED,),
        last_seen={
            name: SeenMachine(DB, name, "db", "running", NOW - timedelta(minutes=9, seconds=35))
            for name in (ALPHA, BETA)
        },
    )
    return replace(plain, **more)  # type: ignore[arg-type]


RUNS = side(ALPHA, PRIMARY, PowerState.RUNNING)
WAITS = side(BETA, REPLICA, PowerState.OFF)
