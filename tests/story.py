"""Two simulated sites, a machine that writes, a repository in memory, and what must hold after anything."""

from __future__ import annotations

import copyreg
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from threading import Lock, RLock

from tests.stepping import Journal, perform
from twinhull.actions.context import Context, OpenSites
from twinhull.actions.points_by_name import resolve_point
from twinhull.actions.requests import FailoverRequest, Request, SyncRequest
from twinhull.cluster.epochs import current_epoch
from twinhull.manager.repository.vault import nothing_stored
from twinhull.model.machine import DiskKey, DiskSpec, MachineId, MachineSpec, NicSpec, Role, SiteName
from twinhull.model.steps import Action, JsonValue
from twinhull.model.units import KIB, MIB
from twinhull.platforms.contract import SiteSettings
from twinhull.platforms.simulated import Killed, SimulatedMachine, SimulatedPlatform, SimulatedWorld
from twinhull.replication.bases import CAPTURE
from twinhull.replication.standing import look
from twinhull.replication.sync import SYNC
from twinhull.repository import KdfCost, MemoryStore, ObjectInfo, Point, Repository, Store
from twinhull.repository.store.contract import MAX_READ_BYTES

WEB = MachineId("6f5a3f0e-0000-4000-8000-000000000001")
A, B = SiteName("a"), SiteName("b")
CHUNK_BYTES = 16 * KIB
SECRET = "secret"  # noqa: S105 - the tests' own
CHEAP = KdfCost(iterations=1, lanes=1, memory_kib=8)
DISK_BYTES = 256 * KIB
MAC = "52:54:00:00:00:01"
NETWORKS = {A: {"bridge:br0": "bridge:xenbr0"}, B: {"bridge:xenbr0": "bridge:br0"}}
"""By the site that a machine comes from: what its networks are called on the other one."""


# A copied world has locks of its own.
copyreg.pickle(type(Lock()), lambda _: (Lock, ()))
copyreg.pickle(type(RLock()), lambda _: (RLock, ()))


