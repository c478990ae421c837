"""Hundreds of polls of the status, one at each call on a site, through everything that happens to a machine.

It is never green while the machine runs twice or nowhere, or while no whole replica within the RPO waits; and it is
never red while all is well. What is true is read from the simulated world itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.manager.world import HERE, THERE, Setup, machine_id, make_setup
from twinhull.manager.health.health import Health, Level
from twinhull.manager.manager import Manager
from twinhull.manager.runs.kinds.move import FailoverOptions, want_failback, want_failover
from twinhull.manager.runs.kinds.rollback import want_rollback
from twinhull.manager.runs.kinds.sync import SyncOptions, want_sync
from twinhull.manager.runs.wants import Ears, Want
from twinhull.manager.sites.overview import Lookout, Overview
from twinhull.model.errors import RunUnfinished
from twinhull.model.machine import Role, SiteName
from twinhull.platforms.simulated import Killed

RPO_SECONDS = 100.0
M0 = machine_id(0)


class OneByOne(Lookout):
    """Asks the sites in the thread that polls, which holds the world still; and writes nothing down, to be quick."""

    def look(self, sites: object = None) -> Overview:
        del sites
        return Overview({settings.name: self._ask(settings) for settings in self._catalog.sites()})

    def _remember(self, site: SiteName, machines: object) -> None:
        del site, machines


@dataclass
class Poller:
    """Polls before each call on a site while ``watching``; ``is_alive`` says whether a run of ours is working."""

    setup: Setup
    seen: list[Health] = field(default_factory=list)
    phase: str = ""
    is_calm: bool = False
    is_alive: bool = False
    kill_when: Callable[[], bool] = lambda: False
    _beside: Manager | None = None
    _is_polling: bool = False
    _process: int = 0
    _closing: ExitStack = field(default_factory=ExitStack)

    def on_tick(self, name: str) -> None:
        if self._is_polling or not self.phase or name.endswith("done"):
            return
        self.poll(name)
        if self.kill_when():
            self.setup.world.is_killed = True
            raise Killed(name)

    def poll(self, name: str = "") -> Health:
        self._is_polling = True
        try:
            report = self._manager().status().reports[0]
        finally:
            self._is_polling = False
        told = f"{self.phase} at {name}: {report.verdict}"
        if report.verdict.level is Level.OK:
            assert self._is_well(), told
        if self.is_calm:
            assert report.verdict.level is not Level.CRITICAL, told
        self.seen.append(report.health)
        return report.health

    def _manager(self) -> Manager:
        if self._beside is None or self._process != self.setup.world.process:
            self._closing.close()
            self._beside = self._closing.enter_context(self.setup.manager("beside"))
            self._beside.__dict__["lookout"] = OneByOne(self._beside.catalog, self._beside.pool, self.setup.ports.clock)
            self._process = self.setup.world.process
        return self._beside

    def _is_well(self) -> bool:
        """What must be true whenever it is green."""
        hosts = {name: self.setup.world.host(name) for name in (HERE, THERE)}
        running = [name for name, host in hosts.items() if M0 in host.machines and not host.machines[M0].power.is_off]
        if len(running) != 1 or not all(host.is_reachable for host in hosts.values()):
            return False
        home, away = hosts[running[0]], hosts[THERE if running[0] == HERE else HERE]
        held, twin = home.standings[M0], away.standings[M0]
        epoch = max(held.epoch, twin.epoch)
        is_pair = (held.role, held.epoch, twin.role) == (Role.PRIMARY, epoch, Role.REPLICA)
        return is_pair and (self.is_alive if twin.is_dirty else self._age(str(twin.point_id)) <= RPO_SECONDS)

    def _age(self, point_id: str) -> float:
        points = {point.id: point for point in self._manager().repository.points(M0)}
        found = next(point for name, point in points.items() if name == point_id)
        return (self.setup.world.ports.clock.now() - found.captured_at).total_seconds()

    @contextmanager
    def watching(self, phase: str, *, is_calm: bool) -> Iterator[list[Health]]:
        """The polls of one phase; calm: nothing bad happens in it."""
        self.phase, self.is_calm, self.is_alive = phase, is_calm, True
        first = len(self.seen)
        polled: list[Health] = []
        try:
            yield polled
        finally:
            polled += self.seen[first:]
            self.phase, self.is_calm, self.is_alive = "", False, False

    def close(self) -> None:
        self._closing.close()


@pytest.fixture
def poller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Poller]:
    setup = make_setup(tmp_path, monkeypatch, rpo_seconds=RPO_SECONDS)
    poller = Poller(setup)
    setup.world.on_tick = poller.on_tick
    yield poller
    poller.close()


def carry_out(poller: Poller, make: Callable[[Manager], Want], phase: str, *, is_calm: bool = True) -> list[Health]:
    """One run, polled at each of its calls; returns what was seen, and at the end once more."""
    with poller.setup.manager() as manager:
        want = make(manager)
        with poller.watching(phase, is_calm=is_calm) as polled:
            manager.dispatcher.carry_out(want, Ears())
    return [*polled, poller.poll("the end")]


def sync(manager: Manager) -> Want:
    return want_sync(manager.desk, manager.names.machine("m0"), SyncOptions())


def move(kind: str, *, is_planned: bool = True) -> Callable[[Manager], Want]:
    def make(manager: Manager) -> Want:
        want = {"failover": want_failover, "failback": want_failback}[kind]
        return want(manager.desk, manager.names.machine("m0"), FailoverOptions(is_planned=is_planned))

    return make


def rollback(manager: Manager) -> Want:
    machine = manager.names.machine("m0")
    return want_rollback(manager.desk, machine, "N-1", is_starting=None, is_keeping_present=True)


def kill(poller: Poller, make: Callable[[Manager], Want], phase: str, when: Callable[[], bool]) -> list[Health]:
    """The run's process is killed where the world is so."""
    poller.kill_when = when
    with poller.setup.manager() as manager:
        want = make(manager)
        with poller.watching(phase, is_calm=False) as polled, pytest.raises(RunUnfinished):
            manager.dispatcher.carry_out(want, Ears())
    poller.kill_when = lambda: False
    poller.setup.world.restart()
    return polled


