"""Everything that a libvirt definition can say is kept, harmless or reported; nothing is lost in silence."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.platforms.domain_schema import paths
from twinhull.model.checks import checked_text
from twinhull.model.codec import spec_from_json, spec_to_json
from twinhull.model.hardware import DiskTraits, Hardware
from twinhull.model.lacks import Consequence
from twinhull.model.machine import DiskKey, Firmware, MachineSpec
from twinhull.model.units import GIB
from twinhull.platforms.libvirt.definition.domains import read_definition
from twinhull.platforms.libvirt.definition.vocabulary import MAX_LACKS, REMOVABLE, Verdict, lacks_of, look_up
from twinhull.platforms.libvirt.definition.words import WORDS
from twinhull.platforms.libvirt.definition.xml import parse_xml
from twinhull.platforms.qemu import definition as qemu
from twinhull.platforms.qemu import keeping as qemu_keeping
from twinhull.platforms.xen import definition as xen
from twinhull.platforms.xen import keeping as xen_keeping
from twinhull.platforms.xen.survey import XenMachine


def test_the_table_knows_every_word_of_libvirt_s_schema() -> None:
    everything = paths()
    assert len(everything) > 3000
    assert sorted(path for path in everything if look_up(WORDS, path)[0] is None) == []


def test_the_table_says_why() -> None:
    assert [path for path, word in WORDS.items() if not word.text and word.verdict is not Verdict.KEPT] == []


HOME = """<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
<name>db</name><uuid>6e7f4a1c-0000-4000-8000-00000000000a</uuid><memory unit='GiB'>2</memory><vcpu>8</vcpu>
<os><type arch='i686' machine='pc-q35-7.2'>hvm</type></os>
<features><acpi/><apic/></features>
<cpu mode='custom'><model>Haswell</model><topology sockets='1' dies='1' cores='4' threads='2'/>
  <feature policy='require' name='vmx'/><feature policy='disable' name='x2apic'/></cpu>
<clock offset='variable' adjustment='-3600' basis='localtime'>
  <timer name='rtc' tickpolicy='catchup'/><timer name='hpet' present='no'/></clock>
<on_poweroff>destroy</on_poweroff><on_reboot>destroy</on_reboot><on_crash>restart</on_crash>
<devices>
  <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/i/a.qcow2'/>
    <target dev='sda' bus='scsi'/><serial>WD-1</serial><wwn>5000c50015ea71ac</wwn></disk>
  <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/i/b.qcow2'/>
    <blockio logical_block_size='4096' physical_block_size='4096'/><target dev='vda' bus='virtio'/>
    <boot order='1'/></disk>
  <disk type='file' device='disk'><source file='/i/c.raw'/><target dev='vdb' bus='virtio'/><readonly/>
    <iotune><total_iops_sec>10</total_iops_sec></iotune></disk>
  <disk type='file' device='cdrom'><target dev='hda' bus='sata'/><readonly/></disk>
  <disk type='file' device='cdrom'><source file='/iso/x.iso'/><target dev='hdb' bus='sata'/><readonly/></disk>
  <controller type='scsi' model='lsilogic'/>
  <interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br0'/><model type='e1000'/>
    <link state='down'/><vlan><tag id='7'/></vlan><boot order='2'/></interface>
  <interface type='bridge'><mac address='52:54:00:00:00:02'/><source bridge='br0'/><filterref filter='clean-traffic'/>
    <virtualport type='openvswitch'/></interface>
  <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
  <watchdog model='i6300esb' action='poweroff'/>
  <hostdev mode='subsystem' type='pci'/><tpm model='tpm-crb'/>
  <filesystem type='mount'><source dir='/srv'/><target dir='share'/></filesystem>
  <frobnicator speed='9'/>
