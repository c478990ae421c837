"""libvirt's XML read into our words, and written from them; no hypervisor needed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinhull.model.errors import SiteError
from twinhull.model.machine import BootMode, DiskKey, DiskSpec, Firmware, MachineId, MachineSpec, NicSpec, PowerState
from twinhull.model.units import GIB, MIB
from twinhull.platforms.libvirt.definition.domains import power_of, read_definition
from twinhull.platforms.libvirt.opened import TrackerAnswer
from twinhull.platforms.libvirt.replicas import disks_that_go
from twinhull.platforms.qemu.definition import followed_definition, new_definition
from twinhull.platforms.qemu.running import backup_xml
from twinhull.platforms.qemu.trackers import checkpoint_xml

OWNERS_XML = """
<domain type='kvm'><name>db</name><uuid>6E7F4A1C-0000-4000-8000-00000000000A</uuid>
<memory unit='GiB'>2</memory><currentMemory unit='GiB'>1</currentMemory><vcpu current='2'>8</vcpu>
<os firmware='efi'><type arch='x86_64' machine='q35'>hvm</type></os>
<devices>
  <disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/i/db.qcow2'/><target dev='vda' bus='virtio'/></disk>
  <disk type='block' device='disk'><driver name='qemu' type='raw'/><source dev='/dev/vg/db'/><target dev='sdb' bus='scsi'/></disk>
  <disk type='network' device='disk'><driver name='qemu' type='raw'/><source protocol='rbd' name='p/i'/><target dev='vdc' bus='virtio'/></disk>
  <disk type='file' device='cdrom'><target dev='hdc' bus='ide'/><readonly/></disk>
  <interface type='bridge'><mac address='52:54:00:AA:BB:01'/><source bridge='br0'/><model type='virtio'/></interface>
  <interface type='network'><mac address='52:54:00:aa:bb:02'/><source network='default'/><model type='e1000'/></interface>
  <serial type='pty'><log file='/var/log/db.log' append='on'/></serial>
  <hostdev mode='subsystem' type='pci'/>
