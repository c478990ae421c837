"""What libvirt's platforms have in common, tried on libvirt's own test driver."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import libvirt
import pytest

from tests.platforms.libvirt_fixtures import CountedSite, xen
from twinhull.actions.patience import PATIENCE_SECONDS
from twinhull.model.errors import DataError, MachineBusy, NotFound, SiteError
from twinhull.model.machine import Consistency, DiskKey, DiskSpec, MachineId, MachineSpec, NicSpec, Role, Standing
from twinhull.model.ports import system_ports
from twinhull.model.units import MIB
from twinhull.platforms.conformance.kit import Verdict, run_conformance
from twinhull.platforms.contract import CaptureRequest, Leftover, ReplicaRequest
from twinhull.platforms.libvirt import finding
from twinhull.platforms.libvirt.definition.domains import ImageFile, read_definition
from twinhull.platforms.libvirt.holding import AWAIT_SECONDS
from twinhull.platforms.libvirt.place import Place
from twinhull.platforms.qemu import canary, sizes

__all__ = ["xen"]

KEY, OTHER = DiskKey("vda"), DiskKey("vdb")
ODD = "<domain type='qemu'><name>odd</name><uuid>11111111-2222-4333-8444-555555555555</uuid></domain>"


@pytest.fixture
def spec() -> MachineSpec:
    machine_id = MachineId(str(uuid.uuid4()))
    disks = (DiskSpec(KEY, 8 * MIB, "scsi"), DiskSpec(OTHER, 4 * MIB))
    nics = (NicSpec("52:54:00:00:00:01", "bridge:nowhere"),)
    return MachineSpec(machine_id, "counted", 1, 64 * MIB, disks=disks, nics=nics)


@pytest.fixture
def replica(xen: CountedSite, spec: MachineSpec) -> MachineSpec:
    """A replica of two disks, made, and nothing counted yet."""
    xen.site.replicas.prepare(ReplicaRequest(spec))
    xen.words()
    return spec


def test_the_site_passes_the_conformance_kit(xen: CountedSite) -> None:
    checks = run_conformance(xen.site, system_ports())
    assert [check for check in checks if check.verdict is Verdict.FAILED] == []
    # Nothing executes, so nothing serves a running machine's disks.
    assert [check.name for check in checks if check.verdict is Verdict.UNSUPPORTED] == ["capture running"]


def test_a_libvirtd_that_could_not_be_reloaded_for_its_first_hook_is_so_at_the_next_connection(
    xen: CountedSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f"""#!/bin/sh
case "$*" in
  "--quiet is-active libvirtd") ;;
  "reload libvirtd") echo reload >>{tmp_path}/said; [ -e {tmp_path}/can ];;
  *) exit 3;;
