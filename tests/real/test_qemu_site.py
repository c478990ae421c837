"""A QEMU site: what it says of its machines, its power switch, its guard, the conformance kit."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import libvirt
import pytest

from lab.guests import GuestDisk
from lab.images import TinyImage
from lab.qemu_host import QEMU_CONF, QemuHost
from tests.real.conftest import MakeGuest, settings_of
from twinhull.model.errors import (
    HostKeyChanged,
    NotFound,
    NotSupportedHere,
    ReplicaDirty,
    SiteError,
    SiteInUse,
    SiteUnreachable,
    StaleEpoch,
)
from twinhull.model.machine import MachineId, PointId, PowerState, Role, SiteName, Standing
from twinhull.model.ports import system_ports
from twinhull.model.units import MIB
from twinhull.platforms.conformance.kit import Verdict, run_conformance
from twinhull.platforms.contract import Capability, CaptureRequest, SiteSettings
from twinhull.platforms.guard import guard
from twinhull.platforms.guard.standings import StandingFiles
from twinhull.platforms.qemu import sizes
from twinhull.platforms.qemu.canary import canary_id
from twinhull.platforms.qemu.site import QemuPlatform, QemuSite

pytestmark = pytest.mark.real


def test_the_site_passes_the_conformance_kit(qemu_site: QemuSite) -> None:
    checks = run_conformance(qemu_site, system_ports())
    bad = [check for check in checks if check.verdict is not Verdict.PASSED]
    assert not bad, bad


def test_an_embedded_site_passes_the_conformance_kit_and_says_that_it_has_no_guard(short_directory: Path) -> None:
    root = short_directory / "embed"
    script = (
        "import sys\n"
        "from twinhull.model.machine import SiteName\n"
        "from twinhull.model.ports import system_ports\n"
        "from twinhull.platforms.conformance.kit import Verdict, run_conformance\n"
        "from twinhull.platforms.contract import Capability, SiteSettings\n"
        "from twinhull.platforms.qemu.site import QemuPlatform\n"
        "settings = SiteSettings(SiteName('e'), 'qemu', f'qemu:///embed?root={sys.argv[1]}',\n"
        "    {'directory': sys.argv[1] + '/th', 'accelerator': 'tcg'})\n"
        "site = QemuPlatform().open(settings, system_ports())\n"
        "print('open', flush=True)\n"
        "sys.stdin.readline()\n"
        "support = site.capabilities()[Capability.GUARD]\n"
        "assert not support.is_supported and 'asks no hooks' in support.reason, support\n"
        "bad = [c for c in run_conformance(site, system_ports()) if c.verdict is not Verdict.PASSED]\n"
        "assert not bad, bad\n"
    )
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "qemu.conf").write_text(QEMU_CONF)
    with subprocess.Popen(
        [sys.executable, "-c", script, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout
        assert child.stdout.readline() == b"open\n"
        settings = SiteSettings(SiteName("e"), "qemu", f"qemu:///embed?root={root}", {"directory": f"{root}/th"})
        with pytest.raises(SiteInUse):
            QemuPlatform().open(settings, system_ports())
        _, errors = child.communicate(b"go\n", timeout=300)
    assert child.returncode == 0, errors.decode()


def test_a_machine_is_described_as_it_is(
    qemu_site: QemuSite, make_guest: MakeGuest, qemu_host: QemuHost, tiny: TinyImage
) -> None:
    data = qemu_host.images / "data.raw"
    subprocess.run(["qemu-img", "create", "-q", "-f", "raw", str(data), "64M"], check=True)
    root = qemu_host.images / "described.qcow2"
    guest = make_guest("described", disks=(GuestDisk(root), GuestDisk(data, "raw", "scsi")), cpu_count=2)
    status = qemu_site.inventory.machine(guest.machine_id)
    assert status.power is PowerState.OFF
    assert status.spec.name == "described"
    assert status.spec.cpu_count == 2
    assert status.spec.memory_bytes == 192 * MIB
    assert [(disk.key, disk.size_bytes, disk.bus) for disk in status.spec.disks] == [
        ("vda", 128 * MIB, "virtio"),
        ("sdb", 64 * MIB, "scsi"),
    ]
    assert [(nic.mac, nic.network) for nic in status.spec.nics] == [("52:54:00:7e:11:01", "user")]
    assert status.has_agent
    assert guest.machine_id in [machine.spec.machine_id for machine in qemu_site.inventory.machines()]
    data.unlink()


def test_a_machine_starts_answers_and_stops(qemu_site: QemuSite, make_guest: MakeGuest) -> None:
    guest = make_guest("switched", has_screen=True)
    qemu_site.power.start(guest.machine_id, 1)
    guest.wait_up()
    guest.wait_agent(qemu_site)
    assert qemu_site.power.state(guest.machine_id) is PowerState.RUNNING
    assert "TWINHULL-TINY-READY" in qemu_site.serial_log.read(guest.machine_id, 4096)
    picture = qemu_site.screen.screenshot(guest.machine_id)
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert qemu_site.power.stop(guest.machine_id, 60), "the guest should have shut down by itself"
    assert qemu_site.power.state(guest.machine_id) is PowerState.OFF
    assert qemu_site.power.set_autostart(guest.machine_id, is_on=True) is False
    assert qemu_site.power.set_autostart(guest.machine_id, is_on=False) is True


def test_an_agent_that_hangs_keeps_no_machine_from_being_stopped(local_site: QemuSite, make_guest: MakeGuest) -> None:
    guest = make_guest("unheard")
    client = guest.boot()
    guest.wait_agent(local_site)
    client.shell("kill -STOP $(pidof qemu-ga)")
    started = time.monotonic()
    local_site.power.stop(guest.machine_id, 2)
    assert local_site.power.state(guest.machine_id) is PowerState.OFF
    assert time.monotonic() - started < 20


def test_a_killed_qemu_counts_as_crashed(local_site: QemuSite, make_guest: MakeGuest, qemu_host: QemuHost) -> None:
    guest = make_guest("crashing")
    local_site.power.start(guest.machine_id, 1)
    qemu_host.kill_guest("crashing")
    deadline = time.monotonic() + 20
    while not local_site.power.state(guest.machine_id).is_off:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert local_site.power.state(guest.machine_id) is PowerState.CRASHED


def test_the_guard_refuses_whoever_asks(qemu_site: QemuSite, make_guest: MakeGuest, qemu_host: QemuHost) -> None:
    guest = make_guest("guarded")
    point = PointId(f"{guest.machine_id}/00000001")
    qemu_site.standings.write(Standing(guest.machine_id, Role.REPLICA, 3, point))
    with pytest.raises(StaleEpoch):
        qemu_site.power.start(guest.machine_id, 3)
    with pytest.raises(libvirt.libvirtError, match="must not start here"):
        guest.domain.create()
    qemu_site.standings.write(Standing(guest.machine_id, Role.PRIMARY, 3, point, is_dirty=True))
    with pytest.raises(ReplicaDirty):
        qemu_site.power.start(guest.machine_id, 3)
    with pytest.raises(libvirt.libvirtError, match="must not start here"):
        guest.domain.create()
    qemu_site.standings.write(Standing(guest.machine_id, Role.PRIMARY, 4, point))
    with pytest.raises(StaleEpoch):
        qemu_site.power.start(guest.machine_id, 3)
    with pytest.raises(StaleEpoch):
        qemu_site.standings.write(Standing(guest.machine_id, Role.PRIMARY, 3, point))
    qemu_site.power.start(guest.machine_id, 4)
    assert qemu_site.power.state(guest.machine_id) is PowerState.RUNNING
    qemu_site.power.kill(guest.machine_id)
    qemu_site.power.kill(guest.machine_id)
    qemu_site.standings.remove(guest.machine_id)
    assert qemu_site.capabilities()[Capability.GUARD].is_supported


def test_two_sites_on_one_host_are_both_guarded(
    local_site: QemuSite, make_guest: MakeGuest, qemu_host: QemuHost
) -> None:
    beside = settings_of(qemu_host, qemu_host.uri, "beside")
    beside = replace(beside, options={**beside.options, "directory": str(qemu_host.directory / "beside")})
    other = QemuPlatform().open(beside, system_ports())
    try:
        for site in (local_site, other):
            guest = make_guest(f"held-{site.settings.name}")
            site.standings.write(Standing(guest.machine_id, Role.REPLICA, 1))
            with pytest.raises(libvirt.libvirtError, match="must not start here"):
                guest.domain.create()
            site.standings.remove(guest.machine_id)
            assert site.capabilities()[Capability.GUARD].is_supported
        assert other.guard.withdraw() == []
        assert local_site.capabilities()[Capability.GUARD].is_supported
    finally:
        other.close()


def test_two_managers_never_have_one_epoch_both(
    local_site: QemuSite, ssh_site: QemuSite, make_guest: MakeGuest
) -> None:
    guest = make_guest("contended")

    def claim(site: QemuSite, run: str) -> set[int]:
        won = set()
        for epoch in range(2, 22):
            with suppress(StaleEpoch):
                site.standings.write(Standing(guest.machine_id, Role.PRIMARY, epoch, claim=run))
                won.add(epoch)
        return won

    with ThreadPoolExecutor(2) as managers:
        ours = managers.submit(claim, local_site, "run-1")
        theirs = managers.submit(claim, ssh_site, "run-2").result()
    assert ours.result().isdisjoint(theirs)
    assert 21 in ours.result() | theirs
    with pytest.raises(StaleEpoch, match="another run chose the same number"):
        ssh_site.standings.write(Standing(guest.machine_id, Role.PRIMARY, 21, claim="run-3"))
    local_site.standings.remove(guest.machine_id)


def test_a_libvirtd_that_asks_no_hooks_is_found_out(local_site: QemuSite, qemu_host: QemuHost) -> None:
    assert local_site.capabilities()[Capability.GUARD].is_supported
    folder, aside = qemu_host.hooks / "qemu.d", qemu_host.hooks / "aside"
    folder.rename(aside)
    try:
        qemu_host.kill_libvirtd()
        qemu_host.start_libvirtd()
        aside.rename(folder)
        support = local_site.capabilities()[Capability.GUARD]
        assert not support.is_supported
        assert "restart it once" in support.reason
    finally:
        if aside.exists():
            aside.rename(folder)
        qemu_host.kill_libvirtd()
        qemu_host.start_libvirtd()
    assert local_site.capabilities()[Capability.GUARD].is_supported
    assert not [status for status in local_site.inventory.machines() if "canary" in status.spec.name]


def test_what_a_killed_check_of_the_guard_leaves_goes_by_itself_or_with_the_next_one(
    local_site: QemuSite, qemu_host: QemuHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is killed while its canary is up: on a host that asks no hooks, before it takes anything away."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    checker = QemuPlatform().open(settings_of(qemu_host, qemu_host.uri), system_ports())
    hook = Path(guard.path(str(qemu_host.hooks), "qemu", checker.settings.options["directory"]))
    content = hook.read_bytes()
    hook.write_text("#!/bin/sh\n")
    try:
        with monkeypatch.context() as patch:
            patch.setattr(libvirt.virDomain, "destroy", killed)
            patch.setattr(StandingFiles, "remove", lambda *_: None)
            with pytest.raises(KeyboardInterrupt):
                checker.capabilities()
    finally:
        hook.write_bytes(content)
    canary = canary_id(checker._place)
    assert local_site.power.state(canary) is PowerState.PAUSED
    assert local_site.standings.read(canary)
    checker.close()
    deadline = time.monotonic() + 20
    while any(status.spec.machine_id == canary for status in local_site.inventory.machines()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert local_site.capabilities()[Capability.GUARD].is_supported
    assert local_site.standings.read(canary) is None


def test_what_is_not_there_is_said(qemu_site: QemuSite, make_guest: MakeGuest) -> None:
    nobody = MachineId("00000000-0000-4000-8000-000000000000")
    with pytest.raises(NotFound):
        qemu_site.inventory.machine(nobody)
    with pytest.raises(NotFound):
        qemu_site.power.state(nobody)
    guest = make_guest("screenless")
    with pytest.raises(NotSupportedHere, match="no screen"):
        qemu_site.screen.screenshot(guest.machine_id)


def test_a_connection_is_opened_again_when_libvirtd_was_killed(
    qemu_site: QemuSite, make_guest: MakeGuest, qemu_host: QemuHost
) -> None:
    guest = make_guest("staying")
    qemu_site.power.start(guest.machine_id, 1)
    qemu_host.kill_libvirtd()
    qemu_host.start_libvirtd()
    assert qemu_site.power.state(guest.machine_id) is PowerState.RUNNING
    qemu_site.power.kill(guest.machine_id)


def test_a_site_that_is_not_there_is_unreachable(qemu_host: QemuHost) -> None:
    with pytest.raises(SiteUnreachable):
        QemuPlatform().open(settings_of(qemu_host, "qemu+unix:///system?socket=/nowhere/sock"), system_ports())
    assert qemu_host.ssh
    wrong_port = qemu_host.ssh_uri.replace(f":{qemu_host.ssh.port}/", ":1/")
    with pytest.raises(SiteUnreachable):
        QemuPlatform().open(settings_of(qemu_host, wrong_port), system_ports())


def test_a_changed_host_key_is_refused(qemu_host: QemuHost, tmp_path: Path) -> None:
    assert qemu_host.ssh
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True)
    known = tmp_path / "known_hosts"
    key = other.with_suffix(".pub").read_text()
    known.write_text(f"[{qemu_host.ssh.address}]:{qemu_host.ssh.port} {key}")
    uri = qemu_host.ssh_uri.replace(str(qemu_host.ssh.known_hosts), str(known))
    with pytest.raises(HostKeyChanged, match="another host key"):
        QemuPlatform().open(settings_of(qemu_host, uri), system_ports())


def test_a_machine_whose_qemu_hangs_holds_up_no_other_one(
    local_site: QemuSite, make_guest: MakeGuest, qemu_host: QemuHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one does that waits for its storage for ever."""
    monkeypatch.setattr(sizes, "PATIENCE_SECONDS", 3.0)
    stuck, well = make_guest("stuck"), make_guest("well")
    stuck.boot()
    qemu_host.signal_guest("stuck", "STOP")
    try:
        newcomer = QemuPlatform().open(settings_of(qemu_host, qemu_host.uri), system_ports())
        for site in (local_site, local_site, newcomer):
            started = time.monotonic()
            seen = {status.spec.name: status for status in site.inventory.machines()}
            assert time.monotonic() - started < 20  # 3 of them for the sizes; without a bound it took 35 to 100
            assert [disk.size_bytes for disk in seen["well"].spec.disks] == [
                disk.size_bytes for disk in local_site.inventory.machine(well.machine_id).spec.disks
            ]
            assert seen["stuck"].power is PowerState.RUNNING
            assert "its QEMU, or its storage, hangs" in seen["stuck"].warnings[0]
        newcomer.close()
        with pytest.raises(SiteError, match="its QEMU, or its storage, hangs"):
            local_site.captures.capture(CaptureRequest(stuck.machine_id, "cap-1", {})).__enter__()
    finally:
        qemu_host.signal_guest("stuck", "CONT")
    deadline = time.monotonic() + 60
    while local_site.inventory.machine(stuck.machine_id).warnings:
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.parametrize("grace_seconds", [0, 5])
def test_a_machine_whose_qemu_hangs_can_be_switched_off(
    local_site: QemuSite, make_guest: MakeGuest, qemu_host: QemuHost, grace_seconds: int
) -> None:
    name = f"stuck-{grace_seconds}"
    guest = make_guest(name)
    guest.boot()
    qemu_host.signal_guest(name, "STOP")
    started = time.monotonic()
    assert not local_site.power.stop(guest.machine_id, grace_seconds)
    assert local_site.power.state(guest.machine_id) is PowerState.OFF
    assert time.monotonic() - started < grace_seconds + 40