def resume(poller: Poller, phase: str) -> list[Health]:
    with poller.setup.manager() as manager:
        run = manager.history.unfinished_runs()[0]
        with poller.watching(phase, is_calm=False) as polled:
            manager.dispatcher.resume(run, Ears())
    return [*polled, poller.poll("the end")]


def write(poller: Poller, site: SiteName, number: int) -> None:
    poller.setup.world.host(site).machines[M0].write("vda", 4096 * number, f"write {number}".encode())


def is_dirty(poller: Poller, site: SiteName) -> bool:
    held = poller.setup.world.host(site).standings.get(M0)
    return held is not None and held.is_dirty


def test_ordinary_days_are_never_red(poller: Poller) -> None:
    clock = poller.setup.world.ports.clock
    assert poller.poll() is Health.NO_REPLICA
    first = carry_out(poller, sync, "the first sync", is_calm=False)
    assert Health.IN_PROGRESS in first
    assert first[-1] is Health.PROTECTED
    for number in (1, 2):
        write(poller, HERE, number)
        clock.sleep(80)
        seen = carry_out(poller, sync, f"sync {number}")
        assert set(seen) == {Health.PROTECTED, Health.SYNCING}, (
            "an ordinary sync is green from its beginning to its end"
        )
    write(poller, HERE, 4)
    moved = carry_out(poller, move("failover"), "a planned failover")
    assert set(moved) <= {Health.PROTECTED, Health.IN_PROGRESS}
    assert moved[-1] is Health.PROTECTED
    write(poller, THERE, 5)
    clock.sleep(50)
    assert set(carry_out(poller, sync, "a sync homewards")) == {Health.PROTECTED, Health.SYNCING}
    assert set(carry_out(poller, move("failback"), "a failback")) <= {Health.PROTECTED, Health.IN_PROGRESS}
    write(poller, HERE, 6)
    carry_out(poller, sync, "a sync again")
    rolled = carry_out(poller, rollback, "a rollback")
    assert set(rolled) <= {Health.PROTECTED, Health.IN_PROGRESS}
    assert len(poller.seen) >= 200


def test_bad_days_are_never_green(poller: Poller) -> None:
    clock, world = poller.setup.world.ports.clock, poller.setup.world
    carry_out(poller, sync, "the first sync", is_calm=False)
    clock.sleep(RPO_SECONDS + 1)
    assert poller.poll() is Health.RPO_MISSED
    late = carry_out(poller, sync, "a late sync", is_calm=False)
    assert late[-1] is Health.PROTECTED
    assert set(late) <= {Health.RPO_MISSED, Health.PROTECTED, Health.SYNCING}
    assert late.count(Health.RPO_MISSED) > len(late) / 2

    write(poller, HERE, 1)
    kill(poller, sync, "a killed sync", lambda: is_dirty(poller, THERE))
    assert poller.poll() is Health.CANNOT_TAKE_OVER
    assert resume(poller, "the sync is resumed")[-1] is Health.PROTECTED

    stopped = kill(poller, move("failover"), "a killed failover", lambda: world.host(HERE).machines[M0].power.is_off)
    assert set(stopped) <= {Health.PROTECTED, Health.IN_PROGRESS}
    assert poller.poll() is Health.DOWN
    assert resume(poller, "the failover is resumed")[-1] is Health.PROTECTED

    carry_out(poller, move("failback"), "a failback")
    world.host(HERE).isolate()
    assert poller.poll() is Health.UNKNOWN
    taken = carry_out(poller, move("failover", is_planned=False), "an unplanned failover", is_calm=False)
    assert Level.OK not in {health.level for health in taken}
    assert taken[-1] is Health.CANNOT_TAKE_OVER
    world.host(HERE).return_()
    assert poller.poll() is Health.RUNS_TWICE
    home = carry_out(poller, sync, "the sync that stops the stale side", is_calm=False)
    assert home[-1] is Health.PROTECTED

    world.host(THERE).machines[M0].crash()
    assert poller.poll() is Health.DOWN
    carry_out(poller, move("failback", is_planned=False), "an unplanned failback", is_calm=False)
    assert poller.poll() is Health.NO_REPLICA
    carry_out(poller, sync, "and the replica again", is_calm=False)
    assert poller.poll() is Health.PROTECTED
    world.host(THERE).isolate()
    assert poller.poll() is Health.CANNOT_TAKE_OVER
    world.host(THERE).return_()
    assert poller.poll() is Health.PROTECTED
    assert len(poller.seen) >= 200