class TickingStore:
    """A store whose writes are ticks of the world, so that a process can be killed before and after each."""

    def __init__(self, inner: Store, world: SimulatedWorld) -> None:
        self._inner = inner
        self._world = world

    @property
    def url(self) -> str:
        return self._inner.url

    def create(self, name: str, parts: Sequence[bytes]) -> None:
        kind = name.partition("-")[0]
        self._world.tick(f"store create {kind}")
        self._inner.create(name, parts)
        self._world.tick(f"store create {kind} done")

    def read(self, name: str, max_bytes: int = MAX_READ_BYTES) -> bytes:
        return self._inner.read(name, max_bytes)

    def read_range(self, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        return self._inner.read_range(name, offset_bytes, length_bytes)

    def size(self, name: str) -> int:
        return self._inner.size(name)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return self._inner.list(prefix)

    def delete(self, name: str) -> None:
        self._world.tick("store delete")
        self._inner.delete(name)

    def locked_until(self, name: str) -> datetime | None:
        return self._inner.locked_until(name)

    def sweep(self) -> int:
        return self._inner.sweep()


def spec(disk_count: int = 2, name: str = "web") -> MachineSpec:
    disks = tuple(DiskSpec(DiskKey(f"vd{letter}"), DISK_BYTES) for letter in "abcdef"[:disk_count])
    return MachineSpec(WEB, name, 2, 512 * MIB, disks=disks, nics=(NicSpec(MAC, "bridge:br0"),))


@dataclass
class Story:
    """The world and what we have in it."""

    world: SimulatedWorld
    store: MemoryStore
    workers: int = 1
    reasons: list[str] = field(default_factory=list)
    runs: int = 0
    is_repository_away: bool = False
    left_behind: dict[str, bytes] = field(default_factory=dict)
    """What a side held that lost the machine and came back, where a scenario has one."""
    _witness: Repository | None = None

    @classmethod
    def begin(cls, *, disk_count: int = 2, seed: int = 1, is_running: bool = True) -> Story:
        world = SimulatedWorld(seed)
        world.host(A).add_machine(spec(disk_count), is_running=is_running)
        world.host(B).networks = {"bridge:xenbr0"}
        store = MemoryStore()
        Repository.create(store, SECRET, chunk_size_bytes=CHUNK_BYTES, cost=CHEAP, ports=world.ports).close()
        return cls(world, store)

    def copy(self) -> Story:
        """The same world once more, as if it had been made by the same calls in the same order."""
        assert self.world.on_tick is None, "what is arranged would happen in the first one"
        assert not self.world.at, "what is arranged would happen in the first one"
        self._witness = None
        return deepcopy(self)

    def keep_writing(self, site: str = A) -> None:
        """The guest goes on writing while we work: one write at each fifth tick."""

        def write(_: str) -> None:
            machine = self.world.host(site).machines.get(WEB)
            is_writing = machine is not None and machine.power == "running" and not machine.is_frozen
            if machine and is_writing and len(self.world.ticks) % 5 == 0:
                machine.write_some(self.world.ports.randomness, 1)

        self.world.on_tick = write

    def machine(self, site: str = A) -> SimulatedMachine:
        return self.world.host(site).machines[WEB]

    def write(self, count: int = 3, site: str = A) -> None:
        self.machine(site).write_some(self.world.ports.randomness, count)

    def context(self) -> Context:
        """What a fresh process would open."""
        store = TickingStore(self.store, self.world)
        ports = self.world.ports
        repository = nothing_stored(ports) if self.is_repository_away else Repository.open(store, SECRET, ports=ports)
        platform = SimulatedPlatform(self.world)
        sites = OpenSites(
            lambda name: platform.open(SiteSettings(name, "simulated", f"simulated:{name}"), self.world.ports)
        )
        return Context(repository, sites, self.world.ports, on_reason=self.reasons.append, workers=self.workers)

    def run(self, action: Action[Context], request: Request, journal: Journal | None = None) -> dict[str, JsonValue]:
        """Perform an action in the living process."""
        return perform(action, self.context(), request.facts(), journal or Journal())

    def run_id(self) -> str:
        self.runs += 1
        return f"run-{self.runs}"

    def sync_request(self, source: SiteName = A, target: SiteName | None = B, **more: object) -> SyncRequest:
        more = {"networks": NETWORKS[source], **more}
        return SyncRequest(self.run_id(), WEB, source, target, **more)  # type: ignore[arg-type]

    def failover_request(self, source: SiteName, target: SiteName, **more: object) -> FailoverRequest:
        more = {"networks": NETWORKS[source], **more}
        return FailoverRequest(self.run_id(), WEB, source, target, **more)  # type: ignore[arg-type]

    def sync(self, source: SiteName = A, target: SiteName | None = B, **more: object) -> dict[str, JsonValue]:
        return self.run(SYNC, self.sync_request(source, target, **more))

    def witness(self) -> Repository:
        """Another reader of the same store, opened once."""
        if self._witness is None:
            self._witness = Repository.open(self.store, SECRET, ports=self.world.ports)
        return self._witness

    def begin_another_repository(self) -> None:
        """The points are lost; a new repository counts its own from 1."""
        self.store, self._witness = MemoryStore(), None
        Repository.create(self.store, SECRET, chunk_size_bytes=CHUNK_BYTES, cost=CHEAP, ports=self.world.ports).close()

    def points(self) -> list[Point]:
        return self.witness().points(WEB)

    def content(self, point: Point, key: str) -> bytes:
        """What the repository gives back."""
        disk = point.disk(DiskKey(key))
        assert disk
        return self.witness().reader().read(disk.root, 0, disk.root.size_bytes)

    def until_converged(
        self, action: Action[Context], request: Request, journal: Journal
    ) -> dict[str, JsonValue] | None:
        """Start the process again until the run has ended; None where it ended in being taken back."""
        for _ in range(5):
            try:
                return self.run(action, request, journal)
            except Killed:
                self.world.restart()
            except Exception:
                if journal.failure is not None:
                    return None
                raise
        raise AssertionError("the run does not converge")


def made_once(begin: Callable[[], Story]) -> Callable[[], Story]:
    """The same beginning, of which copies are handed out: that is ten times as quick as making it."""
    first = cache(begin)
    return lambda: first().copy()


def check_promises(story: Story, *, may_be_split: bool = False) -> None:
    """Promises 1 to 6, as far as they can be seen from outside."""
    check_points(story)
    check_replicas(story)
    running = [host.name for host in story.world.hosts.values() for m in host.machines.values() if m.power == "running"]
    assert may_be_split or len(running) <= 1, f"the machine runs on {running}"
    for name in running:
        assert story.machine(name).unplugged == set(), f"the machine has lost its network on {name}"


def check_points(story: Story) -> None:
    """Every point is whole and is what the machine's history says."""
    for point in story.points():
        for disk in point.document.disks:
            captured = story.world.captured[str(disk.tracker[CAPTURE])]
            assert story.content(point, disk.key) == captured.content(disk.key), f"{point.id} {disk.key}"


def check_replicas(story: Story) -> None:
    """A replica is off and at exactly one point, or it is dirty and cannot be started."""
    points = {point.id: point for point in story.points()}
    for host in story.world.hosts.values():
        standing, machine = host.standings.get(WEB), host.machines.get(WEB)
        if not standing or not machine or standing.role is Role.PRIMARY:
            continue
        assert not standing.may_start
        if standing.role is Role.REPLICA and not standing.is_dirty:
            assert standing.point_id is not None
            point = points[standing.point_id]
            assert machine.power.is_off
            for disk in point.document.disks:
                assert machine.content(disk.key) == story.content(point, disk.key), f"{host.name} {disk.key}"


def check_as_found(story: Story) -> None:
    """Nothing is held open, nobody is frozen, and only the trackers that the next capture needs are left."""
    for host in story.world.hosts.values():
        assert host.held == []
        for machine in host.machines.values():
            assert not machine.is_frozen
            for trackers in machine.trackers.values():
                assert len(trackers) <= 1


def check_epochs(story: Story) -> None:
    """Exactly one primary of the current epoch."""
    situation = look(story.context(), WEB, [A, B])
    epoch = current_epoch(situation)
    holders = [
        s for s in situation.sides if s.standing and s.standing.role is Role.PRIMARY and s.standing.epoch == epoch
    ]
    assert len(holders) <= 1


def named(points: Sequence[Point], text: str) -> Point:
    """The point of that name."""
    return resolve_point(points, text, datetime(2030, 1, 1, tzinfo=UTC))


Check = Callable[[Story], None]
