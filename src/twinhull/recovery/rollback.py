"""The action ``rollback``: a machine is put back to an earlier point, where it is.

====  ====================  ========================================================  ================================
step  name                  do                                                        undo
====  ====================  ========================================================  ================================
1     look                  is the site its primary? is the point its own?            nothing was changed
2     stop                  stop it                                                   start it, if it ran
3     capture the present   so that nothing is lost: a point of what is there now,    nothing: a point is whole
                            but for disks that an earlier one left between points
4     put back              apply the wanted point's differences to the disks         apply the present point again
5     arm trackers          the next sync starts from the wanted point                cleaned by the next sync
6     start                 start it, if it ran                                       stop it, so that 4 can be undone
====  ====================  ========================================================  ================================

While the disks are between two points the standing is dirty, and the site does not start the machine.
"""

from __future__ import annotations

from dataclasses import replace

from twinhull.actions.context import Context
from twinhull.actions.requests import RollbackRequest
from twinhull.cluster.epochs import FIRST_EPOCH, current_claim, current_epoch, spoiled
from twinhull.cluster.permission import require_primary
from twinhull.model.codec import spec_from_json
from twinhull.model.errors import NotFound, ReplicaDirty, UsageError
from twinhull.model.hardware import DiskTraits
from twinhull.model.machine import DiskSpec, MachineSpec, PointId, Role, SiteName, Standing
from twinhull.model.steps import Action, Facts, JsonValue, Step
from twinhull.model.units import format_duration
from twinhull.recovery.before_stop import Asked, require_endable
from twinhull.recovery.failover.target import arm, armed_standing
from twinhull.recovery.starting import require_startable, seconds_since, start_and_wait
from twinhull.replication.bases import capture_of
from twinhull.replication.capture import CaptureOrder, capture_machine
from twinhull.replication.replica import ReplicaOrder, bring_replica, find
from twinhull.replication.standing import look_and_correct
from twinhull.replication.sync import claimed, number, require_answer, with_reasons
from twinhull.repository import Point


def _look(context: Context, facts: Facts) -> Facts:
    request = RollbackRequest.of(facts)
    situation, reasons = look_and_correct(context, request.machine_id, (request.site, *request.other_sites))
    require_answer(situation, request.site)
    side = situation.side(request.site)
    if side.status is None:
        raise NotFound(f"There is no machine {request.machine_id} on {request.site}.")
    require_primary(situation, request.site)
    point = context.repository.point(PointId(request.to_point_id))
    if point.machine_id != request.machine_id:
        raise UsageError(f"The point {point.id} is of another machine; nothing was done.")
    # Where the present is not kept, what is missing may be a disk that the rollback is to bring back.
    is_capturing = request.is_keeping_present and not _is_between_points(side.standing)
    if _is_starting(request, was_running=side.is_running) and is_capturing:
        obstacles = context.site(request.site).power.obstacles(request.machine_id)
        require_startable(side.status.spec.name, request.site, obstacles)
    site = context.site(request.site)
    disks = spec_from_json(point.document.spec).disks
    require_endable(Asked(side.status.spec, site, site, disks=disks, is_capturing=is_capturing))
    return {
        "epoch": max(current_epoch(situation), FIRST_EPOCH),
        "claim": current_claim(situation),
        "machine_name": side.status.spec.name,
        "was_running": side.is_running,
        "reasons": with_reasons(facts, *reasons),
    }


def _is_starting(request: RollbackRequest, *, was_running: bool) -> bool:
    return was_running if request.is_starting is None else request.is_starting


def _stop(context: Context, facts: Facts) -> Facts:
    request = RollbackRequest.of(facts)
    down_since = context.ports.clock.monotonic()
    has_obeyed = context.site(request.site).power.stop(request.machine_id, request.grace_seconds)
    reasons = [] if has_obeyed else ["The guest did not shut down by itself; it was switched off."]
    return {"down_since_seconds": down_since, "reasons": with_reasons(facts, *reasons)}


def _start_if_it_ran(context: Context, facts: Facts) -> None:
    if facts.get("was_running"):
        _start_with_standing(context, RollbackRequest.of(facts), facts)


def _start_with_standing(context: Context, request: RollbackRequest, facts: Facts) -> None:
    site = context.site(request.site)
    start_and_wait(context, site, request.machine_id, number(facts, "epoch"), request.start_timeout_seconds)


def _capture_present(context: Context, facts: Facts) -> Facts:
    """Keep what is there; from here on the standing says which point the stopped machine's disks are at."""
    request = RollbackRequest.of(facts)
    found: dict[str, JsonValue] = {"present_point_id": None}
    if _is_between_points(context.site(request.site).standings.read(request.machine_id)):
        return _nothing_to_keep(context, facts, found)
    if request.is_keeping_present:
        order = CaptureOrder(request.run_id, request.machine_id, request.site, is_freezing=False)
        captured = capture_machine(context, order)
        found = {
            **captured.facts(),
            "present_point_id": captured.point.id,
            "reasons": with_reasons(facts, *captured.reasons),
        }
    present = _present(found)
    context.site(request.site).standings.write(
        Standing(request.machine_id, Role.PRIMARY, number(facts, "epoch"), present, claim=claimed(facts))
    )
    return found