esac
""")
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    shutil.rmtree(xen.site.settings.options["hooks_directory"])
    for _ in range(2):
        xen.site.prepare()
    (tmp_path / "can").touch()
    for _ in range(2):
        xen.site.prepare()
    assert (tmp_path / "said").read_text().split() == ["reload"] * 3


def test_an_inventory_is_one_command_whatever_the_number_of_machines(xen: CountedSite, replica: MachineSpec) -> None:
    assert xen.site.inventory.machines()
    assert xen.words() == ["twinhull-survey"]
    assert xen.site.inventory.machine(replica.machine_id).spec.disks == replica.disks
    assert xen.words() == ["twinhull-survey"]


def test_what_xen_does_not_know_is_kept(xen: CountedSite, replica: MachineSpec) -> None:
    spec = xen.site.inventory.machine(replica.machine_id).spec
    assert spec.nics == replica.nics
    assert [disk.bus for disk in spec.disks] == ["scsi", "virtio"]


def test_a_replica_that_need_not_change_is_looked_at_once(xen: CountedSite, replica: MachineSpec) -> None:
    made = xen.site.inventory.machine(replica.machine_id).spec
    xen.words()
    changes = xen.site.replicas.prepare(ReplicaRequest(made))
    assert not changes.new_disks
    assert xen.words() == ["twinhull-survey"]


def test_a_disk_is_opened_by_two_commands(xen: CountedSite, replica: MachineSpec) -> None:
    with xen.site.disks.writing(replica.machine_id, KEY) as door:
        door().close()
    assert xen.words() == ["twinhull-hold", "twinhull-nbd"]


def test_what_a_living_capture_has_opened_by_now_is_no_leftover(xen: CountedSite, replica: MachineSpec) -> None:
    """It was looked for before that capture began, and is removed after."""
    with xen.site.captures.capture(CaptureRequest(replica.machine_id, "living")) as capture:
        for key in (KEY, OTHER):
            xen.site.leftovers.clean(Leftover("tracker", f"twinhull-living-{key}", replica.machine_id))
        capture.keep_trackers()
    kept = [str(disk.tracker_id) for disk in capture.disks]
    with xen.site.captures.capture(
        CaptureRequest(replica.machine_id, "next", dict(zip((KEY, OTHER), kept, strict=True)))
    ) as on:
        assert [disk.is_tracked for disk in on.disks] == [True, True]
    assert list(xen.site.leftovers.find(replica.machine_id, kept)) == []


def test_only_a_machine_that_is_off_is_waited_for_before_it_is_switched_off(
    xen: CountedSite, replica: MachineSpec
) -> None:
    """The mark of a start is left where libvirtd ended before the machine ran; a failover does not wait for it."""
    machine_id, place = replica.machine_id, xen.site._place
    xen.site.standings.write(Standing(machine_id, Role.PRIMARY, 1))
    for switch_off in (xen.site.power.kill, lambda machine_id: xen.site.power.stop(machine_id, 0.0)):
        xen.site.power.start(machine_id, 1)
        mark = Path(place.starting_mark(machine_id))
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        mark.write_text(f"{boot} {int(time.clock_gettime(time.CLOCK_BOOTTIME))}\n")
        xen.words()
        switch_off(machine_id)
        assert xen.site.power.state(machine_id).is_off
        assert "twinhull-starting" not in xen.words()
        mark.unlink()
        switch_off(machine_id)
        assert "twinhull-starting" in xen.words()
    assert AWAIT_SECONDS < PATIENCE_SECONDS


def test_two_checks_of_a_site_try_its_canary_one_after_the_other(
    xen: CountedSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = xen.site._place
    monkeypatch.setattr(canary, "OTHER_CHECK_SECONDS", 0.0)
    other = canary._alone(place, canary.canary_id(place))
    with other, pytest.raises(MachineBusy), canary._alone(place, canary.canary_id(place)):
        pytest.fail("the other check has it")
    with canary._alone(place, canary.canary_id(place)):
        pass


def test_a_raw_disk_that_ends_within_a_sector_has_one_size_running_and_off() -> None:
    class Domain:
        def blockInfo(self, _: str) -> list[int]:  # noqa: N802 - libvirt's name
            return [MIB + 100, MIB, MIB]

    disk = ImageFile(KEY, "vda", "/images/raw", "raw", "virtio")
    definition = replace(read_definition(ODD), disks=(disk,))
    assert sizes._sizes(cast("libvirt.virDomain", Domain()), definition) == ({KEY: MIB + 512}, [])


@pytest.mark.parametrize(
    ("state", "milliseconds", "version", "waits"),
    [
        (libvirt.VIR_DOMAIN_CONTROL_OCCUPIED, 60_000, 11_003_000, True),
        (libvirt.VIR_DOMAIN_CONTROL_OCCUPIED, 60_000, 9_000_000, False),  # it describes a machine without its QEMU
        (libvirt.VIR_DOMAIN_CONTROL_OCCUPIED, 40, 11_003_000, False),  # a question that was asked just now
        (libvirt.VIR_DOMAIN_CONTROL_JOB, 60_000, 11_003_000, False),  # a backup lets others ask
        (libvirt.VIR_DOMAIN_CONTROL_OK, 0, 11_003_000, False),
    ],
)
def test_a_machine_is_not_looked_at_where_libvirt_would_wait_for_its_qemu(
    state: int, milliseconds: int, version: int, *, waits: bool
) -> None:
    connection = SimpleNamespace(getLibVersion=lambda: version)
    place = cast("Place", SimpleNamespace(site="a", connection=SimpleNamespace(get=lambda: connection)))
    answers = {"controlInfo": lambda: [state, 0, milliseconds], "name": lambda: "stuck"}  # and no XMLDesc
    domain = cast("libvirt.virDomain", SimpleNamespace(**answers))
    assert finding.would_wait(place, domain) is waits
    for look in (finding.definition_of, finding.stored_xml) if waits else ():
        with pytest.raises(finding.MachineHangs, match="hangs"):
            look(place, domain)


def test_a_stopped_machine_is_captured_by_as_few_commands(xen: CountedSite, replica: MachineSpec) -> None:
    request = CaptureRequest(replica.machine_id, "counted-1")
    with xen.site.captures.capture(request) as capture:
        assert [disk.key for disk in capture.disks] == [KEY, OTHER]
        capture.keep_trackers()
    assert Counter(xen.words()) == Counter(
        {"twinhull-hold": 1, "twinhull-survey": 1, "twinhull-track": 1, "twinhull-nbd": 2, "twinhull-untrack": 1}
    )


def test_leftovers_are_looked_for_by_two_commands(xen: CountedSite, replica: MachineSpec) -> None:
    assert xen.site.leftovers.find(replica.machine_id, ()) == []
    assert xen.words() == ["twinhull-left", "twinhull-info"]


def test_an_image_that_is_gone_is_made_anew_and_one_that_cannot_be_read_is_an_error(
    xen: CountedSite, replica: MachineSpec
) -> None:
    image = xen.directory / "replicas" / replica.machine_id / "vdb.qcow2"
    image.write_bytes(b"no image")
    with pytest.raises(SiteError, match=r"vdb .* cannot be looked at"):
        xen.site.replicas.prepare(ReplicaRequest(replica))
    image.unlink()
    changes = xen.site.replicas.prepare(ReplicaRequest(replica))
    assert changes.new_disks == (OTHER,)
    assert "is gone: the disk is made anew" in changes.reasons[0]


def test_damaged_files_of_one_machine_are_told_of_it_and_hide_no_other(
    xen: CountedSite, replica: MachineSpec, spec: MachineSpec
) -> None:
    other = replace(spec, machine_id=MachineId(str(uuid.uuid4())), name="other")
    xen.site.replicas.prepare(ReplicaRequest(other))
    xen.site.standings.write(Standing(other.machine_id, Role.REPLICA, 1))
    xen.site.standings.write(Standing(replica.machine_id, Role.REPLICA, 1))
    (xen.directory / "standings" / f"{replica.machine_id}.json").write_bytes(b"\0\0made\0\0")
    (xen.directory / "machines" / f"{replica.machine_id}.json").write_bytes(b"{")
    seen = {status.spec.machine_id: status for status in xen.site.inventory.machines()}
    damaged, whole = seen[replica.machine_id], seen[other.machine_id]
    assert damaged.standing == Standing(replica.machine_id, Role.UNREADABLE, 0)
    assert "which Twinhull made, cannot be read" in damaged.warnings[0]
    assert (whole.standing, whole.warnings) == (Standing(other.machine_id, Role.REPLICA, 1), ())
    for refused in (
        lambda: xen.site.power.start(replica.machine_id, 1),
        lambda: xen.site.replicas.prepare(ReplicaRequest(replica)),
        lambda: xen.site.replicas.remove(replica.machine_id),
    ):
        with pytest.raises(DataError, match="cannot be read"):
            refused()
    assert xen.site.power.state(replica.machine_id).is_off


def test_a_bridge_and_an_image_that_are_not_there_are_told_by_one_command(
    xen: CountedSite, replica: MachineSpec
) -> None:
    def plug_into(bridge: str) -> None:
        xen.site.replicas.prepare(ReplicaRequest(replica, {"bridge:nowhere": f"bridge:{bridge}"}))
        xen.words()

    plug_into("nowhere")
    assert xen.site.power.obstacles(replica.machine_id) == ["There is no bridge 'nowhere' on x."]
    assert xen.words() == ["twinhull-missing"]
    plug_into("lo")
    assert xen.site.power.obstacles(replica.machine_id) == []
    image = xen.directory / "replicas" / replica.machine_id / "vdb.qcow2"
    image.unlink()
    assert xen.site.power.obstacles(replica.machine_id) == [f"The disk image {image} is not on x."]
    xen.site.power.start(replica.machine_id, 1)
    xen.site.power.kill(replica.machine_id)


_OWNERS_XML = """
<domain type='test'><name>owner</name><uuid>{uuid}</uuid><memory>65536</memory><os><type>hvm</type></os><devices>
  <disk type='file' device='cdrom'><source file='/nowhere/a.iso' startupPolicy='optional'/><target dev='hdc'/></disk>
  <disk type='block'><source dev='a-resource-of-drbd'/><target dev='vda'/></disk>
  <interface type='network'><source network='default'/></interface>
  <interface type='network'><source network='asleep'/></interface>
  <interface type='network'><source network='gone'/></interface>
  <interface type='direct'><source dev='nowhere0'/></interface>
  <interface type='bridge'><source bridge='xenbr9'/><script path='/etc/xen/scripts/vif-bridge'/></interface>
  <interface type='bridge'><source bridge='ovs0.7'/><script path='vif-openvswitch'/></interface>