</devices>
<qemu:commandline><qemu:arg value='-foo'/></qemu:commandline></domain>"""
SIZES = {DiskKey(key): GIB for key in ("sda", "vda", "vdb")}
HOST = ["i686", "x86_64"]
SAME = {"bridge:br0": "bridge:br0"}
UNSPOKEN = [
    "its processor model Haswell",
    "the processor's feature vmx",
    "its action on reboot (destroy)",
    "the limits of I/O (iotune) of disk vdb",
    "the medium /iso/x.iso of disk hdb",
    "the VLAN tag 7 of network card 52:54:00:00:00:01",
    "the network filter clean-traffic of network card 52:54:00:00:00:02",
    "the virtual port openvswitch of network card 52:54:00:00:00:02",
    "the host device of the kind pci",
    "its TPM, and the keys that are sealed in it",
    "the shared directory share",
    "'devices/frobnicator', a word of its definition that Twinhull does not know",
    "options that are passed to QEMU past libvirt (qemu:commandline)",
]


def home() -> MachineSpec:
    return read_definition(HOME).spec(SIZES)


def test_what_a_machine_has_and_no_word_says_is_said_once_and_with_its_name() -> None:
    assert [lack.what for lack in home().hardware.unspoken] == UNSPOKEN


def test_what_is_kept_comes_back_from_a_point() -> None:
    assert spec_from_json(json.loads(json.dumps(spec_to_json(home())))) == home()


def test_what_is_kept_is_kept_by_qemu() -> None:
    spec, paths = home(), {key: f"/r/{key}.qcow2" for key in SIZES}
    first = qemu.new_definition(spec, paths, SAME, domain_type="kvm", serial_path="/s", architectures=HOST)
    assert read_definition(first).spec(SIZES) == said(spec)
    assert qemu_keeping.lacks(spec, SAME, HOST) == list(spec.hardware.unspoken)
    assert qemu_keeping.lacks(spec, SAME, ["x86_64"])[-1].what == "its 32-bit processor: it has a 64-bit one"


def test_a_replica_of_qemu_follows_what_is_changed_at_home() -> None:
    spec, paths = home(), {key: f"/r/{key}.qcow2" for key in SIZES}
    bare = replace(
        spec,
        disks=tuple(replace(disk, traits=DiskTraits()) for disk in spec.disks),
        nics=tuple(replace(nic, boot_order=0, is_unplugged=False) for nic in spec.nics),
        hardware=Hardware(architecture="i686", chipset="q35", scsi_controller="lsilogic"),
    )
    first = qemu.new_definition(bare, paths, SAME, domain_type="kvm", serial_path="/s", architectures=HOST)
    for wanted in (spec, bare, spec):
        first = qemu.followed_definition(first, wanted, SAME, new_disks={}, removed_disks=set())
        assert read_definition(first).spec(SIZES) == said(wanted)


def test_the_definition_of_an_owner_keeps_its_hardware() -> None:
    bare = replace(home(), hardware=Hardware())
    followed = qemu.followed_definition(HOME, bare, {}, new_disks={}, removed_disks=set())
    assert read_definition(followed).spec(SIZES) == home()


def said(spec: MachineSpec) -> MachineSpec:
    """What a replica's own definition says: that of home, without what the replica lacks."""
    return replace(spec, hardware=replace(spec.hardware, unspoken=()))


def test_what_xen_keeps_and_what_it_lacks() -> None:
    spec, paths = home(), {key: f"/r/{key}.qcow2" for key in SIZES}
    written = xen.new_definition(spec, paths, SAME)
    read = read_definition(written)
    assert [(image.path, image.target, image.traits.is_read_only) for image in read.disks] == [
        ("/r/vda.qcow2", "sda", False),
        ("/r/sda.qcow2", "sdb", False),
        ("/r/vdb.qcow2", "sdc", False),
    ]
    assert read.hardware.clock == replace(spec.hardware.clock, timers=())
    assert [nic.mac for nic in read.nics] == ["52:54:00:00:00:02"]
    found = xen_keeping.lacks(spec, SAME)
    assert found[: len(UNSPOKEN)] == list(spec.hardware.unspoken)
    assert [(lack.what, lack.consequence) for lack in found[len(UNSPOKEN) :]] == [
        ("its 32-bit processor: it has a 64-bit one", Consequence.BOOTS_WITHOUT),
        ("its processor topology: each processor is a socket of its own", Consequence.BOOTS_WITHOUT),
        ("the settings of its timers (rtc, hpet)", Consequence.BOOTS_WITHOUT),
        ("its source of random numbers", Consequence.BOOTS_WITHOUT),
        ("its watchdog i6300esb:poweroff", Consequence.BOOTS_WITHOUT),
        ("the serial number WD-1 of disk sda", Consequence.BOOTS_WITHOUT),
        ("the 4096-byte sectors of disk vda: its partitions are not found", Consequence.WILL_NOT_BOOT),
        ("the write protection of disk vdb", Consequence.BOOTS_WITHOUT),
        ("the network card 52:54:00:00:00:01, which is unplugged at home", Consequence.BOOTS_WITHOUT),
    ]


