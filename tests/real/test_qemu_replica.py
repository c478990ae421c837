"""A replica on a second real QEMU host: made, brought to a point, started, followed, removed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lab.guests import TinyClient, forward, wait_serial
from lab.qemu_host import QemuHost
from tests.platforms.test_vocabulary import home
from tests.real.conftest import MakeGuest, settings_of
from tests.real.disks import checksum, copy
from twinhull.inspection.naming import keeps_slots, surroundings
from twinhull.manager.health.inside import inspect_machine
from twinhull.model.errors import AlreadyExists, NotFound, NotSupportedHere, SiteError, StillRunning
from twinhull.model.extents import total_bytes
from twinhull.model.hardware import DiskTraits, Hardware
from twinhull.model.machine import BootMode, Consistency, DiskKey, DiskSpec, PointId, PowerState, Role, Standing
from twinhull.model.ports import system_ports
from twinhull.model.units import MIB
from twinhull.platforms.contract import CaptureRequest, ReplicaRequest
from twinhull.platforms.qemu.site import QemuPlatform, QemuSite

pytestmark = pytest.mark.real

VDA = DiskKey("vda")


@pytest.fixture
def other_host(short_directory: Path) -> Iterator[QemuHost]:
    host = QemuHost.start(short_directory / "b")
    yield host
    host.stop()


@pytest.fixture
def other_site(other_host: QemuHost) -> Iterator[QemuSite]:
    site = QemuPlatform().open(settings_of(other_host, other_host.uri, "b"), system_ports())
    yield site
    site.close()


def test_a_replica_brought_forward_by_an_increment_starts_with_what_the_guest_wrote(
    ssh_site: QemuSite, other_site: QemuSite, other_host: QemuHost, make_guest: MakeGuest
) -> None:
    guest = make_guest("twin", has_screen=True)
    client = guest.boot()
    guest.wait_agent(ssh_site)
    first = client.write("first", 2)
    with ssh_site.captures.capture(CaptureRequest(guest.machine_id, "p1")) as capture:
        changes = other_site.replicas.prepare(ReplicaRequest(capture.spec))
        assert changes.is_new
        assert changes.new_disks == (VDA,)
        other_site.standings.write(Standing(guest.machine_id, Role.REPLICA, 1, PointId(f"{guest.machine_id}/00000001")))
        with other_site.disks.writing(guest.machine_id, VDA) as door:
            copy(capture.disks[0].open, door)
        capture.keep_trackers()
    second = client.write("second", 1)
    since = {VDA: str(capture.disks[0].tracker_id)}
    with ssh_site.captures.capture(CaptureRequest(guest.machine_id, "p2", since)) as capture:
        half_way = Standing(
            guest.machine_id, Role.REPLICA, 1, is_dirty=True, applying_point_id=PointId(f"{guest.machine_id}/00000002")
        )
        other_site.standings.write(half_way)
        assert not other_site.replicas.prepare(ReplicaRequest(capture.spec)).new_disks
        with other_site.disks.writing(guest.machine_id, VDA) as door:
            changed = list(capture.disks[0].changed())
            copy(capture.disks[0].open, door, changed)
        other_site.standings.write(Standing(guest.machine_id, Role.REPLICA, 1, PointId(f"{guest.machine_id}/00000002")))
        assert total_bytes(changed) < 8 * MIB
        captured = checksum(capture.disks[0].open)
        capture.keep_trackers()
    with other_site.disks.reading(guest.machine_id, VDA) as door:
        assert checksum(door) == captured
    for site, label, there in ((ssh_site, "look-1", "xen"), (other_site, "look-2", "qemu")):
        status = site.inventory.machine(guest.machine_id)
        around = surroundings(status.spec, here="qemu", there=there, boot_mode=BootMode.PV)
        assert inspect_machine(site, status, label, around, system_ports()) == []
    ssh_site.power.stop(guest.machine_id, 60)
    other_site.standings.write(Standing(guest.machine_id, Role.PRIMARY, 2, PointId(f"{guest.machine_id}/00000002")))
    other_site.power.start(guest.machine_id, 2)
    wait_serial(Path(other_site.settings.options["directory"]) / "replicas" / guest.machine_id / "serial.log")
    assert other_site.screen.screenshot(guest.machine_id).startswith(b"\x89PNG")
    connection = other_host.connect()
    twin = TinyClient(forward(connection.lookupByUUIDString(guest.machine_id)))
    assert (twin.sum("first"), twin.sum("second")) == (first, second)
    connection.close()
    with pytest.raises(StillRunning):
        other_site.replicas.remove(guest.machine_id)
    other_site.power.kill(guest.machine_id)
    other_site.replicas.remove(guest.machine_id)
    other_site.replicas.remove(guest.machine_id)
    assert other_site.standings.read(guest.machine_id) is None
    with pytest.raises(NotFound):
        other_site.inventory.machine(guest.machine_id)
    assert not (Path(other_site.settings.options["directory"]) / "replicas" / guest.machine_id).exists()


def test_a_machine_that_was_here_before_follows_and_keeps_its_other_parts(
    local_site: QemuSite, make_guest: MakeGuest
) -> None:
    guest = make_guest("elder")
    spec = local_site.inventory.machine(guest.machine_id).spec
    grown = DiskSpec(VDA, 160 * MIB)
    added = DiskSpec(DiskKey("vdb"), 32 * MIB)
    wanted = replace(spec, cpu_count=2, memory_bytes=256 * MIB, disks=(grown, added))
    changes = local_site.replicas.prepare(ReplicaRequest(wanted))
    assert (changes.is_new, changes.grown_disks, changes.new_disks) == (False, (VDA,), (added.key,))
    now = local_site.inventory.machine(guest.machine_id).spec
    assert (now.cpu_count, now.memory_bytes) == (2, 256 * MIB)
    assert [(disk.key, disk.size_bytes) for disk in now.disks] == [("vda", 160 * MIB), ("vdb", 32 * MIB)]
    xml = guest.domain.XMLDesc(0)
    assert str(guest.plan.log) in xml
    changes = local_site.replicas.prepare(ReplicaRequest(replace(wanted, disks=(grown,))))
    assert changes.removed_disks == (added.key,)
    local_site.replicas.remove(guest.machine_id)
    assert local_site.power.state(guest.machine_id) is PowerState.OFF, "a machine that we did not make must stay"
    guest.boot()


def test_a_machine_that_is_asleep_resumes_on_the_disks_it_knew_and_boots_on_others(
    local_site: QemuSite, make_guest: MakeGuest
) -> None:
    guest = make_guest("asleep")
    guest.boot().shell("touch /tmp/remembered")
    local_site.standings.write(Standing(guest.machine_id, Role.PRIMARY, 1))
    guest.domain.managedSave()
    assert local_site.power.stop(guest.machine_id, 60)
    with local_site.captures.capture(CaptureRequest(guest.machine_id, "z1")) as capture:
        assert capture.consistency is Consistency.CRASH
        assert "asleep" in capture.reasons[0]
        spec = capture.spec
    local_site.power.start(guest.machine_id, 1)
    assert TinyClient(forward(guest.domain)).shell("ls /tmp").split() == ["remembered"]
    guest.domain.managedSave()
    changes = local_site.replicas.prepare(ReplicaRequest(spec))
    assert "was asleep" in changes.reasons[0]
    local_site.power.start(guest.machine_id, 1)
    assert not guest.wait_up().shell("ls /tmp").strip()
    guest.domain.managedSave()
    local_site.captures.arm_trackers(guest.machine_id, "z2")
    assert not guest.domain.hasManagedSaveImage()
    local_site.standings.remove(guest.machine_id)


def test_what_a_replica_cannot_have_is_said(local_site: QemuSite, make_guest: MakeGuest) -> None:
    guest = make_guest("refused")
    spec = local_site.inventory.machine(guest.machine_id).spec
    with pytest.raises(NotSupportedHere, match="hvm only"):
        local_site.replicas.prepare(ReplicaRequest(spec, boot_mode=BootMode.PV))
    stranger = replace(spec, machine_id=type(guest.machine_id)("11111111-2222-4333-8444-555555555555"))
    with pytest.raises(AlreadyExists):
        local_site.replicas.prepare(ReplicaRequest(stranger))
    assert not (Path(local_site.settings.options["directory"]) / "replicas" / stranger.machine_id).exists()


@pytest.mark.parametrize(("is_uefi", "keeps"), [(True, True), (False, False)], ids=["q35", "pc"])
def test_a_site_tells_whether_a_replica_is_plugged_in_like_its_machine(
    local_site: QemuSite,
    other_site: QemuSite,
    make_guest: MakeGuest,
    is_uefi: bool,  # noqa: FBT001 - a parameter
    keeps: bool,  # noqa: FBT001 - the same
) -> None:
    """The tiny guest has no screen, and its replica has: on the older chipset that moves the card by one slot."""
    machine = local_site.inventory.machine(make_guest("q35" if is_uefi else "pc", is_uefi=is_uefi).machine_id)
    other_site.replicas.prepare(ReplicaRequest(machine.spec))
    replica = other_site.inventory.machine(machine.spec.machine_id)
    assert keeps_slots("card", machine, replica) is keeps
    assert keeps_slots("disk", machine, replica) is keeps


def test_a_network_that_is_mapped_to_nothing_is_said(
    local_site: QemuSite, other_site: QemuSite, make_guest: MakeGuest
) -> None:
    guest = make_guest("netless")
    spec = local_site.inventory.machine(guest.machine_id).spec
    elsewhere = replace(spec, nics=(replace(spec.nics[0], network="bridge:br9"),))
    for _ in range(2):
        lacks = other_site.replicas.prepare(ReplicaRequest(elsewhere)).lacks
        assert any("mapped to no network here" in lack.what for lack in lacks)
    other_site.replicas.remove(guest.machine_id)


@pytest.mark.parametrize("kind", ["bridge", "network"])
def test_a_network_that_is_not_there_is_told_before_the_start_fails_and_the_replica_follows_to_another_network(
    local_site: QemuSite, other_site: QemuSite, make_guest: MakeGuest, kind: str
) -> None:
    guest = make_guest(f"{kind}less")
    spec = local_site.inventory.machine(guest.machine_id).spec
    here = spec.nics[0].network
    other_site.replicas.prepare(ReplicaRequest(spec, {here: f"{kind}:th-none"}))
    other_site.standings.write(Standing(guest.machine_id, Role.PRIMARY, 1))
    assert other_site.power.obstacles(guest.machine_id) == [f"There is no {kind} 'th-none' on b."]
    with pytest.raises(SiteError, match="th-none"):
        other_site.power.start(guest.machine_id, 1)
    other_site.replicas.prepare(ReplicaRequest(spec, {here: "user"}))
    assert other_site.power.obstacles(guest.machine_id) == []
    other_site.power.start(guest.machine_id, 1)
    assert other_site.power.state(guest.machine_id) is PowerState.RUNNING
    other_site.power.kill(guest.machine_id)
    other_site.replicas.remove(guest.machine_id)


def test_a_disk_that_cannot_be_looked_at_stops_a_capture_and_an_image_that_is_gone_is_made_anew(
    local_site: QemuSite, other_site: QemuSite, make_guest: MakeGuest
) -> None:
    guest = make_guest("lacking")
    spec = local_site.inventory.machine(guest.machine_id).spec
    other_site.replicas.prepare(ReplicaRequest(spec))
    image = Path(other_site.settings.options["directory"]) / "replicas" / guest.machine_id / "vda.qcow2"
    image.unlink()
    assert any("cannot be looked at" in warning for warning in other_site.inventory.machine(guest.machine_id).warnings)
    with (
        pytest.raises(SiteError, match="cannot be looked at"),
        other_site.captures.capture(CaptureRequest(guest.machine_id, "g1")),
    ):
        pytest.fail("a capture without a disk must not begin")
    changes = other_site.replicas.prepare(ReplicaRequest(spec))
    assert changes.new_disks == (VDA,)
    assert any("is gone" in reason for reason in changes.reasons)
    other_site.replicas.remove(guest.machine_id)


def test_libvirt_takes_all_that_a_replica_keeps_and_the_replica_follows_when_it_goes(other_site: QemuSite) -> None:
    spec = home()
    spec = replace(spec, disks=tuple(replace(disk, size_bytes=MIB) for disk in spec.disks))
    bare = replace(
        spec,
        name="bare",
        hardware=Hardware(),
        disks=tuple(replace(disk, traits=DiskTraits()) for disk in spec.disks),
    )
    for wanted in (spec, bare, spec):
        other_site.replicas.prepare(ReplicaRequest(wanted, {"bridge:br0": "user"}))
        here = other_site.inventory.machine(spec.machine_id).spec
        assert (here.name, here.disks) == (wanted.name, wanted.disks)
        assert here.hardware == replace(wanted.hardware, unspoken=())
    other_site.replicas.remove(spec.machine_id)