</devices></domain>"""  # noqa: E501 - as libvirt writes it


def test_an_owner_s_definition_is_read() -> None:
    found = read_definition(OWNERS_XML)
    assert found.machine_id == "6e7f4a1c-0000-4000-8000-00000000000a"
    assert (found.name, found.cpu_count, found.memory_bytes) == ("db", 2, 2 * GIB)
    assert found.firmware is Firmware.UEFI
    assert [(disk.key, disk.path, disk.format, disk.bus, disk.can_track) for disk in found.disks] == [
        ("vda", "/i/db.qcow2", "qcow2", "virtio", True),
        ("sdb", "/dev/vg/db", "raw", "scsi", False),
        ("vdc", "", "raw", "virtio", False),
    ]
    assert found.other_devices == ("hdc",)
    assert found.nics == (
        NicSpec("52:54:00:aa:bb:01", "bridge:br0", "virtio"),
        NicSpec("52:54:00:aa:bb:02", "network:default", "e1000"),
    )
    assert found.serial_path == "/var/log/db.log"
    assert not found.has_agent
    assert not found.has_screen
    assert not found.is_ours


def test_nonsense_is_an_error() -> None:
    with pytest.raises(SiteError, match="cannot be read"):
        read_definition("<domain>")


SPECS = st.builds(
    MachineSpec,
    machine_id=st.uuids().map(lambda uuid: MachineId(str(uuid))),
    name=st.text("abcdefgh<&'\" -", min_size=1, max_size=12).map(str.strip).filter(bool),
    cpu_count=st.integers(1, 64),
    memory_bytes=st.integers(64, 65536).map(lambda mib: mib * MIB),
    firmware=st.sampled_from(Firmware),
    boot_mode=st.just(BootMode.HVM),
    disks=st.lists(
        st.builds(
            DiskSpec,
            key=st.sampled_from(["vda", "vdb", "sda", "xvda", "hda"]).map(DiskKey),
            size_bytes=st.integers(1, 64).map(lambda mib: mib * MIB),
            bus=st.sampled_from(["virtio", "scsi", "sata", "ide"]),
        ),
        unique_by=lambda disk: disk.key,
        max_size=4,
    ).map(tuple),
    nics=st.lists(
        st.builds(
            NicSpec,
            mac=st.integers(0, 255).map(lambda last: f"52:54:00:00:00:{last:02x}"),
            network=st.sampled_from(["bridge:br0", "network:lan", "user"]),
            model=st.sampled_from(["virtio", "e1000"]),
        ),
        unique_by=lambda nic: nic.mac,
        max_size=3,
    ).map(tuple),
)
SAME = {"bridge:br0": "bridge:br0", "network:lan": "network:lan"}


@given(SPECS)
def test_what_is_written_is_read_back_as_the_same_machine(spec: MachineSpec) -> None:
    paths = {disk.key: f"/th/{disk.key}.qcow2" for disk in spec.disks}
    written = new_definition(spec, paths, SAME, domain_type="qemu", serial_path="/th/serial.log")
    found = read_definition(written)
    assert found.spec({disk.key: disk.size_bytes for disk in spec.disks}) == spec
    assert found.is_ours
    assert found.has_agent
    assert found.has_screen
    assert found.serial_path == "/th/serial.log"
    assert [disk.path for disk in found.disks] == list(paths.values())


def test_an_owner_s_definition_follows_and_keeps_its_other_parts() -> None:
    found = read_definition(OWNERS_XML)
    spec = found.spec({disk.key: GIB for disk in found.disks})
    new = DiskSpec(DiskKey("vdd"), GIB)
    nic = NicSpec("52:54:00:aa:bb:03", "lan", "virtio")
    wanted = replace(spec, cpu_count=4, memory_bytes=3 * GIB, disks=(spec.disks[0], new), nics=(spec.nics[0], nic))
    gone = {DiskKey("sdb"), DiskKey("vdc")}
    written = followed_definition(OWNERS_XML, wanted, {}, new_disks={new.key: "/th/vdd.qcow2"}, removed_disks=gone)
    now = read_definition(written)
    assert (now.cpu_count, now.memory_bytes, now.domain_type) == (4, 3 * GIB, "kvm")
    assert [disk.key for disk in now.disks] == ["vda", "vdd"]
    assert [card.mac for card in now.nics] == ["52:54:00:aa:bb:01", nic.mac]
    assert now.other_devices == ("hdc",)
    assert "hostdev" in written
    assert now.serial_path == "/var/log/db.log"
    assert 'state="down"' in written


def plugged(xml: str) -> dict[str, str]:
    return {nic.mac: nic.network for nic in read_definition(xml).nics}


def test_the_cards_of_a_machine_that_we_made_follow_the_mapping_and_keep_their_slot() -> None:
    nics = tuple(NicSpec(f"52:54:00:00:00:0{index}", f"network:{word}") for index, word in enumerate(("lan", "dmz"), 1))
    spec = MachineSpec(MachineId("6e7f4a1c-0000-4000-8000-00000000000a"), "web", 1, GIB, nics=nics)
    first = new_definition(spec, {}, {"network:lan": "bridge:br0"}, domain_type="qemu", serial_path="/s")
    slotted = first.replace('<source bridge="br0" />', '<source bridge="br0" /><address type="pci" slot="0x07" />')
    networks = {"network:lan": "network:inner", "network:dmz": "direct:eth1"}
    written = followed_definition(slotted, spec, networks, new_disks={}, removed_disks=set())
    assert plugged(written) == {nics[0].mac: "network:inner", nics[1].mac: "direct:eth1"}
    assert 'slot="0x07"' in written
    assert "link" not in written
    changed = written.replace('dev="eth1"', 'dev="eth1" mode="private"')
    for mapping in (networks, {}):
        again = followed_definition(changed, spec, mapping, new_disks={}, removed_disks=set())
        assert plugged(again) == plugged(written)
        assert 'mode="private"' in again


def test_the_cards_of_an_owner_s_machine_stay_plugged() -> None:
    spec = read_definition(OWNERS_XML).spec({})
    written = followed_definition(OWNERS_XML, spec, {"bridge:br0": "bridge:br7"}, new_disks={}, removed_disks=set())
    assert plugged(written) == plugged(OWNERS_XML)


def test_a_card_on_no_network_stays_so_when_its_replica_is_described_by_itself() -> None:
    lan = NicSpec("52:54:00:00:00:01", "network:lan")
    spec = MachineSpec(MachineId("6e7f4a1c-0000-4000-8000-00000000000a"), "web", 1, GIB, nics=(lan,))
    made = new_definition(spec, {}, {}, domain_type="qemu", serial_path="/s")
    assert '<link state="down" />' in made
    here = read_definition(made).spec({})  # what a rollback works with, its networks mapped to themselves
    kept = followed_definition(made, here, {"user": "user"}, new_disks={}, removed_disks=set())
    assert '<link state="down" />' in kept
    assert plugged(kept) == {lan.mac: "user"}
    for network in ("user", "bridge:br0"):
        mapped = followed_definition(made, spec, {"network:lan": network}, new_disks={}, removed_disks=set())
        assert plugged(mapped) == {lan.mac: network}
        assert "<link" not in mapped


def test_an_owner_s_read_only_disk_that_a_point_does_not_know_stays() -> None:
    for key, dev in (("vda", "file='/i/db.qcow2'"), ("vdc", "protocol='rbd' name='p/i'")):
        source = f"<source {dev}/>"
        xml = OWNERS_XML.replace(source, f"{source}<readonly/>")
        before = read_definition(xml)
        others = [disk.key for disk in before.disks if disk.key != key]
        point = replace(before.spec({DiskKey("sdb"): GIB}), disks=())
        assert disks_that_go(before, point, is_ours=False) == others
        assert disks_that_go(before, point, is_ours=True) == [disk.key for disk in before.disks]
        gone = set(disks_that_go(before, point, is_ours=before.is_ours))
        written = followed_definition(xml, point, {}, new_disks={}, removed_disks=gone)
        assert [(disk.key, disk.traits.is_read_only) for disk in read_definition(written).disks] == [(key, True)]


def test_a_backup_names_every_disk_each_in_its_own_way() -> None:
    found = read_definition(OWNERS_XML)
    answers = {DiskKey("vda"): TrackerAnswer(bitmap="twinhull-1"), DiskKey("sdb"): TrackerAnswer(reason="raw")}
    xml = backup_xml(found, set(answers), answers, "/s")
    assert "incremental='twinhull-1' exportbitmap='changed'" in xml
    assert "<disk name='sdb' backup='yes' type='file' exportname='sdb' backupmode='full'>" in xml
    assert "<disk name='vdc' backup='no'/>" in xml
    assert "<disk name='hdc' backup='no'/>" in xml
    assert 'file="/s/vda"' in xml
    assert "<disk name='sdb' checkpoint='no'/>" in checkpoint_xml("twinhull-2", DiskKey("vda"), ["sdb"])


@pytest.mark.parametrize(
    ("state", "reason", "is_active", "power"),
    [
        (1, 0, True, PowerState.RUNNING),
        (3, 1, True, PowerState.PAUSED),
        (4, 0, True, PowerState.RUNNING),
        (5, 1, True, PowerState.RUNNING),  # libxl is still tearing it down
        (0, 0, True, PowerState.RUNNING),  # libxl: it does not execute at this very moment
        (6, 0, True, PowerState.PAUSED),  # its QEMU is there and has its disks open
        (5, 1, False, PowerState.OFF),
        (5, 3, False, PowerState.CRASHED),
        (1, 3, False, PowerState.OFF),  # it went off between the two questions
        (99, 0, True, PowerState.RUNNING),
    ],
)
def test_a_machine_is_off_once_it_is_active_no_more(
    state: int,
    reason: int,
    is_active: bool,  # noqa: FBT001 - a parameter of the test
    power: PowerState,
) -> None:
    assert power_of(state, reason, is_active=is_active) is power
