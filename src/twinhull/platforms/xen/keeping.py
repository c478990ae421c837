"""What of a machine's description Xen can give to a replica, and what the replica lacks of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from twinhull.model.hardware import Clock, ClockOffset
from twinhull.model.lacks import Consequence, Lack
from twinhull.model.machine import BootMode, MachineSpec, NicSpec

SECTOR_BYTES = 512
"""The only sectors that Xen's disks have."""
_CLOCKS = (ClockOffset.UTC, ClockOffset.LOCAL_TIME, ClockOffset.VARIABLE)
_NIC_MODELS = {"virtio", "netfront", "rtl8139"}
"""Cards that a guest can do without: it has Xen's own here, which readiness looks at."""


def bridge_of(nic: NicSpec, networks: Mapping[str, str]) -> str:
    """The bridge of this host that a card is plugged into, or nothing; ``networks`` maps to ``bridge:NAME``.

    Xen has no card whose cable is pulled: one that is unplugged at home is left out.
    """
    kind, _, name = networks.get(nic.network, "").partition(":")
    return name if kind == "bridge" and not nic.is_unplugged else ""


def clock_of(spec: MachineSpec) -> Clock:
    """The clock that Xen can have, without timers."""
    clock = spec.hardware.clock
    if clock.offset not in _CLOCKS:
        return Clock()
    return Clock(clock.offset, basis=clock.basis, adjustment_seconds=clock.adjustment_seconds)


def boots_from_network_first(spec: MachineSpec) -> bool:
    """Whether a card comes before all disks in the boot order."""
    disks = [disk.traits.boot_order for disk in spec.disks if disk.traits.boot_order]
    nics = [nic.boot_order for nic in spec.nics if nic.boot_order]
    return bool(nics) and min(nics) < min(disks, default=min(nics) + 1)


def lacks(spec: MachineSpec, networks: Mapping[str, str]) -> list[Lack]:
    """What a replica of that description lacks here; ``spec.boot_mode`` says how it boots."""
    found = [*spec.hardware.unspoken, *_of_the_machine(spec), *_of_disks(spec), *_of_cards(spec, networks)]
    return list(dict.fromkeys(found))


def _of_the_machine(spec: MachineSpec) -> Iterator[Lack]:
    hardware = spec.hardware
    if hardware.architecture == "i686":
        yield _without("its 32-bit processor: it has a 64-bit one")
    elif hardware.architecture:
        what = f"its processor architecture {hardware.architecture}: Xen sites make x86 machines"
        yield Lack(what, Consequence.WILL_NOT_BOOT)
    if hardware.topology:
        yield _without("its processor topology: each processor is a socket of its own")
    if hardware.clock.offset not in _CLOCKS:
        zone = f" {hardware.clock.zone}" if hardware.clock.zone else ""
        yield _without(f"its clock ({hardware.clock.offset.value}{zone}): it shows UTC")
    if hardware.clock.timers:
        names = ", ".join(timer.name for timer in hardware.clock.timers)
        yield _without(f"the settings of its timers ({names})")
    if hardware.has_rng:
        yield _without("its source of random numbers")
    if hardware.watchdog:
        yield _without(f"its watchdog {hardware.watchdog}")
    if boots_from_network_first(spec) and spec.boot_mode is not BootMode.HVM:
        yield _without("its boot from the network")


def _of_disks(spec: MachineSpec) -> Iterator[Lack]:
    first = next(iter(spec.boot_disks()), None)
    for disk in spec.disks:
        size = disk.traits.logical_block_bytes
        if size not in (0, SECTOR_BYTES):
            what = f"the {size}-byte sectors of disk {disk.key}: its partitions are not found"
            yield Lack(what, Consequence.WILL_NOT_BOOT if disk == first else Consequence.BOOTS_WITHOUT)
        if disk.traits.is_read_only:
            # QEMU 7.2 in dom0 opens no image read-only for Xen ("Block node is read-only"): the guest waits for ever.
            yield _without(f"the write protection of disk {disk.key}")
        if disk.traits.serial or disk.traits.wwn:
            yield _without(f"the serial number {disk.traits.serial or disk.traits.wwn} of disk {disk.key}")


def _of_cards(spec: MachineSpec, networks: Mapping[str, str]) -> Iterator[Lack]:
    for nic in spec.nics:
        if nic.is_unplugged:
            yield _without(f"the network card {nic.mac}, which is unplugged at home")
        elif not bridge_of(nic, networks):
            yield _without(f"the network card {nic.mac}: '{nic.network}' is mapped to no bridge here")
        elif nic.model not in _NIC_MODELS:
            yield _without(f"the model {nic.model} of card {nic.mac}")


def _without(what: str) -> Lack:
    return Lack(what, Consequence.BOOTS_WITHOUT)