def _is_between_points(held: Standing | None) -> bool:
    return held is not None and held.is_dirty


def _nothing_to_keep(context: Context, facts: Facts, found: Facts) -> Facts:
    """Disks between two points are no state to come back to; the standing goes on saying so."""
    reason = "An earlier rollback was broken off: what the disks hold is no whole state, and is not kept as a point."
    context.on_reason(reason)
    return {**found, "reasons": with_reasons(facts, reason)}


def _present(facts: Facts) -> PointId | None:
    present = facts.get("present_point_id")
    return PointId(str(present)) if present else None


def _put_back(context: Context, facts: Facts) -> Facts:
    point = context.repository.point(PointId(RollbackRequest.of(facts).to_point_id))
    return {"point_id": point.id, **_apply(context, facts, point)}


def _apply(context: Context, facts: Facts, point: Point) -> dict[str, JsonValue]:
    request = RollbackRequest.of(facts)
    then = spec_from_json(point.document.spec)
    spec = _spec_here(context, request, then)
    # The networks are named as this site names them already: each is mapped to itself.
    networks = {nic.network: nic.network for nic in spec.nics}
    epoch = number(facts, "epoch")
    order = ReplicaOrder(
        SiteName(request.site),
        point,
        epoch,
        claimed(facts),
        networks,
        role=Role.PRIMARY,
        spec=spec,
        staying=frozenset(disk.key for disk in spec.disks if then.disk(disk.key) is None),
    )
    brought = bring_replica(context, order)
    return {**brought.facts(), "reasons": with_reasons(facts, *brought.reasons)}


def _spec_here(context: Context, request: RollbackRequest, then: MachineSpec) -> MachineSpec:
    """The point's disks in the machine as it is on this site: its name, networks and boot mode stay."""
    status = find(context.site(request.site), request.machine_id)
    if status is None:
        raise NotFound(f"The machine {request.machine_id} is not on {request.site} any more.")
    return replace(status.spec, disks=_disks_here(then, status.spec))


def _disks_here(then: MachineSpec, here: MachineSpec) -> tuple[DiskSpec, ...]:
    """The point's disks; the points of older versions know neither traits nor read-only disks: what is here stays."""
    staying = [disk for disk in here.disks if disk.traits.is_read_only and then.disk(disk.key) is None]
    if any(disk.traits != DiskTraits() for disk in then.disks):
        return (*then.disks, *staying)
    traits = {disk.key: disk.traits for disk in here.disks}
    return (*(replace(disk, traits=traits.get(disk.key, disk.traits)) for disk in then.disks), *staying)


def _put_present_again(context: Context, facts: Facts) -> None:
    request = RollbackRequest.of(facts)
    present = _present(facts)
    held = context.site(request.site).standings.read(request.machine_id)
    if held is None or (not held.is_dirty and held.point_id == present):
        return  # the disks were not touched
    if present is None:
        raise ReplicaDirty(
            f"What the machine was on {request.site} was not kept, so it cannot be put back; it stays stopped.",
            hint="Roll back once more, to any point.",
        )
    _apply(context, facts, context.repository.point(present))


def _arm(context: Context, facts: Facts) -> Facts:
    request = RollbackRequest.of(facts)
    site = context.site(request.site)
    trackers, reasons = arm(context, site, request.run_id, request.machine_id)
    found: Facts = {"armed_trackers": trackers, "reasons": with_reasons(facts, *reasons)}
    point = context.repository.point(PointId(str(facts["point_id"])))
    standing = armed_standing(request.machine_id, {**facts, **found}, point.id)
    site.standings.write(replace(standing, capture=capture_of(point)))
    return found


def _start(context: Context, facts: Facts) -> Facts:
    request = RollbackRequest.of(facts)
    if not _is_starting(request, was_running=bool(facts.get("was_running"))):
        return {"rto_seconds": None}
    _start_with_standing(context, request, facts)
    rto_seconds = seconds_since(context, facts, "down_since_seconds")
    told = format_duration(rto_seconds) if rto_seconds is not None else "a time that could not be measured"
    reason = f"The machine runs on {request.site} from {facts['point_id']}, after {told}."
    context.on_reason(reason)
    return {"rto_seconds": rto_seconds, "reasons": with_reasons(facts, reason)}


def _stop_again(context: Context, facts: Facts) -> None:
    """Stop it; what the guest has written since it was started is at no point."""
    request = RollbackRequest.of(facts)
    site = context.site(request.site)
    site.power.stop(request.machine_id, request.grace_seconds)
    held = site.standings.read(request.machine_id)
    if held and held.role is Role.PRIMARY:
        site.standings.write(spoiled(held))


ROLLBACK: Action[Context] = Action(
    "rollback",
    (
        Step("look", _look),
        Step("stop", _stop, _start_if_it_ran),
        Step("capture the present", _capture_present),
        Step("put back", _put_back, _put_present_again),
        Step("arm trackers", _arm),
        Step("start", _start, _stop_again),
    ),
)
