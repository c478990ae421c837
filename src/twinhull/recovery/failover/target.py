"""The target's part of a failover: brought to the point, armed, taken over, started."""

from __future__ import annotations

from dataclasses import replace

from twinhull.actions.context import Context
from twinhull.actions.requests import FailoverRequest
from twinhull.model.errors import NotFound, NotSupportedHere, ReplicaDirty, StaleEpoch
from twinhull.model.machine import DiskKey, MachineId, PointId, Role, Standing
from twinhull.model.steps import Facts, JsonValue
from twinhull.model.units import format_duration
from twinhull.platforms.contract import Site
from twinhull.recovery.failover.source import belongs, give_way, require_source_held
from twinhull.recovery.starting import require_startable, seconds_since, start_and_wait
from twinhull.replication.bases import is_of
from twinhull.replication.replica import ReplicaOrder, bring_replica
from twinhull.replication.sync import boot_mode_of, claimed, moved_bytes, number, with_reasons
from twinhull.repository import Point


def bring_target(context: Context, facts: Facts) -> Facts:
    """Bring the replica to the point that the machine goes on from, unless it is there already."""
    request = FailoverRequest.of(facts)
    if request.is_without_repository:
        site = context.site(request.target)
        _require_at_point(site, request, facts)
        require_startable(str(facts["machine_name"]), request.target, site.power.obstacles(request.machine_id))
        return {}
    point = context.repository.point(PointId(str(facts["point_id"])))
    is_verifying = request.is_verifying and not facts.get("is_verified")
    if not is_verifying and _is_ready(context.site(request.target), request.machine_id, point):
        return {}
    order = ReplicaOrder(
        request.target,
        point,
        number(facts, "epoch") - 1,
        str(facts.get("past_claim", "")),
        request.networks,
        boot_mode_of(request.boot_mode),
        is_verifying=is_verifying,
        is_dropping_divergent=request.is_dropping_divergent,
    )
    brought = bring_replica(context, order)
    require_startable(str(facts["machine_name"]), request.target, brought.obstacles)
    found = brought.facts()
    return {**found, **moved_bytes(facts, found), "reasons": with_reasons(facts, *brought.reasons)}


def _is_ready(site: Site, machine_id: MachineId, point: Point) -> bool:
    """Whether the replica is at the point and could start: bringing it once more removes some obstacles."""
    held = site.standings.read(machine_id)
    is_there = held is not None and held.role is Role.REPLICA and not held.is_dirty and is_of(point, held)
    try:
        return is_there and not site.power.obstacles(machine_id)
    except NotFound:
        return False


def arm_target(context: Context, facts: Facts) -> Facts:
    """Leave trackers on the replica at its point, so that the way home sends only what differs."""
    request = FailoverRequest.of(facts)
    site = context.site(request.target)
    _require_at_point(site, request, facts)
    require_source_held(context, request, facts)
    trackers, reasons = arm(context, site, request.run_id, request.machine_id)
    return {"armed_trackers": trackers, "reasons": with_reasons(facts, *reasons)}


def arm(context: Context, site: Site, label: str, machine_id: MachineId) -> tuple[dict[str, JsonValue], list[str]]:
    """Trackers on a stopped machine, or the reason why there are none."""
    capture_id = f"{label}-{context.ports.randomness.token(4).hex()}"
    try:
        armed = site.captures.arm_trackers(machine_id, capture_id)
        return {str(key): tracker for key, tracker in armed.items()}, []
    except NotSupportedHere as error:
        reason = f"No changes are tracked on {site.settings.name} ({error.message}); the next sync compares in full."
        context.on_reason(reason)
        return {}, [reason]


def armed_standing(machine_id: MachineId, facts: Facts, point_id: PointId | None) -> Standing:
    """The standing of a primary at a point, with the trackers that were armed there."""
    armed = facts.get("armed_trackers")
    trackers = {DiskKey(key): str(tracker) for key, tracker in (armed if isinstance(armed, dict) else {}).items()}
    epoch = number(facts, "epoch")
    return Standing(machine_id, Role.PRIMARY, epoch, point_id, trackers=trackers, claim=claimed(facts))


def take_over(context: Context, facts: Facts) -> Facts:
    """The target is the primary from here on; safe to repeat, and there is no way back."""
    request = FailoverRequest.of(facts)
    site = context.site(request.target)
    held = _require_at_point(site, request, facts)
    if held.role is not Role.PRIMARY:
        standing = armed_standing(request.machine_id, facts, PointId(str(facts["point_id"])))
        site.standings.write(replace(standing, capture=held.capture))
    return {}


def start_target(context: Context, facts: Facts) -> Facts:
    """Start the machine on the target and tell how long it was down."""
    request = FailoverRequest.of(facts)
    site = context.site(request.target)
    epoch = _epoch_held(site, request, facts)
    start_and_wait(context, site, request.machine_id, epoch, request.start_timeout_seconds)
    since = "down_since_seconds" if request.is_planned else "asked_at_seconds"
    rto_seconds = seconds_since(context, facts, since)
    told = format_duration(rto_seconds) if rto_seconds is not None else "a time that could not be measured"
    reason = f"The machine runs on {request.target} in epoch {epoch}, after {told}."
    context.on_reason(reason)
    return {"rto_seconds": rto_seconds, "reasons": with_reasons(facts, reason)}


def _epoch_held(site: Site, request: FailoverRequest, facts: Facts) -> int:
    """The epoch to start in: ours, which was raised meanwhile where another run had chosen the same number."""
    held = site.standings.read(request.machine_id)
    return held.epoch if held and belongs(held, request, facts) else number(facts, "epoch")


def _require_at_point(site: Site, request: FailoverRequest, facts: Facts) -> Standing:
    """A replica that is not exactly at the point is not started; raises ReplicaDirty, StaleEpoch where it is none."""
    held = site.standings.read(request.machine_id)
    if held and held.role is Role.PRIMARY and not belongs(held, request, facts):
        give_way(site, held, number(facts, "epoch"))
        raise StaleEpoch(
            f"Another run made {request.target} the machine's primary meanwhile (epoch {held.epoch}); it was left to"
            " that run.",
            hint="See 'twinhull status' for where the machine runs.",
        )
    if held is None or held.is_dirty or held.point_id != facts["point_id"]:
        raise ReplicaDirty(
            f"The replica on {request.target} is not at {facts['point_id']}; it is not started.",
            hint="Repeat the failover: it brings the replica there first.",
        )
    return held
