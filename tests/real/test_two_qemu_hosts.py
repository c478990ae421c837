"""The story on two real QEMU hosts: in step, taken over, brought home, rolled back; the guest says what it has."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.guests import TinyClient, forward
from lab.qemu_host import QemuHost
from tests.real.conftest import Guest, MakeGuest, settings_of
from tests.stepping import Journal, perform
from twinhull.actions.context import Context, OpenSites
from twinhull.actions.requests import FailoverRequest, MachineRequest, ReconcileRequest, RollbackRequest, SyncRequest
from twinhull.manager.runs.kinds.registry import KINDS
from twinhull.model.machine import MachineId, PointId, SiteName
from twinhull.model.ports import system_ports
from twinhull.model.steps import JsonValue
from twinhull.model.units import MIB
from twinhull.platforms.contract import Site
from twinhull.platforms.qemu.site import QemuPlatform
from twinhull.repository import DirectoryStore, KdfCost, Repository

pytestmark = pytest.mark.real

A, B = SiteName("a"), SiteName("b")
Facts = dict[str, JsonValue]


@pytest.fixture
def second_host(short_directory: Path) -> Iterator[QemuHost]:
    host = QemuHost.start(short_directory / "b")
    yield host
    host.stop()


class Plant:
    """Both sites, a repository, and runs with ids of their own."""

    def __init__(self, hosts: dict[SiteName, QemuHost], repository: Repository) -> None:
        self.hosts = hosts
        self._sites = OpenSites(self._open)
        self.context = Context(repository, self._sites, system_ports())
        self._runs = 0

    def _open(self, name: SiteName) -> Site:
        host = self.hosts[name]
        return QemuPlatform().open(settings_of(host, host.uri, name), system_ports())

    def run(
        self, kind: str, make: type[MachineRequest], machine_id: MachineId, *where: object, **more: object
    ) -> Facts:
        self._runs += 1
        request = make(f"real-{self._runs}", machine_id, *where, **more)
        return perform(KINDS.actions[kind], self.context, request.facts(), Journal())

    def sync(self, machine_id: MachineId, source: SiteName, target: SiteName, **more: object) -> Facts:
        return self.run("sync", SyncRequest, machine_id, source, target, **more)

    def wait_up(self, site: SiteName, machine_id: MachineId) -> TinyClient:
        """Wait until the guest's service answers over the site's network."""
        connection = self.hosts[site].connect()
        client = TinyClient(forward(connection.lookupByUUIDString(machine_id)))
        deadline = time.monotonic() + 120
        while True:
            try:
                client.heartbeat()
            except (OSError, RuntimeError, ValueError):
                assert time.monotonic() < deadline, self.context.site(site).serial_log.read(machine_id, 2000)
                time.sleep(0.2)
            else:
                return client

    def close(self) -> None:
        self._sites.close()


@pytest.fixture
def plant(qemu_host: QemuHost, second_host: QemuHost, tmp_path: Path) -> Iterator[Plant]:
    cost = KdfCost(iterations=1, lanes=1, memory_kib=8)
    with Repository.create(DirectoryStore(tmp_path / "repository"), "secret", cost=cost) as repository:
        made = Plant({A: qemu_host, B: second_host}, repository)
        yield made
        made.close()


@pytest.fixture
def guest(make_guest: MakeGuest) -> Guest:
    return make_guest("two-hosts", mac="52:54:00:7e:11:77")


def small(facts: Facts, *keys: str) -> None:
    for key in keys:
        value = facts[key]
        assert isinstance(value, int)
        assert value < 4 * MIB, f"{key} is {value}"


MOVED = ("source_read_bytes", "stored_bytes", "replica_written_bytes")


def test_the_story_on_two_real_hosts(plant: Plant, guest: Guest) -> None:
    machine_id = guest.machine_id
    client = guest.boot()
    guest.wait_agent(plant.context.site(A))  # type: ignore[arg-type]
    client.be_quiet()

    plant.sync(machine_id, A, B, is_verifying=True)
    first = client.write("one", 1)
    facts = plant.sync(machine_id, A, B, is_verifying=True)
    assert facts["consistency"] == "filesystem"
    assert facts["was_full_compare"] is False
    small(facts, *MOVED)

    second = client.write("two", 1)
    facts = plant.run("failover", FailoverRequest, machine_id, A, B, is_verifying=True)
    assert facts["rpo_seconds"] == 0
    client = plant.wait_up(B, machine_id)
    assert (client.sum("one"), client.sum("two")) == (first, second)
    client.be_quiet()

    third = client.write("three", 1)
    facts = plant.run("failback", FailoverRequest, machine_id, B, A, is_verifying=True)
    assert facts["was_full_compare"] is False
    client = plant.wait_up(A, machine_id)
    assert (client.sum("two"), client.sum("three")) == (second, third)

    facts = plant.sync(machine_id, A, B)
    wanted = str(facts["point_id"])
    client.write("four", 1)
    plant.sync(machine_id, A, B)
    plant.hosts[A].kill_guest("two-hosts")
    facts = plant.run("failover", FailoverRequest, machine_id, A, B, is_planned=False)
    client = plant.wait_up(B, machine_id)
    assert client.sum("three") == third

    plant.run("rollback", RollbackRequest, machine_id, B, PointId(wanted), other_sites=(A,))
    client = plant.wait_up(B, machine_id)
    assert client.sum("three") == third
    with pytest.raises(RuntimeError):
        client.sum("four")
    assert plant.run("reconcile", ReconcileRequest, machine_id, (A, B))["corrections"] == []
    facts = plant.run("failback", FailoverRequest, machine_id, B, A, is_verifying=True)
    assert plant.wait_up(A, machine_id).sum("three") == third
    plant.context.site(B).replicas.remove(machine_id)
    plant.context.site(A).standings.remove(machine_id)
