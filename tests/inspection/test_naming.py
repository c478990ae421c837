"""How a guest's disks are called on each platform, and whether its devices stay plugged in where they are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.inspection.images import machine
from twinhull.inspection.naming import keeps_slots, surroundings
from twinhull.model.hardware import DiskTraits, Hardware
from twinhull.model.machine import MachineSpec, MachineStatus, PowerState


@pytest.mark.parametrize(
    ("buses", "here", "there", "names"),
    [
        (("virtio", "virtio"), "qemu", "xen", ["vda xvda", "vdb xvdb"]),
        (("virtio", "virtio"), "xen", "qemu", ["xvda vda", "xvdb vdb"]),
        (("virtio", "scsi", "sata", "virtio"), "qemu", "qemu", ["vda vda", "sda sda", "sdb sdb", "vdb vdb"]),
        (("scsi", "virtio"), "qemu", "xen", ["sda xvda", "vda xvdb"]),
        (("xen", "usb"), "xen", "qemu", ["xvda vda", "xvdb vdb"]),
        (
            ("virtio",) * 28,
            "qemu",
            "xen",
            [*(f"vd{c} xvd{c}" for c in "abcdefghijklmnopqrstuvwxyz"), "vdaa xvdaa", "vdab xvdab"],
        ),
    ],
)
def test_disks_are_named_by_their_bus_and_place(
    buses: tuple[str, ...], here: str, there: str, names: list[str]
) -> None:
    around = surroundings(machine(*buses), here=here, there=there)
    assert [f"{disk.here} {disk.there}" for disk in around.disks] == names


def ordered(spec: MachineSpec, *orders: int) -> MachineSpec:
    disks = zip(spec.disks, orders, strict=True)
    return replace(spec, disks=tuple(replace(disk, traits=DiskTraits(boot_order=order)) for disk, order in disks))


def test_disks_come_in_boot_order_and_keep_the_names_of_their_places() -> None:
    around = surroundings(ordered(machine("virtio", "virtio", "virtio"), 2, 0, 1), here="qemu", there="xen")
    assert [(disk.key, disk.there) for disk in around.disks] == [("vdc", "xvdc"), ("vda", "xvda"), ("vdb", "xvdb")]


@pytest.mark.parametrize(
    ("bus", "controller", "driver"),
    [
        ("virtio", "", "virtio_blk"),
        ("scsi", "", "virtio_scsi"),
        ("scsi", "lsilogic", "sym53c8xx"),
        ("virtio", "lsilogic", "virtio_blk"),
        ("sata", "", "ahci"),
        ("ide", "", "ata_piix"),
        ("nvme", "", "virtio_blk"),
    ],
)
def test_a_disk_needs_the_driver_of_its_bus_there(bus: str, controller: str, driver: str) -> None:
    spec = replace(machine(bus), hardware=Hardware(scsi_controller=controller))
    assert surroundings(spec, here="qemu", there="qemu").disks[0].driver == driver
    assert surroundings(spec, here="qemu", there="xen").disks[0].driver == "xen_blkfront"


def plugged(**slots: str) -> MachineStatus:
    places = {name.replace("_", " "): place for name, place in slots.items()}
    return MachineStatus(machine("virtio"), PowerState.OFF, slots=places)


HERE = {"card_a": "slot=3", "disk_vda": "slot=4", "controller_scsi": "slot=5", "bridge_1": "place=0"}


@pytest.mark.parametrize(
    ("change", "card", "disk"),
    [
        ({}, True, True),
        ({"bridge_2": "place=1"}, True, True),
        ({"disk_vda": "slot=5"}, True, False),
        ({"card_a": "slot=5"}, False, True),
        ({"controller_scsi": "slot=6"}, True, False),
        ({"bridge_1": "place=1"}, None, None),
        ({"bridge_1": "place=1", "card_a": "slot=5"}, False, None),
    ],
)
def test_slots_stay_only_if_both_sites_say_so(change: dict[str, str], card: bool | None, disk: bool | None) -> None:  # noqa: FBT001 - expected answers
    there = plugged(**{**HERE, **change})
    assert keeps_slots("card", plugged(**HERE), there) is card
    assert keeps_slots("disk", plugged(**HERE), there) is disk


def test_slots_that_no_site_tells_are_not_known() -> None:
    assert keeps_slots("card", plugged(**HERE), None) is None
    assert keeps_slots("card", plugged(**HERE), plugged()) is None
    assert keeps_slots("card", plugged(), plugged(**HERE)) is None


def test_a_card_that_the_replica_lacks_does_not_stay() -> None:
    assert keeps_slots("card", plugged(**HERE), plugged(disk_vda="slot=4")) is False
