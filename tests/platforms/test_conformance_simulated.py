from __future__ import annotations

import pytest

from twinhull.model.errors import SiteError
from twinhull.model.machine import SiteName
from twinhull.platforms.conformance.kit import Verdict, run_conformance
from twinhull.platforms.contract import SiteSettings
from twinhull.platforms.simulated import SimulatedMachine, SimulatedPlatform, SimulatedSite, SimulatedWorld
from twinhull.platforms.simulated.handles import CaptureHandle


def opened(world: SimulatedWorld) -> SimulatedSite:
    site = SimulatedPlatform(world).open(SiteSettings(SiteName("a"), "simulated", "simulated:a"), world.ports)
    assert isinstance(site, SimulatedSite)
    return site


def test_the_simulated_site_passes_and_is_left_as_it_was() -> None:
    world = SimulatedWorld()
    checks = run_conformance(opened(world), world.ports)
    assert [(check.name, check.reason) for check in checks if check.verdict is not Verdict.PASSED] == []
    assert len(checks) == 17
    host = world.host("a")
    assert (host.machines, host.standings, host.held) == ({}, {}, [])


BREAKAGES: list[tuple[str, object, str]] = [
    ("standings.write", lambda *_: None, "standing"),
    ("power.obstacles", lambda *_: ["There is no network."], "obstacles"),
    ("power.obstacles", lambda *_: [], "obstacles"),
    ("power.start", lambda *_: None, "guard refuses to start"),
    ("replicas.remove", lambda *_: None, "leave nothing behind"),
    ("captures.arm_trackers", lambda *_: {}, "armed trackers"),
    ("power.kill", lambda *_: None, "switch off"),
]


@pytest.mark.parametrize(("method", "broken", "check_name"), BREAKAGES, ids=[item[0] for item in BREAKAGES])
def test_a_site_that_breaks_the_contract_fails_by_name(
    monkeypatch: pytest.MonkeyPatch, method: str, broken: object, check_name: str
) -> None:
    world = SimulatedWorld()
    site = opened(world)
    part, _, name = method.partition(".")
    monkeypatch.setattr(getattr(site, part), name, broken)
    failed = [check.name for check in run_conformance(site, world.ports) if check.verdict is Verdict.FAILED]
    assert check_name in failed


def test_a_capture_that_holds_other_bytes_fails_wherever_one_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    world = SimulatedWorld()
    monkeypatch.setattr(CaptureHandle, "read", lambda _, __, length_bytes: bytes(length_bytes))
    failed = [check.name for check in run_conformance(opened(world), world.ports) if check.verdict is Verdict.FAILED]
    assert failed == ["capture running", "capture stopped", "track changes", "armed trackers"]


def test_a_machine_is_started_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """On an emulated host a start takes longer than everything else."""
    world, starts = SimulatedWorld(), []
    switch_on = SimulatedMachine.switch_on

    def counted(machine: SimulatedMachine) -> None:
        starts.append(machine)
        switch_on(machine)

    monkeypatch.setattr(SimulatedMachine, "switch_on", counted)
    run_conformance(opened(world), world.ports)
    assert len(starts) == 1


def test_capabilities_are_asked_once_and_may_fail_like_everything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    world, asked = SimulatedWorld(), []

    def fail(_: SimulatedSite) -> None:
        asked.append(1)
        raise SiteError("not now")

    monkeypatch.setattr(SimulatedSite, "capabilities", fail)
    checks = run_conformance(opened(world), world.ports)
    assert asked == [1]
    assert (checks[0].name, checks[0].verdict) == ("capabilities", Verdict.FAILED)
    assert "not now" in checks[0].reason


def test_a_site_that_goes_away_fails_every_check_and_raises_nothing() -> None:
    world = SimulatedWorld()
    site = opened(world)
    world.host("a").crash()
    checks = run_conformance(site, world.ports)
    assert all(check.verdict is Verdict.FAILED and check.reason for check in checks)
