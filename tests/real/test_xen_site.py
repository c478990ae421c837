"""A Xen site: its host key, its guard, what it says of its machines, the conformance kit."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lab.xen_host import XenHost
from tests.real.xen_fixtures import KEY, MakeXenGuest, xen_settings
from twinhull.model.errors import HostKeyChanged, LoginRefused, NotFound, NotSupportedHere, SiteUnreachable, StaleEpoch
from twinhull.model.machine import BootMode, MachineId, PowerState, Role
from twinhull.model.ports import system_ports
from twinhull.platforms.conformance.kit import Verdict, run_conformance
from twinhull.platforms.contract import Capability, ReplicaRequest, SiteSettings
from twinhull.platforms.xen.site import XenPlatform, XenSite

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]


def test_the_site_passes_the_conformance_kit(xen_site: XenSite) -> None:
    checks = run_conformance(xen_site, system_ports())
    failed = [check for check in checks if check.verdict is Verdict.FAILED]
    assert not failed, failed
    # The kit's machine has an empty disk, so no driver of Xen's: the site says that it cannot capture it as it runs.
    untried = [check for check in checks if check.verdict is Verdict.UNSUPPORTED]
    assert [check.name for check in untried] == ["capture running"]
    assert "has not loaded Xen's disk driver" in untried[0].reason


def test_every_capability_is_named_and_each_missing_one_says_why(xen_site: XenSite) -> None:
    capabilities = xen_site.capabilities()
    assert set(capabilities) == set(Capability)
    assert all(support.reason for support in capabilities.values() if not support.is_supported)


def _with_known_hosts(host: XenHost, known_hosts: Path) -> SiteSettings:
    settings = xen_settings(host)
    uri = settings.uri.replace(str(host.known_hosts_path), str(known_hosts))
    return SiteSettings(settings.name, "xen", uri)


def test_a_changed_host_key_is_an_error_of_its_own(xen_host: XenHost, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True)
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text(f"[127.0.0.1]:{xen_host.ssh_port} {(tmp_path / 'other.pub').read_text()}")
    with pytest.raises(HostKeyChanged, match="another host key than the one that is known"):
        XenPlatform().open(_with_known_hosts(xen_host, known_hosts), system_ports())


def test_an_unknown_host_key_is_not_taken_silently(xen_host: XenHost, tmp_path: Path) -> None:
    known_hosts = tmp_path / "known_hosts"
    known_hosts.write_text("")
    with pytest.raises(HostKeyChanged, match="not known"):
        XenPlatform().open(_with_known_hosts(xen_host, known_hosts), system_ports())


def test_a_key_that_the_host_does_not_accept_is_a_refused_login(xen_host: XenHost, tmp_path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "key")], check=True)
    settings = xen_settings(xen_host)
    uri = settings.uri.replace(str(xen_host.key_path), str(tmp_path / "key"))
    with pytest.raises(LoginRefused):
        XenPlatform().open(SiteSettings(settings.name, "xen", uri), system_ports())


def test_a_host_that_is_not_there_is_unreachable(xen_host: XenHost) -> None:
    settings = xen_settings(xen_host)
    uri = settings.uri.replace(f":{xen_host.ssh_port}/", ":1/")
    with pytest.raises(SiteUnreachable):
        XenPlatform().open(SiteSettings(settings.name, "xen", uri), system_ports())


def test_an_unknown_machine_is_not_found(xen_site: XenSite) -> None:
    with pytest.raises(NotFound):
        xen_site.inventory.machine(MachineId("00000000-0000-4000-8000-000000000000"))


def test_domain_0_is_no_machine(xen_site: XenSite) -> None:
    assert all(status.spec.name != "Domain-0" for status in xen_site.inventory.machines())


def test_a_replica_keeps_its_identity_and_its_disk_keys(make_xen_guest: MakeXenGuest, xen_site: XenSite) -> None:
    guest = make_xen_guest("keeps", BootMode.HVM)
    status = xen_site.inventory.machine(guest.machine_id)
    assert status.power is PowerState.OFF
    assert status.spec.disks == guest.spec.disks
    assert status.spec.nics[0].mac == guest.spec.nics[0].mac
    assert status.spec.nics[0].network == "bridge:xenbr0"
    assert (status.spec.cpu_count, status.spec.memory_bytes) == (1, guest.spec.memory_bytes)
    changed = xen_site.replicas.prepare(ReplicaRequest(guest.spec, {}, BootMode.PV))
    assert "mapped to no bridge" in changed.lacks[0].what
    status = xen_site.inventory.machine(guest.machine_id)
    assert status.spec.boot_mode is BootMode.PV
    assert [disk.key for disk in status.spec.disks] == [KEY]
    assert [nic.mac for nic in status.spec.nics] == [guest.spec.nics[0].mac]


def test_the_guard_stands_at_the_hosts_own_power_switch(
    make_xen_guest: MakeXenGuest, xen_site: XenSite, xen_host: XenHost
) -> None:
    guest = make_xen_guest("guarded")
    for role in (Role.REPLICA, Role.FENCED):
        guest.stand(role)
        with pytest.raises(RuntimeError, match="must not start here"):
            xen_host.run("virsh -c xen:///system start guarded")
        with pytest.raises(StaleEpoch):
            xen_site.power.start(guest.machine_id, 1)
        assert xen_site.power.state(guest.machine_id) is PowerState.OFF


def test_the_guard_starts_nothing_whose_disks_are_being_written(
    make_xen_guest: MakeXenGuest, xen_site: XenSite, xen_host: XenHost
) -> None:
    guest = make_xen_guest("copied")
    guest.stand(Role.PRIMARY)
    with (
        xen_site.disks.writing(guest.machine_id, KEY),
        pytest.raises(RuntimeError, match="are being copied"),
    ):
        xen_host.run("virsh -c xen:///system start copied")
    assert xen_site.power.state(guest.machine_id) is PowerState.OFF


def test_a_screenshot_says_why_there_is_none(make_xen_guest: MakeXenGuest, xen_site: XenSite) -> None:
    guest = make_xen_guest("blind")
    with pytest.raises(NotSupportedHere, match="takes no screenshots"):
        xen_site.screen.screenshot(guest.machine_id)
