"""What of a machine's description QEMU can give to a replica, and what the replica lacks of it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from twinhull.model.hardware import CpuTopology, Timer
from twinhull.model.lacks import Consequence, Lack
from twinhull.model.machine import BootMode, Firmware, MachineSpec, NicSpec

BUSES = {"virtio", "scsi", "sata", "ide"}
NIC_MODELS = {"virtio", "virtio-transitional", "virtio-non-transitional", "e1000", "e1000e", "rtl8139", "vmxnet3"}
_XENS_OWN = {"xen", "netfront"}
"""Xen's own bus and card: a machine from there is meant to have virtio here, which readiness looks at."""
SCSI_CONTROLLERS = {
    "lsilogic",
    "lsisas1068",
    "lsisas1078",
    "vmpvscsi",
    "virtio-transitional",
    "virtio-non-transitional",
}
WATCHDOGS = {"i6300esb", "ib700"}
WATCHDOG_ACTIONS = {"reset", "shutdown", "poweroff", "pause", "none", "dump", "inject-nmi"}
TIMERS = {"rtc", "pit", "hpet", "kvmclock", "hypervclock"}
"""Not the TSC: a frequency that was asked for keeps a machine from starting on a processor that has another one."""
ARCHITECTURES = {"", "i686"}
NETWORKS = {"network": "network", "bridge": "bridge", "direct": "dev"}
"""What a card can be plugged into, and the attribute that names it."""


def topology_of(spec: MachineSpec) -> CpuTopology | None:
    """The processors' topology, if it is of as many processors as the machine has."""
    topology = spec.hardware.topology
    is_whole = topology is not None and topology.sockets * topology.cores * topology.threads == spec.cpu_count
    return topology if is_whole else None


def timers_of(spec: MachineSpec) -> list[Timer]:
    """The timers that QEMU knows."""
    return [timer for timer in spec.hardware.clock.timers if timer.name in TIMERS]


def watchdog_of(spec: MachineSpec) -> tuple[str, str] | None:
    """The watchdog's model and action, if QEMU has it."""
    model, _, action = spec.hardware.watchdog.partition(":")
    return (model, action) if model in WATCHDOGS and action in WATCHDOG_ACTIONS else None


def network_of(nic: NicSpec, networks: Mapping[str, str]) -> tuple[str, str]:
    """The kind and name of what a card is plugged into here; the kind is empty where it is mapped to nothing."""
    kind, _, name = networks.get(nic.network, "user" if nic.network == "user" else "").partition(":")
    return (kind, name) if kind in NETWORKS or kind == "user" else ("", "")


def lacks(spec: MachineSpec, networks: Mapping[str, str], architectures: Collection[str]) -> list[Lack]:
    """What a replica of that description lacks here; ``architectures`` are those that the host has a QEMU for."""
    own = [*_of_the_machine(spec, architectures), *_of_disks(spec), *_of_cards(spec, networks)]
    found = [*spec.hardware.unspoken, *own]
    return list(dict.fromkeys(found))


def _of_the_machine(spec: MachineSpec, architectures: Collection[str]) -> Iterator[Lack]:
    hardware = spec.hardware
    if hardware.architecture == "i686" and "i686" not in architectures:
        yield _without("its 32-bit processor: it has a 64-bit one")
    elif hardware.architecture not in ARCHITECTURES:
        what = f"its processor architecture {hardware.architecture}: QEMU sites make x86 machines"
        yield Lack(what, Consequence.WILL_NOT_BOOT)
    if spec.boot_mode is not BootMode.HVM:
        what = f"its {spec.boot_mode.value} boot: here its image's own boot loader starts it"
        yield Lack(what, Consequence.BOOTS_WITHOUT)
    if spec.firmware is Firmware.UEFI and not any("UEFI variables" in lack.what for lack in hardware.unspoken):
        yield _without("its UEFI variables (it starts by the removable path EFI/BOOT)")
    if hardware.topology and not topology_of(spec):
        yield _without(f"its processor topology, which is not of {spec.cpu_count} processors")
    if hardware.watchdog and not watchdog_of(spec):
        yield _without(f"its watchdog {hardware.watchdog}")
    for timer in hardware.clock.timers:
        if timer.name not in TIMERS:
            yield _without(f"its timer {timer.name}")
    is_scsi = any(disk.bus == "scsi" for disk in spec.disks)
    if is_scsi and hardware.scsi_controller and hardware.scsi_controller not in SCSI_CONTROLLERS:
        yield _without(f"its SCSI controller {hardware.scsi_controller}: it is virtio-scsi")


def _of_disks(spec: MachineSpec) -> Iterator[Lack]:
    for disk in spec.disks:
        if disk.bus not in BUSES | _XENS_OWN:
            yield _without(f"the bus {disk.bus} of disk {disk.key}: it is virtio")


def _of_cards(spec: MachineSpec, networks: Mapping[str, str]) -> Iterator[Lack]:
    for nic in spec.nics:
        if not network_of(nic, networks)[0]:
            yield _without(f"the network of card {nic.mac}: '{nic.network}' is mapped to no network here")
        if nic.model not in NIC_MODELS | _XENS_OWN:
            yield _without(f"the model {nic.model} of card {nic.mac}: it is virtio")


def _without(what: str) -> Lack:
    return Lack(what, Consequence.BOOTS_WITHOUT)
