"""A look into a machine on its site: whatever fails is a finding, and nothing stays open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from tests.inspection.test_hostile_child import ASKED, OtherProgram
from tests.manager.world import machine_id, spec
from twinhull.inspection import Finding
from twinhull.inspection.naming import surroundings
from twinhull.manager.health.inside import inspect_machine
from twinhull.model.errors import DataError
from twinhull.model.machine import DiskKey, DiskSpec, SiteName
from twinhull.model.ports import Ports, SystemClock, SystemRandomness, system_ports
from twinhull.model.units import MIB
from twinhull.platforms.contract import CaptureRequest, Site, SiteSettings
from twinhull.platforms.simulated import SimulatedPlatform, SimulatedWorld

LVM = bytes(512) + b"LABELONE"


@pytest.fixture
def world() -> SimulatedWorld:
    world = SimulatedWorld(seed=1)
    two = replace(spec(0), disks=(DiskSpec(DiskKey("vda"), 2 * MIB), DiskSpec(DiskKey("vdb"), 2 * MIB)))
    world.host("here").add_machine(two).write("vdb", 0, LVM)
    return world


@contextmanager
def site_of(world: SimulatedWorld) -> Iterator[Site]:
    site = SimulatedPlatform(world).open(SiteSettings(SiteName("here"), "simulated", "simulated:here"), world.ports)
    yield site
    site.close()


def look(site: Site, ports: Ports | None = None) -> list[Finding]:
    status = site.inventory.machine(machine_id(0))
    around = surroundings(status.spec, here="simulated", there="xen")
    return inspect_machine(site, status, "look-1", around, ports or system_ports())


def texts(findings: list[Finding]) -> str:
    return "\n".join(one.finding for one in findings)


@pytest.mark.parametrize("is_off", [False, True])
def test_all_disks_are_looked_into_and_closed_again(world: SimulatedWorld, is_off: bool) -> None:  # noqa: FBT001 - a parameter
    if is_off:
        world.host("here").machines[machine_id(0)].switch_off()
    with site_of(world) as site:
        found = texts(look(site))
    assert "No Linux root file system" in found
    assert "vdb was not inspected completely: it holds LVM." in found
    assert world.host("here").held == []


def test_a_site_that_refuses_is_a_finding(world: SimulatedWorld) -> None:
    with site_of(world) as site, site.captures.capture(CaptureRequest(machine_id(0), "other")):
        (found,) = look(site)
    assert found.finding == "The machine could not be inspected: Another capture of m0 is open on here."
    assert found.remedy == "Wait for it to end."


def test_a_disk_that_cannot_be_opened_is_a_finding_and_the_others_are_looked_into(
    world: SimulatedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = world.host("here").machines[machine_id(0)]
    machine.switch_off()
    with site_of(world) as site:
        whole = site.disks.reading

        def broken(asked: object, key: DiskKey) -> object:
            if key == "vda":
                raise DataError("The image is broken.", hint="Repair it.")
            return whole(machine_id(0), key)

        monkeypatch.setattr(site.disks, "reading", broken)
        found = look(site)
    assert Finding("vda could not be inspected: The image is broken.", "Repair it.") in found
    assert "vdb was not inspected completely: it holds LVM." in texts(found)


def test_a_child_that_dies_is_a_finding_and_the_capture_is_closed(world: SimulatedWorld) -> None:
    ports = Ports(SystemClock(), SystemRandomness(), OtherProgram(ASKED + "os.kill(os.getpid(), 11)"))
    with site_of(world) as site:
        (found,) = look(site, ports)
    assert found.finding == "The disks could not be inspected to the end: it ended before it was done."
    assert world.host("here").held == []
