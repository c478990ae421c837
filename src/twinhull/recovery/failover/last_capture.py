"""What an ending primary leaves: the last point where it is planned, the loss where it is not."""

from __future__ import annotations

from datetime import datetime

from twinhull.actions.cleaning import clean_leftovers
from twinhull.actions.context import Context
from twinhull.actions.requests import FailoverRequest
from twinhull.actions.telling import called_by_id, lost, told
from twinhull.model.errors import StillRunning, TwinhullError
from twinhull.model.extents import total_bytes
from twinhull.model.machine import PointId
from twinhull.model.steps import Facts
from twinhull.model.units import format_bytes
from twinhull.platforms.contract import CaptureRequest
from twinhull.recovery.starting import require_startable
from twinhull.replication.bases import choose_base
from twinhull.replication.capture import CaptureOrder, capture_machine
from twinhull.replication.replica import ReplicaOrder, bring_replica
from twinhull.replication.sync import boot_mode_of, moved_bytes, number, with_reasons
from twinhull.repository import Point


def sync_while_running(context: Context, facts: Facts) -> Facts:
    """Planned: one more sync before the guest is stopped, so that it is down for the last changes only.

    A verification of the whole replica belongs here, too: it may take as long as reading all of it.
    """
    request = FailoverRequest.of(facts)
    if not request.is_planned or not facts.get("was_running"):
        return {}
    captured = capture_machine(context, CaptureOrder(request.run_id, request.machine_id, request.source))
    brought = bring_replica(
        context,
        ReplicaOrder(
            request.target,
            captured.point,
            number(facts, "epoch") - 1,
            str(facts.get("past_claim", "")),
            request.networks,
            boot_mode_of(request.boot_mode),
            is_verifying=request.is_verifying,
            is_dropping_divergent=request.is_dropping_divergent,
        ),
    )
    require_startable(str(facts["machine_name"]), request.target, brought.obstacles)
    moved = moved_bytes(facts, {**captured.facts(), **brought.facts()})
    kept = {key: fact for key, fact in brought.facts().items() if key == "divergent_point_id"}
    reasons = with_reasons(facts, *captured.reasons, *brought.reasons)
    return {**moved, **kept, "is_verified": request.is_verifying, "reasons": reasons}


def capture_the_last(context: Context, facts: Facts) -> Facts:
    """Planned: capture the stopped machine. Unplanned: say what is lost, as far as it is known."""
    request = FailoverRequest.of(facts)
    if request.is_without_repository:
        return _loss_as_it_is(context, request, facts)
    if not request.is_planned:
        return _loss(context, request, facts)
    power = context.site(request.source).power.state(request.machine_id)
    if not power.is_off:
        raise StillRunning(
            f"The machine is {power.value} on {request.source} although it was stopped; the failover is taken back.",
            hint="Find out what starts it there.",
        )
    order = CaptureOrder(request.run_id, request.machine_id, request.source, is_freezing=False)
    captured = capture_machine(context, order)
    reasons = with_reasons(facts, *captured.reasons)
    found = captured.facts()
    return {**found, **moved_bytes(facts, found), "rpo_seconds": 0.0, "lost_bytes": 0, "reasons": reasons}


def _loss(context: Context, request: FailoverRequest, facts: Facts) -> Facts:
    point = context.repository.point(PointId(str(facts["wanted_point_id"])))
    # The wall clock is all there is to compare a point of the past with: a figure for people, it decides nothing.
    lost_seconds = max((context.ports.clock.now() - point.captured_at).total_seconds(), 0.0)
    lost_bytes = _lost_bytes(context, request, point) if facts.get("is_source_fenced") else None
    name, now = str(facts["machine_name"]), context.ports.clock.now()
    amount = f" At most {format_bytes(lost_bytes)} of changes." if lost_bytes is not None else ""
    reason = f"{name} starts from {told(point, now)}. {lost(name, point.captured_at, now)}{amount}"
    context.on_reason(reason)
    return {
        "point_id": point.id,
        "captured_at": point.captured_at.isoformat(),
        "consistency": point.document.consistency.value,
        "rpo_seconds": round(lost_seconds, 3),
        "lost_bytes": lost_bytes,
        "reasons": with_reasons(facts, reason),
    }


def _loss_as_it_is(context: Context, request: FailoverRequest, facts: Facts) -> Facts:
    """What is lost where the repository is not asked: by what the catalog knows of the replica's point."""
    captured_at = datetime.fromisoformat(request.captured_at) if request.captured_at else None
    lost_seconds = max((context.ports.clock.now() - captured_at).total_seconds(), 0.0) if captured_at else None
    name = str(facts["machine_name"])
    reason = (
        f"{name} starts from its replica as it is, at {called_by_id(name, str(request.to_point_id))}. "
        f"{lost(name, captured_at, context.ports.clock.now())} The repository was not asked: later points may be in it."
    )
    context.on_reason(reason)
    return {
        "point_id": request.to_point_id,
        "captured_at": request.captured_at or None,
        "rpo_seconds": round(lost_seconds, 3) if lost_seconds is not None else None,
        "lost_bytes": None,
        "reasons": with_reasons(facts, reason),
    }


def _lost_bytes(context: Context, request: FailoverRequest, point: Point) -> int | None:
    """What the source's trackers count since the point; None where they cannot say. It is for people to read only."""
    try:
        site = context.site(request.source)
        points = context.points(request.machine_id)
        base = choose_base(points, request.source, site.standings.read(request.machine_id))
        clean_leftovers(site, request.machine_id, base.trackers.values())
        if base.point is None or base.point.id != point.id:
            return None
        asked = CaptureRequest(
            request.machine_id, f"{request.run_id}-loss", base.trackers, is_freezing=False, is_tracking=False
        )
        with site.captures.capture(asked) as capture:
            if not all(disk.is_tracked for disk in capture.disks):
                return None
            return sum(total_bytes(disk.changed()) for disk in capture.disks)
    except TwinhullError as error:
        context.on_reason(f"What was changed since {point.id} could not be asked: {error}")
        return None