</devices></domain>"""


@pytest.fixture
def owners_machine(xen: CountedSite) -> Iterator[MachineId]:
    """A machine that somebody else defined, in networks of which one is active, one is not, and one is not there."""
    assert xen.site.inventory.machines() is not None
    machine_id = str(uuid.uuid4())
    connection = libvirt.open("test:///default")  # the driver has one world for all connections of a process
    network = connection.networkDefineXML("<network><name>asleep</name></network>")
    domain = connection.defineXML(_OWNERS_XML.format(uuid=machine_id))
    yield MachineId(machine_id)
    domain.undefine()
    network.undefine()
    connection.close()


def test_networks_that_are_not_active_are_told(xen: CountedSite, owners_machine: MachineId) -> None:
    assert xen.site.power.obstacles(owners_machine) == [
        "The network 'asleep' of x is not active.",
        "There is no network 'gone' on x.",
        "There is no interface 'nowhere0' on x.",
        "There is no bridge 'xenbr9' on x.",
    ]
    with pytest.raises(NotFound):
        xen.site.power.obstacles(MachineId(str(uuid.uuid4())))


@pytest.fixture
def strict_umask() -> Iterator[None]:
    """A host on which root's files are for root alone."""
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("strict_umask")
def test_another_user_s_qemu_gets_to_its_images_and_nobody_else(xen: CountedSite, spec: MachineSpec) -> None:
    xen.directory.parent.chmod(0o755)
    xen.site.replicas.prepare(ReplicaRequest(spec))
    image = xen.directory / "replicas" / spec.machine_id / "vda.qcow2"
    assert image.stat().st_mode & 0o777 == 0o600  # and it is given to QEMU's user
    with xen.site.disks.writing(spec.machine_id, KEY):
        scratch = [path for path in (xen.directory / "scratch").iterdir() if path.is_dir()]
        assert scratch[0].stat().st_mode & 0o777 == 0o700, "a server of ours works there"
    for path in [image.parent, image.parent.parent, scratch[0].parent, xen.directory]:
        assert path.stat().st_mode & 0o001, f"{path} cannot be passed through"


