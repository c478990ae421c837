"""A manager on a simulated world, without the command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from twinhull.manager.catalog.records import Plan
from twinhull.manager.catalog.state import StateDirectory
from twinhull.manager.manager import Manager
from twinhull.model.machine import DiskKey, DiskSpec, MachineId, MachineSpec, NicSpec, PlanName, SiteName
from twinhull.model.ports import Ports, SystemProcesses, SystemRandomness
from twinhull.model.units import MIB
from twinhull.platforms import simulated
from twinhull.platforms.contract import SiteSettings
from twinhull.platforms.simulated import SimulatedCaptures, SimulatedPlatform, SimulatedSite, SimulatedWorld
from twinhull.repository import KdfCost, Repository, open_store

if TYPE_CHECKING:
    import pytest

HERE, THERE = SiteName("here"), SiteName("there")
PASSPHRASE = "correct horse"  # noqa: S105 - of a repository that lives for one test


def machine_id(number: int) -> MachineId:
    return MachineId(f"{number:08d}-0000-4000-8000-000000000000")


def spec(number: int) -> MachineSpec:
    return MachineSpec(
        machine_id=machine_id(number),
        name=f"m{number}",
        cpu_count=1,
        memory_bytes=256 * MIB,
        disks=(DiskSpec(DiskKey("vda"), 2 * MIB),),
        nics=(NicSpec("52:54:00:00:00:01", "lan"),),
    )


def second_manager(setup: Setup, tmp_path: Path) -> Setup:
    """Another manager of the same plan, sites and repository, which knows nothing of the first one."""
    second = Setup(setup.world, StateDirectory(tmp_path / "second"), setup.ports, setup.environment)
    with setup.manager() as first, second.manager() as manager:
        manager.vault.use(str(tmp_path / "points"), PASSPHRASE, is_keeping=False).close()
        for settings in first.catalog.sites():
            manager.connect(settings)
        for plan in first.catalog.plans():
            manager.catalog.add_plan(plan)
    return second


def with_captures(site: SimulatedSite, kind: type[SimulatedCaptures]) -> SimulatedSite:
    """The site, capturing in another way."""
    site.parts = replace(site.parts, captures=kind(site.connection))
    return site


@dataclass
class Setup:
    """A world with machines on one of two sites, all in one plan."""

    world: SimulatedWorld
    state: StateDirectory
    ports: Ports

    environment: Mapping[str, str] = field(default_factory=lambda: {"TWINHULL_PASSPHRASE": PASSPHRASE})

    @contextmanager
    def manager(self, origin: str = "test") -> Iterator[Manager]:
        with Manager(self.state, self.ports, self.environment, origin=origin) as manager:
            yield manager


def make_setup(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    machine_count: int = 1,
    rpo_seconds: float = 900,
    environment: Mapping[str, str] | None = None,
) -> Setup:
    """``environment`` is what there is beside the passphrase."""
    world = SimulatedWorld(seed=1)
    monkeypatch.setattr(simulated, "PLATFORM", SimulatedPlatform(world))
    ports = Ports(world.ports.clock, SystemRandomness(), SystemProcesses())
    setup = Setup(world, StateDirectory(tmp_path / "state"), ports)
    setup.environment = {**setup.environment, **(environment or {})}
    for number in range(machine_count):
        world.host("here").add_machine(spec(number)).write("vda", 0, f"machine {number}".encode())
    world.host("there")
    points = tmp_path / "points"
    Repository.create(open_store(str(points)), PASSPHRASE, cost=KdfCost(1, 1, 1024)).close()
    with setup.manager() as manager:
        manager.vault.use(str(points), PASSPHRASE, is_keeping=False).close()
        for name in (HERE, THERE):
            manager.connect(SiteSettings(name, "simulated", f"simulated:{name}"))
        machines = tuple(machine_id(number) for number in range(machine_count))
        manager.catalog.add_plan(Plan(PlanName("all"), machines, HERE, THERE, rpo_seconds))
    return setup
