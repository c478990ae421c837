"""The real actions, killed in every step of theirs and started again by the same command: they converge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.manager.world import HERE, THERE, Setup, machine_id, make_setup
from twinhull.manager.manager import Manager
from twinhull.manager.orders import FailoverOptions, SyncOptions
from twinhull.manager.records import RunState
from twinhull.manager.wants import Ears, Want
from twinhull.model.errors import RunUnfinished, TwinhullError
from twinhull.model.machine import Role

MACHINE = machine_id(0)


def sync(manager: Manager) -> Want:
    return manager.desk.sync(manager.names.machine("m0"), SyncOptions())


def failover(manager: Manager) -> Want:
    return manager.desk.failover(manager.names.machine("m0"), FailoverOptions(is_planned=True))


def steps_of(setup: Setup, make: Callable[[Manager], Want]) -> list[str]:
    steps: list[str] = []
    with setup.manager() as manager:
        manager.dispatcher.carry_out(make(manager), Ears(on_step=steps.append))
    return steps


def kill_in(setup: Setup, make: Callable[[Manager], Want], step: str, ticks_later: int) -> str:
    """Start it, and die so many calls into that step; returns the run's id."""

    def on_step(name: str) -> None:
        if name == step:
            setup.world.kill_at = len(setup.world.ticks) + ticks_later

    with setup.manager() as manager:
        with pytest.raises(RunUnfinished):
            manager.dispatcher.carry_out(make(manager), Ears(on_step=on_step))
        unfinished = manager.catalog.unfinished_runs(MACHINE)
    setup.world.restart()
    assert [run.state for run in unfinished] == [RunState.RUNNING]
    return unfinished[0].run_id


@pytest.mark.parametrize("step", ["look", "capture", "replica"])
def test_a_sync_that_was_killed_is_finished_by_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    setup = make_setup(tmp_path, monkeypatch)
    run_id = kill_in(setup, sync, step, ticks_later=3)
    heard: list[str] = []
    with setup.manager() as manager:
        run = manager.dispatcher.carry_out(sync(manager), Ears(on_message=heard.append))
        assert heard == [f"Going on with {run_id}, which was left unfinished."]
        assert run.state is RunState.DONE
        assert manager.catalog.run(run_id).state is RunState.DONE
        assert not manager.catalog.unfinished_runs()
        report = manager.status().reports[0]
        assert report.replica
        assert report.replica.standing
        assert report.replica.standing.point_id == run.result["point_id"]
    assert not setup.world.host("here").held


_FAILOVER_STEPS = 8


def test_a_failover_killed_in_each_step_is_the_same_failover_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_setup(tmp_path / "first", monkeypatch)
    with first.manager() as manager:
        manager.dispatcher.carry_out(sync(manager), Ears())
    steps = steps_of(first, failover)
    assert len(steps) >= _FAILOVER_STEPS
    for number, step in enumerate(steps):
        setup = make_setup(tmp_path / str(number), monkeypatch)
        with setup.manager() as manager:
            manager.dispatcher.carry_out(sync(manager), Ears())
        try:
            run_id = kill_in(setup, failover, step, ticks_later=2)
        except TwinhullError as error:  # pragma: no cover - names the step for whoever has to mend it
            raise AssertionError(f"killed in '{step}' it did not stay unfinished") from error
        with setup.manager() as manager:
            run = manager.dispatcher.carry_out(failover(manager), Ears())
            assert run.run_id == run_id, f"killed in '{step}' it began another failover"
            assert not manager.catalog.unfinished_runs()
            report = manager.status().reports[0]
            assert (report.runs_on, report.epoch, report.is_running) == (THERE, 2, True), step
        here = setup.world.host(HERE)
        assert here.machines[MACHINE].power.is_off, step
        assert here.standings[MACHINE].role is not Role.PRIMARY, step
        assert not [held for held in here.held if held.kind != "tracker"], step