def test_nothing_is_left_when_the_shell_that_holds_is_ended_with_us(xen: CountedSite, replica: MachineSpec) -> None:
    with xen.site.disks.writing(replica.machine_id, KEY):
        assert [path.suffix for path in sorted((xen.directory / "scratch").iterdir())] == ["", ".label"]
    assert list((xen.directory / "scratch").iterdir()) == []


def test_what_a_killed_shell_leaves_is_found_and_removed(xen: CountedSite, replica: MachineSpec) -> None:
    with xen.site.disks.writing(replica.machine_id, KEY):
        assert xen.site.leftovers.find(replica.machine_id, ()) == []
        _kill_shells(xen)
    found = _leftovers_after_the_shells(xen, replica.machine_id)
    assert [leftover.kind for leftover in found] == ["scratch directory"]
    assert [program.name for program in _programs_of(xen)] == ["qemu-nbd"]  # its shell could not end it
    for leftover in found:
        xen.site.leftovers.clean(leftover)
        xen.site.leftovers.clean(leftover)
    assert list((xen.directory / "scratch").iterdir()) == []
    _wait_until_none(xen)


def test_who_works_on_a_machine_keeps_others_away(xen: CountedSite, replica: MachineSpec) -> None:
    with xen.site.captures.capture(CaptureRequest(replica.machine_id, "first")):
        assert xen.site.leftovers.find(replica.machine_id, ()) == []
        with (
            pytest.raises(MachineBusy, match="is held"),
            xen.site.captures.capture(CaptureRequest(replica.machine_id, "second")),
        ):
            pass
        with pytest.raises(MachineBusy):
            xen.site.captures.arm_trackers(replica.machine_id, "armed")


