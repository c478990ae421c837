"""A run whose undo fails: it stops there, is resumed, given up, or makes way for what is wanted next (ADR 26)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.manager.world import HERE, THERE, Setup, machine_id, make_setup
from twinhull.manager.catalog.records import RunState
from twinhull.manager.manager import Manager
from twinhull.manager.runs.kinds.move import FailoverOptions, want_failover
from twinhull.manager.runs.kinds.sync import SyncOptions, want_sync
from twinhull.manager.runs.wants import Ears, Want
from twinhull.model.errors import RunUnfinished, SiteUnreachable
from twinhull.model.machine import Role
from twinhull.model.ports import Clock

MACHINE = machine_id(0)


def sync(manager: Manager) -> Want:
    return want_sync(manager.desk, manager.names.machine("m0"), SyncOptions())


def failover(manager: Manager, *, is_planned: bool = True) -> Want:
    return want_failover(manager.desk, manager.names.machine("m0"), FailoverOptions(is_planned=is_planned))


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    """A planned failover whose source fell silent once it was stopped: it can neither go on nor be undone."""
    setup = make_setup(tmp_path, monkeypatch)

    def on_step(name: str) -> None:
        if name == "capture the last":
            setup.world.host(HERE).isolate()

    with setup.manager() as manager:
        manager.dispatcher.carry_out(sync(manager), Ears())
        with pytest.raises(RunUnfinished, match="stopped while it was being undone: 'stop the source'") as error:
            manager.dispatcher.carry_out(failover(manager), Ears(on_step=on_step))
        run = manager.history.runs()[0]
        assert run.state is RunState.STOPPED
        assert "had failed: " in run.error
        assert f"twinhull runs resume {run.run_id}" in error.value.hint
        assert f"twinhull runs abandon {run.run_id}" in error.value.hint
    return setup


def is_on(setup: Setup, site: str) -> bool:
    return not setup.world.host(site).machines[MACHINE].power.is_off


def test_resuming_goes_on_undoing_when_the_site_is_back(setup: Setup) -> None:
    setup.world.host(HERE).return_()
    assert not is_on(setup, HERE)
    with setup.manager() as manager:
        run = manager.history.runs()[0]
        steps: list[str] = []
        with pytest.raises(SiteUnreachable):
            manager.dispatcher.resume(run, Ears(on_step=steps.append))
        assert steps == ["undo stop the source"]
        assert manager.history.run(run.run_id).state is RunState.FAILED
        assert is_on(setup, HERE)
        assert setup.world.host(HERE).standings[MACHINE].role is Role.PRIMARY
        assert manager.dispatcher.carry_out(sync(manager), Ears()).state is RunState.DONE


def test_it_can_be_given_up(setup: Setup) -> None:
    with setup.manager() as manager:
        assert manager.abandon(manager.history.runs()[0]).state is RunState.ABANDONED
        assert not manager.history.unfinished_runs()


def test_a_takeover_tries_its_undo_once_and_does_not_wait_for_a_site_that_is_gone(setup: Setup) -> None:
    clock: Clock = setup.ports.clock
    heard: list[str] = []
    with setup.manager() as manager:
        left = manager.history.runs()[0].run_id
        began = clock.monotonic()
        run = manager.dispatcher.carry_out(failover(manager, is_planned=False), Ears(on_message=heard.append))
        assert run.state is RunState.DONE
        assert clock.monotonic() - began < 1, "no pause was made between attempts"
        ended = manager.history.run(left)
        assert (ended.state, ended.error_kind) == (RunState.FAILED, "RunFailed")
        assert ended.reasons[-1] == heard[-1]
        assert "could not be undone and was ended as it stands; the failover starts from that" in heard[-1]
        assert manager.status().reports[0].runs_on == THERE
        assert not manager.history.unfinished_runs()
