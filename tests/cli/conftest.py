"""The command line as a user calls it, in one process with a simulated world behind it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from twinhull.cli.door import Door
from twinhull.cli.main import call
from twinhull.model.machine import DiskKey, DiskSpec, MachineId, MachineSpec, NicSpec
from twinhull.model.ports import Ports, SystemProcesses, SystemRandomness
from twinhull.model.units import MIB
from twinhull.platforms import simulated
from twinhull.platforms.simulated import SimulatedMachine, SimulatedPlatform, SimulatedWorld
from twinhull.repository import KdfCost, Repository, open_store

WEB = MachineId("11111111-1111-4111-8111-111111111111")
DB = MachineId("22222222-2222-4222-8222-222222222222")


@dataclass(frozen=True)
class Answer:
    """What one call printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:  # noqa: ANN401 - whatever was printed
        return json.loads(self.out)


@dataclass
class Shell:
    """Calls ``twinhull`` with a state directory and a world of its own."""

    state: Path
    world: SimulatedWorld
    ports: Ports
    capture: pytest.CaptureFixture[str]

    def __call__(self, *words: str, environment: dict[str, str] | None = None) -> Answer:
        self.capture.readouterr()
        door = Door(ports=self.ports, environment=environment or {})
        code = call(["--state", str(self.state), *words], door)
        printed = self.capture.readouterr()
        return Answer(code, printed.out, printed.err)

    def ok(self, *words: str) -> Answer:
        answer = self(*words)
        assert answer.code == 0, answer
        return answer

    @property
    def web(self) -> SimulatedMachine:
        return self.world.host("here").machines[WEB]


def spec(machine_id: MachineId, name: str) -> MachineSpec:
    return MachineSpec(
        machine_id=machine_id,
        name=name,
        cpu_count=1,
        memory_bytes=256 * MIB,
        disks=(DiskSpec(DiskKey("vda"), 8 * MIB),),
        nics=(NicSpec("52:54:00:00:00:01", "lan"),),
    )


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    world = SimulatedWorld(seed=1)
    monkeypatch.setattr(simulated, "PLATFORM", SimulatedPlatform(world))
    monkeypatch.delenv("TWINHULL_STATE", raising=False)
    ports = Ports(world.ports.clock, SystemRandomness(), SystemProcesses())
    return Shell(tmp_path / "state", world, ports, capsys)


@pytest.fixture
def two_sites(shell: Shell, tmp_path: Path) -> Shell:
    """Two sites, two machines with something on their disks, a repository; no plan yet."""
    for machine_id, name in ((WEB, "web1"), (DB, "db1")):
        machine = shell.world.host("here").add_machine(spec(machine_id, name))
        machine.write("vda", 0, f"hello from {name}".encode())
    shell.world.host("there")
    points, phrase = tmp_path / "points", tmp_path / "phrase"
    Repository.create(open_store(str(points)), "correct horse", cost=KdfCost(1, 1, 1024)).close()
    phrase.write_text("correct horse\n")
    shell.ok("--passphrase-file", str(phrase), "repository", "use", str(points))
    shell.ok("site", "add", "here", "simulated:here")
    shell.ok("site", "add", "there", "simulated:there")
    return shell


@pytest.fixture
def planned(two_sites: Shell) -> Shell:
    """And a plan for both machines."""
    two_sites.ok("plan", "create", "shop", "-m", "db1", "-m", "web1", "--from", "here", "--to", "there", "--rpo", "15m")
    return two_sites