def _put_to_sleep(xen: CountedSite, machine_id: MachineId) -> libvirt.virDomain:
    xen.site.power.start(machine_id, 1)
    domain = xen.site._connection.get().lookupByUUIDString(machine_id)
    domain.managedSave()
    assert xen.site.power.state(machine_id).is_off
    return domain


def test_a_machine_that_is_asleep_is_captured_as_it_would_be_after_a_power_failure(
    xen: CountedSite, replica: MachineSpec
) -> None:
    with xen.site.captures.capture(CaptureRequest(replica.machine_id, "off")) as capture:
        assert capture.consistency is Consistency.SHUT_DOWN
    domain = _put_to_sleep(xen, replica.machine_id)
    with xen.site.captures.capture(CaptureRequest(replica.machine_id, "asleep")) as capture:
        assert capture.consistency is Consistency.CRASH
        assert "asleep" in capture.reasons[0]
    assert domain.hasManagedSaveImage(), "a capture leaves it as it was"
    xen.site.replicas.remove(replica.machine_id)


def test_saved_memory_goes_with_the_disks_it_knew(xen: CountedSite, replica: MachineSpec) -> None:
    domain = _put_to_sleep(xen, replica.machine_id)
    changes = xen.site.replicas.prepare(ReplicaRequest(replica))
    assert not domain.hasManagedSaveImage()
    assert "was asleep" in changes.reasons[0]
    assert "asleep" not in str(xen.site.replicas.prepare(ReplicaRequest(replica)).reasons)
    domain = _put_to_sleep(xen, replica.machine_id)
    xen.site.captures.arm_trackers(replica.machine_id, "armed")
    assert not domain.hasManagedSaveImage()


@dataclass(frozen=True)
class _Program:
    pid: int
    name: str


def _programs_of(xen: CountedSite) -> list[_Program]:
    """The programs whose command line names the site's directory."""
    found = subprocess.run(["pgrep", "-l", "-f", str(xen.directory)], capture_output=True, check=False, text=True)
    lines = (line.split() for line in found.stdout.splitlines())
    return [_Program(int(pid), name) for pid, name in lines]


def _kill_shells(xen: CountedSite) -> None:
    shells = [program for program in _programs_of(xen) if program.name == "sh"]
    assert len(shells) == 2, shells
    for shell in shells:
        os.kill(shell.pid, signal.SIGKILL)


def _leftovers_after_the_shells(xen: CountedSite, machine_id: MachineId) -> Sequence[Leftover]:
    """What reads a killed shell's pipe holds its lock until it has seen the pipe's end."""
    deadline = time.monotonic() + 30
    while not (found := xen.site.leftovers.find(machine_id, ())):
        assert time.monotonic() < deadline
    return found


def _wait_until_none(xen: CountedSite) -> None:
    deadline = time.monotonic() + 30
    while _programs_of(xen):
        assert time.monotonic() < deadline, _programs_of(xen)
        time.sleep(0.05)
