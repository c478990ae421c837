"""Making a simulated replica follow its machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from twinhull.model.lacks import Lack
from twinhull.model.machine import DiskKey, DiskSpec, MachineSpec
from twinhull.platforms.contract import ReplicaChanges, ReplicaRequest
from twinhull.platforms.simulated.disks import SimulatedDisk
from twinhull.platforms.simulated.machines import SimulatedMachine


def follow(machine: SimulatedMachine, request: ReplicaRequest) -> ReplicaChanges:
    """Bring the machine's definition to the request; says what was done to its disks."""
    spec = request.spec
    new = [disk for disk in spec.disks if disk.key in machine.lost or not _fits(machine, disk)]
    grown = [
        disk for disk in spec.disks if _fits(machine, disk) and machine.disks[disk.key].size_bytes < disk.size_bytes
    ]
    staying = [] if machine.is_ours else _read_only_beside(machine, spec)
    spec = replace(spec, disks=(*spec.disks, *staying))
    removed = [key for key in machine.disks if spec.disk(key) is None]
    for key in removed:
        _drop(machine, key)
    for disk in new:
        _drop(machine, disk.key)
        machine.disks[disk.key] = SimulatedDisk(disk.size_bytes)
        machine.trackers[disk.key] = {}
    for disk in grown:
        machine.disks[disk.key].grow(disk.size_bytes)
        machine.trackers[disk.key] = {}
    reasons = _plug(machine, spec, request.networks)
    machine.spec = replace(machine.spec, boot_mode=request.boot_mode or spec.boot_mode)
    changed = (_keys(new), _keys(grown), tuple(removed))
    return ReplicaChanges(False, *changed, reasons, lacks(machine, spec))  # noqa: FBT003 - the caller knows


def lacks(machine: SimulatedMachine | None, spec: MachineSpec) -> tuple[Lack, ...]:
    """What the description has no word for; nothing where the machine is its owner's own."""
    return spec.hardware.unspoken if machine is None or machine.is_ours else ()


def _plug(machine: SimulatedMachine, spec: MachineSpec, networks: Mapping[str, str]) -> tuple[str, ...]:
    """Plug the cards in where the request says; one that is mapped to nothing stays as its owner plugged it, or out.

    A card that is out keeps the name of its network at home, so that it can come back on the way there.
    """
    stays = {} if machine.is_ours else machine.plugged()
    mapped = {nic.mac: networks.get(nic.network) or stays.get(nic.mac) for nic in spec.nics}
    machine.unplugged = {mac for mac, network in mapped.items() if not network}
    nics = tuple(replace(nic, network=mapped[nic.mac] or nic.network) for nic in spec.nics)
    machine.spec = replace(spec, nics=nics)
    return tuple(
        f"The network card {nic.mac} is left out: '{nic.network}' is mapped to no network here."
        for nic in spec.nics
        if nic.mac in machine.unplugged
    )


def _read_only_beside(machine: SimulatedMachine, spec: MachineSpec) -> list[DiskSpec]:
    return [disk for disk in machine.spec.disks if disk.traits.is_read_only and spec.disk(disk.key) is None]


def _fits(machine: SimulatedMachine, disk: DiskSpec) -> bool:
    """Whether the disk is there and need not shrink."""
    return disk.key in machine.disks and machine.disks[disk.key].size_bytes <= disk.size_bytes


def _drop(machine: SimulatedMachine, key: DiskKey) -> None:
    machine.lost.discard(key)
    machine.disks.pop(key, None)
    machine.trackers.pop(key, None)


def _keys(disks: list[DiskSpec]) -> tuple[DiskKey, ...]:
    return tuple(disk.key for disk in disks)
