"""A run that goes on after another manager has taken its machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.manager.world import HERE, THERE, Setup, machine_id, make_setup, second_manager
from twinhull.manager.catalog.records import RunState
from twinhull.manager.manager import Manager
from twinhull.manager.runs.kinds.move import FailoverOptions, want_failback, want_failover
from twinhull.manager.runs.kinds.rollback import want_rollback
from twinhull.manager.runs.kinds.sync import SyncOptions, want_sync
from twinhull.manager.runs.wants import Ears, Want
from twinhull.model.errors import RunUnfinished, SiteFull, StaleEpoch
from twinhull.model.machine import PowerState, Role, SiteName
from twinhull.platforms.simulated import SimulatedStandings

MACHINE = machine_id(0)


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    setup = make_setup(tmp_path, monkeypatch)
    with setup.manager() as manager:
        manager.dispatcher.carry_out(sync(manager), Ears())
    return setup


def sync(manager: Manager) -> Want:
    return want_sync(manager.desk, manager.names.machine("m0"), SyncOptions())


def failover(manager: Manager) -> Want:
    return want_failover(manager.desk, manager.names.machine("m0"), FailoverOptions())


def rollback(manager: Manager) -> Want:
    return want_rollback(manager.desk, manager.names.machine("m0"), "N", is_starting=None, is_keeping_present=True)


def kill(setup: Setup, step: str, make: Callable[[Manager], Want]) -> str:
    """A run whose process dies when that step begins; returns the run's id."""

    def on_step(name: str) -> None:
        if name == step:
            setup.world.kill_at = len(setup.world.ticks) + 1

    with setup.manager() as manager:
        want = make(manager)
        with pytest.raises(RunUnfinished):
            manager.dispatcher.carry_out(want, Ears(on_step=on_step))
        run_id = manager.history.runs()[0].run_id
    setup.world.restart()
    return run_id


def take(setup: Setup, tmp_path: Path, site: SiteName) -> None:
    """Another manager starts the machine on that site, while the other site is cut off."""
    second, cut_off = second_manager(setup, tmp_path), setup.world.host(THERE if site == HERE else HERE)
    cut_off.isolate()
    with second.manager() as manager:
        named, options = manager.names.machine(MACHINE), FailoverOptions(is_planned=False)
        move = want_failback if site == HERE else want_failover
        manager.dispatcher.carry_out(move(manager.desk, named, options), Ears())
    cut_off.return_()


def running(setup: Setup) -> list[str]:
    hosts = setup.world.hosts.values()
    return [host.name for host in hosts if host.machines[MACHINE].power is PowerState.RUNNING]


@pytest.mark.parametrize(
    ("step", "make", "taken_on"),
    [
        ("capture the last", failover, HERE),
        ("bring the replica", failover, HERE),
        ("take over", failover, HERE),
        ("start", failover, HERE),
        ("settle the source", failover, HERE),
        ("capture", sync, THERE),
        ("replica", sync, THERE),
        ("put back", rollback, THERE),
        ("start", rollback, THERE),
    ],
)
def test_a_run_whose_machine_was_taken_is_ended_and_starts_nothing(
    setup: Setup, tmp_path: Path, step: str, make: Callable[[Manager], Want], taken_on: SiteName
) -> None:
    left = kill(setup, step, make)
    take(setup, tmp_path, taken_on)
    heard: list[str] = []
    with setup.manager() as manager:
        points = manager.repository.points(MACHINE)
        with pytest.raises(StaleEpoch, match=f"has taken m0, which is in epoch . on {taken_on}: {left}"):
            manager.dispatcher.resume(manager.history.run(left), Ears(on_message=heard.append))
        run = manager.history.run(left)
        assert (run.state, run.error_kind) == (RunState.FAILED, "StaleEpoch")
        assert heard[-1] == run.error
        assert not manager.history.unfinished_runs()
        assert running(setup) == [taken_on]
        assert manager.repository.points(MACHINE) == points
        assert manager.dispatcher.carry_out(sync(manager), Ears()).state is RunState.DONE
        assert running(setup) == [taken_on]
        assert manager.status().reports[0].runs_on == taken_on


def test_the_stale_side_is_fenced_and_the_run_says_so(setup: Setup, tmp_path: Path) -> None:
    left = kill(setup, "start", failover)
    take(setup, tmp_path, HERE)
    with setup.manager() as manager:
        # A new run of the machine goes on with the old one first, and is not held up by it.
        assert manager.dispatcher.carry_out(sync(manager), Ears()).state is RunState.DONE
        assert "there holds epoch 2 of the machine, and the current one is 3" in manager.history.run(left).reasons[0]
    held = setup.world.host(THERE).standings[MACHINE]
    assert (held.role, held.epoch) == (Role.REPLICA, 3)


@pytest.mark.parametrize("is_silent", [True, False])
def test_a_run_goes_on_where_nobody_took_its_machine(setup: Setup, *, is_silent: bool) -> None:
    left = kill(setup, "start", failover)
    if is_silent:
        setup.world.host(HERE).isolate()
    with setup.manager() as manager:
        assert manager.dispatcher.resume(manager.history.run(left), Ears()).state is RunState.DONE
    assert running(setup) == [THERE]


def test_a_look_that_fails_holds_up_no_run(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    left = kill(setup, "start", failover)

    def odd(*_: object) -> None:
        raise ValueError("an odd answer")

    monkeypatch.setattr("twinhull.manager.runs.dispatch.look_before_going_on", odd)
    with setup.manager() as manager:
        run = manager.dispatcher.resume(manager.history.run(left), Ears())
        assert run.state is RunState.DONE
        assert any("could not be looked at before" in reason and "an odd answer" in reason for reason in run.reasons)


def test_a_stale_side_that_cannot_be_fenced_is_not_started_either(
    setup: Setup, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = kill(setup, "start", failover)
    take(setup, tmp_path, HERE)

    def full(*_: object) -> None:
        raise SiteFull("No room on there for what it holds.")

    monkeypatch.setattr(SimulatedStandings, "write", full)
    with setup.manager() as manager:
        with pytest.raises(StaleEpoch):
            manager.dispatcher.resume(manager.history.run(left), Ears())
        assert "No room on there" in manager.history.run(left).reasons[0]
    assert running(setup) == [HERE]


def test_a_run_that_has_not_looked_yet_looks_once(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    left = kill(setup, "look", sync)
    monkeypatch.setattr("twinhull.manager.runs.dispatch.look_before_going_on", lambda *_: pytest.fail("a second look"))
    with setup.manager() as manager:
        assert manager.dispatcher.resume(manager.history.run(left), Ears()).state is RunState.DONE
