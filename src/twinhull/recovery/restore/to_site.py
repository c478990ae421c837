"""Restoring a whole machine as a new one on a site; machines that are there are never touched."""

from __future__ import annotations

from dataclasses import replace

from twinhull.actions.context import Context
from twinhull.actions.requests import RestoreRequest
from twinhull.model.codec import spec_from_json
from twinhull.model.errors import AlreadyExists
from twinhull.model.machine import MachineId, MachineSpec, SiteName
from twinhull.model.steps import Facts, JsonValue
from twinhull.replication.replica import ReplicaOrder, bring_replica
from twinhull.replication.sync import boot_mode_of, with_reasons
from twinhull.repository import Point

_RESTORING_EPOCH = 0
"""While it is being written, the new machine is a dirty replica of no epoch: it cannot be started by accident."""


def look(context: Context, request: RestoreRequest, point: Point) -> Facts:
    """Choose the new machine's id and addresses; raises AlreadyExists where the id or the name is taken."""
    spec = spec_from_json(point.document.spec)
    site = context.site(str(request.to_site))
    machine_id = request.new_machine_id or MachineId(context.ports.randomness.uuid())
    name = request.new_name or f"{spec.name}-restored"
    for status in site.inventory.machines():
        if status.spec.machine_id == machine_id or status.spec.name == name:
            raise AlreadyExists(
                f"{request.to_site} has a machine {status.spec.name} ({status.spec.machine_id}); it was left as it is.",
                hint="Give the restored machine another name with --name, or put that one back: "
                f"twinhull rollback {status.spec.name} --to {point.sequence}",
            )
    is_another = machine_id != spec.machine_id
    macs: list[JsonValue] = [_new_mac(context) if is_another else nic.mac for nic in spec.nics]
    reasons: list[JsonValue] = (
        ["The new machine has network addresses of its own, so that both can run."] if is_another else []
    )
    return {
        "new_machine_id": machine_id,
        "restored_name": name,
        "macs": macs,
        "reasons": [*reasons],
    }


def write(context: Context, request: RestoreRequest, point: Point, facts: Facts) -> Facts:
    """Make the machine, powered off, and write its disks."""
    spec = _spec(point, facts)
    order = ReplicaOrder(
        SiteName(str(request.to_site)),
        point,
        _RESTORING_EPOCH,
        request.run_id,
        request.networks,
        boot_mode_of(request.boot_mode),
        spec=spec,
    )
    brought = bring_replica(context, order)
    return {"written_bytes": brought.written_bytes, "reasons": with_reasons(facts, *brought.reasons)}


def take_away(context: Context, request: RestoreRequest, facts: Facts) -> None:
    """Remove what was made; safe to repeat, and nothing else can have the id."""
    machine_id = _machine_id(facts)
    site = context.site(str(request.to_site))
    site.replicas.remove(machine_id)
    site.standings.remove(machine_id)


def hand_over(context: Context, request: RestoreRequest, facts: Facts) -> None:
    """From here on it is a machine like any other: it starts freely."""
    context.site(str(request.to_site)).standings.remove(_machine_id(facts))


def _machine_id(facts: Facts) -> MachineId:
    return MachineId(str(facts["new_machine_id"]))


def _spec(point: Point, facts: Facts) -> MachineSpec:
    spec = spec_from_json(point.document.spec)
    macs = facts["macs"]
    chosen = macs if isinstance(macs, list) else []
    nics = tuple(replace(nic, mac=str(mac)) for nic, mac in zip(spec.nics, chosen, strict=True))
    return replace(spec, machine_id=_machine_id(facts), name=str(facts["restored_name"]), nics=nics)


def _new_mac(context: Context) -> str:
    """A locally administered unicast address, of QEMU's range."""
    return "52:54:00:" + context.ports.randomness.token(3).hex(":")
