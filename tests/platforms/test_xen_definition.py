"""A machine's definition on Xen: written from a spec, and read again."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from twinhull.model.errors import DataError, NotSupportedHere, SiteError
from twinhull.model.extents import Extent
from twinhull.model.machine import BootMode, DiskKey, DiskSpec, Firmware, MachineId, MachineSpec, NicSpec
from twinhull.model.units import GIB, MIB
from twinhull.platforms.libvirt.definition.domains import read_definition
from twinhull.platforms.libvirt.definition.xml import parse_xml
from twinhull.platforms.libvirt.replicas import disks_that_go
from twinhull.platforms.xen.copied import CopiedDisk
from twinhull.platforms.xen.definition import check_can_boot, followed_definition, new_definition
from twinhull.platforms.xen.keeping import lacks
from twinhull.platforms.xen.survey import XenMachine

A, B = DiskKey("vda"), DiskKey("vdb")
ID = MachineId("11111111-2222-3333-4444-55555555aaaa")
PATHS = {A: f"/x/replicas/{ID}/vda.qcow2", B: f"/x/replicas/{ID}/vdb.qcow2"}
FOREIGN_PATHS = {A: "/images/vda.qcow2", B: "/images/vdb.qcow2"}
SPEC = MachineSpec(
    machine_id=ID,
    name="web & <co>",
    cpu_count=2,
    memory_bytes=GIB,
    boot_mode=BootMode.HVM,
    disks=(DiskSpec(A, GIB), DiskSpec(B, 2 * GIB, "scsi")),
    nics=(NicSpec("52:54:00:00:00:01", "bridge:br0"), NicSpec("52:54:00:00:00:02", "user")),
)


@pytest.mark.parametrize(("boot_mode", "targets"), [(BootMode.HVM, ["sda", "sdb"]), (BootMode.PV, ["xvda", "xvdb"])])
def test_what_is_written_reads_as_the_same_machine(boot_mode: BootMode, targets: list[str]) -> None:
    spec = replace(SPEC, boot_mode=boot_mode)
    written = new_definition(spec, PATHS, {"bridge:br0": "bridge:xenbr0"})
    definition = read_definition(written)
    assert [image.target for image in definition.disks] == targets
    read = XenMachine(definition, spec, [], None).describe({A: GIB, B: 2 * GIB})
    nics = (replace(SPEC.nics[0], network="bridge:xenbr0"), SPEC.nics[1])
    assert read == replace(spec, nics=nics)
    assert [lack.what for lack in lacks(spec, {"bridge:br0": "bridge:xenbr0"})] == [
        "the network card 52:54:00:00:00:02: 'user' is mapped to no bridge here"
    ]


@pytest.mark.parametrize("boot_mode", [BootMode.HVM, BootMode.PV])
def test_no_guest_writes_into_a_file_of_dom0(boot_mode: BootMode) -> None:
    written = parse_xml(new_definition(replace(SPEC, boot_mode=boot_mode), PATHS, {}))
    ports = [*written.findall("./devices/serial"), *written.findall("./devices/console")]
    assert [(port.get("type"), len(port)) for port in ports] == [("pty", 0)]


def test_a_machine_of_others_has_xens_names_for_its_disks() -> None:
    xml = new_definition(SPEC, FOREIGN_PATHS, {})
    read = XenMachine(read_definition(xml), None, [], None).describe({DiskKey("sda"): GIB, DiskKey("sdb"): GIB})
    assert [disk.key for disk in read.disks] == ["sda", "sdb"]


def test_a_machine_of_others_follows_and_keeps_the_rest() -> None:
    xml = new_definition(SPEC, PATHS, {"user": "bridge:other"})
    spec = replace(SPEC, cpu_count=4, memory_bytes=2 * GIB)
    followed = followed_definition(xml, spec, new_disks={"sdc": "/x/new.qcow2"}, removed_targets={"sdb"})
    definition = read_definition(followed)
    assert [(image.target, image.path) for image in definition.disks] == [("sda", PATHS[A]), ("sdc", "/x/new.qcow2")]
    assert (definition.cpu_count, definition.memory_bytes) == (4, 2 * GIB)
    assert definition.serial_path is None
    assert "serial" in followed
    assert [nic.network for nic in definition.nics] == ["bridge:other"]


def test_a_read_only_disk_of_others_that_a_point_does_not_know_stays() -> None:
    written = new_definition(SPEC, FOREIGN_PATHS, {})
    xml = written.replace('<target dev="sdb" bus="scsi" />', '<target dev="sdb" bus="scsi" /><readonly />')
    before = read_definition(xml)
    point = replace(SPEC, disks=(DiskSpec(DiskKey("sda"), GIB),))
    assert disks_that_go(before, point, is_ours=True) == ["sdb"]
    gone: set[str] = set(disks_that_go(before, point, is_ours=False))
    followed = read_definition(followed_definition(xml, point, new_disks={}, removed_targets=gone))
    assert [(disk.target, disk.traits.is_read_only) for disk in followed.disks] == [("sda", False), ("sdb", True)]


@pytest.mark.parametrize(
    ("spec", "boot_mode"),
    [
        (replace(SPEC, firmware=Firmware.UEFI), BootMode.HVM),
        (SPEC, BootMode.PVH),
        (replace(SPEC, disks=tuple(DiskSpec(DiskKey(f"vd{n}"), GIB) for n in range(8))), BootMode.HVM),
    ],
)
def test_what_cannot_boot_here_is_refused(spec: MachineSpec, boot_mode: BootMode) -> None:
    with pytest.raises(NotSupportedHere):
        check_can_boot(spec, boot_mode)


def test_a_uefi_machine_can_boot_as_pv() -> None:
    check_can_boot(replace(SPEC, firmware=Firmware.UEFI), BootMode.PV)


def test_what_is_no_definition_is_said() -> None:
    with pytest.raises(SiteError):
        read_definition("<domain")


class _Ones:
    """A disk full of ones."""

    size_bytes = 8 * MIB

    def extents(self, offset_bytes: int, length_bytes: int) -> list[Extent]:
        return [Extent(offset_bytes, length_bytes)]

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        assert offset_bytes >= 0
        return b"\1" * length_bytes

    def close(self) -> None:
        pass


def test_what_was_not_copied_is_never_read_as_zeros() -> None:
    disk = CopiedDisk(_Ones(), [Extent(MIB + 65536, 65536), Extent(5 * MIB, 65536)])  # type: ignore[arg-type]
    assert disk.read(MIB, MIB) == b"\1" * MIB
    for offset, length in ((0, 512), (2 * MIB - 512, 1024), (0, 8 * MIB), (7 * MIB, MIB)):
        with pytest.raises(DataError, match="were not copied"):
            disk.read(offset, length)
    extents = list(disk.extents(0, 8 * MIB))
    assert extents[0].offset_bytes == 0
    assert extents[-1].end_bytes == 8 * MIB
    assert all(one.end_bytes == other.offset_bytes for one, other in itertools.pairwise(extents))
    assert not any(extent.is_zero for extent in extents)