def test_a_machine_that_was_on_xen_comes_home_as_it_was() -> None:
    spec, paths = home(), {key: f"/var/replicas/{home().machine_id}/{key}.qcow2" for key in SIZES}
    read = read_definition(xen.new_definition(spec, paths, SAME))
    assert XenMachine(read, spec, [], None).describe(SIZES) == spec


@pytest.mark.parametrize(
    ("os", "orders"),
    [
        ("<boot dev='hd'/>", {}),
        ("<boot dev='cdrom'/><boot dev='hd'/>", {}),
        ("<boot dev='network'/><boot dev='hd'/>", {"52:54:00:00:00:01": 1}),
        ("<boot dev='hd'/><boot dev='network'/>", {"vda": 1, "52:54:00:00:00:01": 2}),
    ],
)
def test_the_order_of_kinds_means_the_first_of_each(os: str, orders: dict[str, int]) -> None:
    definition = read_definition(
        "<domain type='kvm'><name>x</name><uuid>6e7f4a1c-0000-4000-8000-00000000000a</uuid>"
        f"<os><type>hvm</type>{os}</os><devices><disk><target dev='vda'/></disk><disk><target dev='vdb'/></disk>"
        "<interface type='user'><mac address='52:54:00:00:00:01'/></interface></devices></domain>"
    )
    found = {str(image.key): image.traits.boot_order for image in definition.disks}
    found |= {nic.mac: nic.boot_order for nic in definition.nics}
    assert {name: order for name, order in found.items() if order} == orders


def test_the_kernel_outside_of_the_disks_is_vital() -> None:
    root = parse_xml("<domain><os><kernel>/boot/vmlinuz</kernel><cmdline>quiet</cmdline></os></domain>")
    assert [(lack.what, lack.consequence) for lack in lacks_of(WORDS, root)] == [
        ("its kernel /boot/vmlinuz, which lies outside of its disks", Consequence.WILL_NOT_BOOT)
    ]


def test_an_encrypted_disk_s_copies_are_in_the_clear_and_that_is_said() -> None:
    disk = "<disk><source file='/x'><encryption format='luks'/></source><target dev='vda'/></disk>"
    (lack,) = lacks_of(WORDS, parse_xml(f"<domain><devices>{disk}</devices></domain>"))
    assert lack.what.startswith("the encryption of disk vda: the replica's disk is in the clear")


def test_foreign_words_and_values_are_lines_of_text_and_few() -> None:
    names = "".join(f"<odd{number} a='&#x9b;{'x' * 500}'/>" for number in range(2 * MAX_LACKS))
    root = parse_xml(f"<domain><bootloader_args>&#x9b;{'y' * 999}{{0}}</bootloader_args>{names}</domain>")
    found = lacks_of(WORDS, root)
    assert len(found) == MAX_LACKS + 1
    assert all(checked_text(lack.what) for lack in found)


def test_a_drive_is_found_under_its_own_path() -> None:
    assert look_up(WORDS, f"{REMOVABLE}/backingStore/format@type")[0]


def test_points_of_an_older_version_have_the_defaults() -> None:
    raw = spec_to_json(home())
    del raw["hardware"]
    for items in (raw["disks"], raw["nics"]):
        assert isinstance(items, list)
        for item in items:
            assert isinstance(item, dict)
            for word in ("traits", "boot_order", "is_unplugged"):
                item.pop(word, None)
    spec = spec_from_json(raw)
    assert spec.hardware == Hardware()
    assert {disk.traits for disk in spec.disks} == {DiskTraits()}
    assert not any(nic.boot_order or nic.is_unplugged for nic in spec.nics)


@pytest.mark.parametrize(
    "changed",
    [
        {"firmware": Firmware.UEFI},
        {"hardware": Hardware(chipset="q35", scsi_controller="lsilogic")},
        {"hardware": Hardware(architecture="i686", scsi_controller="lsilogic")},
        {"hardware": Hardware(architecture="i686", chipset="q35")},
    ],
)
def test_a_replica_with_another_board_is_told(changed: dict[str, object]) -> None:
    spec, paths = home(), {key: f"/r/{key}.qcow2" for key in SIZES}
    here = qemu.new_definition(spec, paths, SAME, domain_type="kvm", serial_path="/s", architectures=HOST)
    assert qemu.has_board_of(read_definition(here), spec, HOST)
    assert not qemu.has_board_of(read_definition(here), replace(spec, **changed), HOST)  # type: ignore[arg-type]
