"""What ``--json`` prints of each thing. Scripts rely on these keys: add, never rename."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from twinhull.actions.telling import called
from twinhull.cli.screen.screen import Shape
from twinhull.cluster.situation import Side
from twinhull.manager.catalog import rows
from twinhull.manager.catalog.records import LatestPoint, Plan, RunRecord, StepRecord
from twinhull.manager.health.health import Verdict
from twinhull.manager.health.status import MachineReport
from twinhull.manager.repository.verifying import Verified
from twinhull.manager.sites.names import Named
from twinhull.manager.sites.overview import SiteView
from twinhull.manager.sites.showing import SiteShown
from twinhull.model.codec import spec_to_json, standing_to_json
from twinhull.model.machine import MachineStatus, PointId, Standing
from twinhull.model.steps import JsonValue
from twinhull.platforms.contract import SiteSettings
from twinhull.repository.format.points import Point, current_points


def site(settings: SiteSettings) -> Shape:
    """A site as it was connected. Directories stand beside the options, too: for scripts of older versions."""
    older = {name: word for name, word in settings.options.items() if name.endswith("directory")}
    return {**rows.values(settings), **older}


def site_shown(shown: SiteShown) -> Shape:
    """A site with its parts and its guard."""
    guard = {"grade": shown.guard.grade.value, "reason": shown.guard.reason} if shown.guard else None
    parts = [{"part": part, "is_offered": not why, "reason": why} for part, why in shown.parts.items()]
    return {**site(shown.settings), "machine_count": shown.machine_count, "guard": guard, "parts": parts}


def site_view(view: SiteView) -> Shape:
    """A site and whether it answers."""
    return {
        **site(view.settings),
        "is_reachable": view.is_reachable,
        "reason": view.reason,
        "machine_count": len(view.machines),
    }


def machine(status: MachineStatus, site_name: str, standing: Standing | None) -> Shape:
    """A machine on one site."""
    return {
        **spec_to_json(status.spec),
        "site": site_name,
        "native_id": status.native_id,
        "power": status.power.value,
        "has_agent": status.has_agent,
        "agent_answers": status.agent_answers,
        "standing": standing_to_json(standing) if standing else None,
        "warnings": list(status.warnings),
    }


def plan(record: Plan, names: Sequence[Named] = ()) -> Shape:
    """A plan; its machines' names beside their ids, as far as they are known."""
    return {**rows.values(record), "machine_names": [named.name for named in names]}


def point(found: Point) -> Shape:
    """A restore point."""
    return {
        "id": found.id,
        "point_id": found.id,
        "name": called(found),
        "machine_id": found.machine_id,
        "machine_name": str(found.document.spec.get("name", "")),
        "sequence": found.sequence,
        "captured_at": found.captured_at.isoformat(),
        "consistency": found.document.consistency.value,
        "source": found.document.source_site,
        "epoch": found.document.epoch,
        "disks": [{"key": disk.key, "size_bytes": disk.root.size_bytes} for disk in found.document.disks],
        "notes": list(found.document.notes),
        "is_divergent": found.document.is_divergent,
    }


def point_names(points: Sequence[Point]) -> dict[PointId, str]:
    """``N`` for a machine's latest point, ``N-2`` for the one that has two later ones; the points are in order."""
    later = Counter(point.machine_id for point in current_points(points))
    names = {}
    for point in points:
        if point.document.is_divergent:
            names[point.id] = "divergent"
            continue
        later[point.machine_id] -= 1
        back = later[point.machine_id]
        names[point.id] = f"N-{back}" if back else "N"
    return names


def run(record: RunRecord, *, is_at_work: bool | None = None) -> Shape:
    """A run; ``is_at_work`` says whether some process works on it now."""
    return {
        "id": record.run_id,
        "run_id": record.run_id,
        "kind": record.kind,
        "subject": record.subject.shape(),
        "machine_id": record.machine_id,
        "machine_name": record.machine_name,
        "origin": record.origin,
        "state": record.state.value,
        "is_at_work": is_at_work,
        "started_at": record.started_at.isoformat(),
        "ended_at": _time(record.ended_at),
        "request": dict(record.request),
        "result": found_facts(record),
        "reasons": list(record.reasons),
        "error": {"kind": record.error_kind, "message": record.error, "hint": record.hint} if record.error else None,
    }


def found_facts(record: RunRecord) -> dict[str, JsonValue]:
    """What the run found and made, without what it was asked for."""
    asked = record.request
    return {name: value for name, value in record.result.items() if name not in asked or asked[name] != value}


def step(record: StepRecord) -> Shape:
    """A step of a run."""
    return {
        "name": record.name,
        "is_undo": record.is_undo,
        "state": record.state.value,
        "started_at": record.started_at.isoformat(),
        "seconds": record.seconds,
        "attempt_count": record.attempt_count,
        "error": record.error or None,
    }


def planned(found: MachineReport | None) -> Shape:
    """The plan and the verdict of a machine; nothing of one that is in no plan."""
    if not found:
        return {"plan": None, "health": None}
    return {"plan": found.plan.name, **_verdict(found.verdict)}


def _verdict(verdict: Verdict) -> Shape:
    return {
        "health": verdict.health.value,
        "reason": verdict.sentence,
        "command": verdict.command,
        "exit_code": verdict.level.value,
        "findings": [
            {"health": finding.health.value, "sentence": finding.sentence, "command": finding.command}
            for finding in verdict.findings
        ],
    }


def report(found: MachineReport) -> Shape:
    """How a machine stands."""
    return {
        "machine_id": found.machine.machine_id,
        "machine_name": found.machine.name,
        "name": found.machine.name,
        "plan": found.plan.name,
        **_verdict(found.verdict),
        "runs_on": found.runs_on,
        "is_running": found.is_running,
        "epoch": found.epoch,
        "rpo_seconds": found.plan.rpo_seconds,
        "lag_seconds": found.lag_seconds,
        "latest_point": _latest(found.latest),
        "replica": _side(found.replica) if found.replica else None,
        "sites": [_side(side) for side in found.situation.sides],
    }


def verification(found: Verified | None) -> Shape | None:
    """The repository's latest verification."""
    return (
        {"run_id": found.run.run_id, "ended_at": _time(found.run.ended_at), **found.verdict.shape()} if found else None
    )


def _side(side: Side) -> Shape:
    standing = side.standing
    return {
        "site": side.site,
        "is_reachable": side.is_reachable,
        "reason": side.reason,
        "power": side.power.value if side.power else None,
        "role": standing.role.value if standing else None,
        "epoch": standing.epoch if standing else None,
        "point_id": standing.point_id if standing else None,
        "is_dirty": standing.is_dirty if standing else None,
    }


def _latest(latest: LatestPoint | None) -> Shape | None:
    return (
        {"id": latest.point_id, "point_id": latest.point_id, "captured_at": latest.captured_at.isoformat()}
        if latest
        else None
    )


def _time(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
