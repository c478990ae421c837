"""One run at a time on a machine, stopping by Ctrl-C, and going on with what was left."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Barrier, Event, Thread
from typing import Any

import pytest
from dbos import DBOS

from tests.manager.world import THERE, Setup, machine_id, make_setup
from twinhull.manager.catalog.records import RunState
from twinhull.manager.manager import Manager
from twinhull.manager.record.claims import machine_claim
from twinhull.manager.runs import engine
from twinhull.manager.runs.kinds.collect import want_collect
from twinhull.manager.runs.kinds.move import FailoverOptions, want_failover
from twinhull.manager.runs.kinds.restore import RestoreTarget, want_restore
from twinhull.manager.runs.kinds.sync import SyncOptions, want_sync
from twinhull.manager.runs.kinds.verify import want_verify
from twinhull.manager.runs.wants import Ears, Want
from twinhull.model.errors import MachineBusy, NotFound, RunCancelled, RunUnfinished
from twinhull.model.machine import MachineId, Role, RunId
from twinhull.model.ports import Ports, SystemClock, SystemProcesses, SystemRandomness
from twinhull.repository import Point, Repository, RetentionRules
from twinhull.repository.points.catalog import Catalog as PointCatalog
from twinhull.runs.subject import REPOSITORY

MACHINE = machine_id(0)


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    return make_setup(tmp_path, monkeypatch)


def sync(manager: Manager) -> Want:
    return want_sync(manager.desk, manager.names.machine("m0"), SyncOptions())


def failover(manager: Manager, *, is_planned: bool = True) -> Want:
    return want_failover(manager.desk, manager.names.machine("m0"), FailoverOptions(is_planned=is_planned))


def interrupting(manager: Manager, step: str, busy: MachineId = MACHINE) -> Callable[[str], None]:
    """Ctrl-C when that step begins, which goes on when the main thread has heard it."""

    def on_step(name: str) -> None:
        if name == step:
            deadline = time.monotonic() + 10
            while not is_waited_for():
                assert time.monotonic() < deadline
            os.kill(os.getpid(), signal.SIGINT)
            runs = manager.dispatcher.active.values()
            assert next(run for run in runs if run.run.machine_id == busy).leash.is_cancelled.wait(10)

    return on_step


def is_waited_for() -> bool:
    """Whether the main thread waits for a run by now: before that, Ctrl-C would end the tests."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame and frame.f_code.co_name != "_wait_quietly":
        frame = frame.f_back
    return frame is not None


def test_ctrl_c_undoes_the_run_and_says_so(setup: Setup) -> None:
    heard: list[str] = []
    with setup.manager() as manager:
        ears = Ears(on_step=interrupting(manager, "replica"), on_message=heard.append)
        with pytest.raises(RunCancelled, match="was stopped on demand"):
            manager.dispatcher.carry_out(sync(manager), ears)
        run = manager.history.runs()[0]
        assert run.state is RunState.CANCELLED
        assert heard == [f"Stopping {run.run_id}: what it did is being undone. Ctrl-C again leaves it as it is."]
        assert not manager.dispatcher.active
        assert manager.claims.is_free(machine_claim(MACHINE))
        assert manager.dispatcher.carry_out(sync(manager), Ears()).state is RunState.DONE


def test_a_collection_ends_where_it_is_on_ctrl_c(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    with setup.manager() as manager:
        manager.dispatcher.carry_out(sync(manager), Ears())
        forget_traces = PointCatalog.forget_traces
        monkeypatch.setattr(PointCatalog, "forget_traces", lambda _: pytest.fail("it went on to its end"))
        with pytest.raises(RunCancelled, match="nobody needed"):
            manager.dispatcher.carry_out(want_collect(), Ears(on_step=interrupting(manager, "collect", REPOSITORY.key)))
        assert manager.history.runs()[0].state is RunState.CANCELLED
        monkeypatch.setattr(PointCatalog, "forget_traces", forget_traces)
        assert manager.dispatcher.carry_out(want_collect(), Ears()).state is RunState.DONE


def test_ctrl_c_beyond_the_point_of_no_return_lets_the_run_end(setup: Setup) -> None:
    heard: list[str] = []
    with setup.manager() as manager:
        manager.dispatcher.carry_out(sync(manager), Ears())
        run = manager.dispatcher.carry_out(
            failover(manager), Ears(on_step=interrupting(manager, "start"), on_message=heard.append)
        )
        assert run.state is RunState.DONE
        assert "where the only way is forward" in heard[0]
        assert manager.status().reports[0].runs_on == THERE


def test_a_second_run_waits_for_the_first_with_a_message(setup: Setup) -> None:
    heard: list[str] = []
    with setup.manager() as manager, setup.manager() as other:
        claim = other.claims.try_take(machine_claim(MACHINE), "sync s1 by serve (process 7)")
        assert claim
        with pytest.raises(MachineBusy, match="sync s1 by serve"):
            manager.dispatcher.carry_out(sync(manager), Ears(), is_waiting=False)
        want = sync(manager)
        second = Thread(target=manager.dispatcher.carry_out, args=(want, Ears(on_message=heard.append)))
        second.start()
        while not heard:
            second.join(0.01)
        assert heard == ["m0 is being worked on: sync s1 by serve (process 7). Waiting for it to end (Ctrl-C stops)."]
        assert not manager.history.runs()
        claim.release()
        second.join(30)
        assert manager.history.runs()[0].state is RunState.DONE


@dataclass
class _AtOnce:
    """Two runs of one machine, or of the repository, that are in their first step at the same time."""

    manager: Manager
    meeting: Barrier = field(default_factory=lambda: Barrier(3))
    going_on: Event = field(default_factory=Event)
    ended: dict[int, object] = field(default_factory=dict)

    def begin(self, wants: Sequence[Want]) -> list[Thread]:
        threads = [Thread(target=self._run, args=(number, want)) for number, want in enumerate(wants)]
        for thread in threads:
            thread.start()
        self.meeting.wait(30)
        return threads

    def end(self, threads: Sequence[Thread]) -> list[object]:
        self.going_on.set()
        for thread in threads:
            thread.join(30)
        return [self.ended[number] for number in range(len(threads))]

    def _run(self, number: int, want: Want) -> None:
        try:
            self.ended[number] = self.manager.dispatcher.carry_out(want, Ears(on_step=self._wait)).state
        except Exception as error:  # noqa: BLE001 - whatever it is, the test looks at it
            self.ended[number] = type(error)

    def _wait(self, name: str) -> None:
        if name in ("look", "verify") and not self.going_on.is_set():
            self.meeting.wait(30)
            self.going_on.wait(30)


def _two_restores(manager: Manager, setup: Setup) -> list[Want]:
    machine, point = manager.names.machine("m0"), manager.point("m0:N").id
    targets = [RestoreTarget(path=str(setup.state.path / f"disk{number}.raw")) for number in range(2)]
    return [want_restore(manager.desk, machine, point, target) for target in targets]


def _two_verifications(manager: Manager, _: Setup) -> list[Want]:
    return [want_verify(manager.desk, is_reading=True), want_verify(manager.desk, is_reading=True, sample=0.5)]


def _until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("two", [_two_restores, _two_verifications])
def test_two_runs_of_one_machine_at_once_both_end(setup: Setup, two: Callable[[Manager, Setup], list[Want]]) -> None:
    with setup.manager() as manager:
        manager.dispatcher.carry_out(sync(manager), Ears())
        both = _AtOnce(manager)
        threads = both.begin(two(manager, setup))
        _until(lambda: len(manager.dispatcher.active) == 2)  # a run's first step may begin before its start returns
        assert both.end(threads) == [RunState.DONE, RunState.DONE]
        assert not manager.dispatcher.active


@pytest.mark.parametrize("two", [_two_restores, _two_verifications])
def test_all_runs_of_a_process_are_cancelled_and_those_that_are_about_to_begin(
    setup: Setup, two: Callable[[Manager, Setup], list[Want]]
) -> None:
    with setup.manager() as manager:
        manager.dispatcher.carry_out(sync(manager), Ears())
        both = _AtOnce(manager)
        wants = two(manager, setup)
        threads = both.begin(wants)
        manager.dispatcher.cancel_all()
        assert both.end(threads) == [RunCancelled, RunCancelled]
        with pytest.raises(RunCancelled):
            manager.dispatcher.carry_out(wants[0], Ears(on_step=lambda _: _wait_until_cancelled(manager)))


def _wait_until_cancelled(manager: Manager) -> None:
    deadline = time.monotonic() + 30
    while not manager.dispatcher.active:
        assert time.monotonic() < deadline
    assert next(iter(manager.dispatcher.active.values())).leash.is_cancelled.wait(30)


def test_a_failover_that_stops_is_gone_on_with_by_resume(setup: Setup) -> None:
    with setup.manager() as manager:
        manager.dispatcher.carry_out(sync(manager), Ears())

        def on_step(name: str) -> None:
            if name == "start":
                setup.world.host("there").isolate()

        with pytest.raises(RunUnfinished, match="there does not answer"):
            manager.dispatcher.carry_out(failover(manager), Ears(on_step=on_step))
        run = manager.history.runs()[0]
        assert run.state is RunState.STOPPED
        with pytest.raises(RunUnfinished):
            manager.dispatcher.resume(run, Ears())
        setup.world.host("there").return_()
        assert manager.dispatcher.resume(manager.history.run(run.run_id), Ears()).state is RunState.DONE
        assert manager.status().reports[0].is_running


def test_a_run_that_is_given_up_leaves_things_as_they_are(setup: Setup) -> None:
    with setup.manager() as manager:
        manager.dispatcher.carry_out(sync(manager), Ears())

        def on_step(name: str) -> None:
            if name == "start":
                setup.world.host("there").isolate()

        with pytest.raises(RunUnfinished):
            manager.dispatcher.carry_out(failover(manager), Ears(on_step=on_step))
        setup.world.host("there").return_()
        abandoned = manager.abandon(manager.history.runs()[0])
        assert abandoned.state is RunState.ABANDONED
        assert not manager.history.unfinished_runs()
        assert setup.world.host("there").standings[MACHINE].role is Role.PRIMARY


def test_an_unfinished_sync_does_not_stand_in_the_way_of_an_unplanned_failover(setup: Setup) -> None:
    with setup.manager() as manager:
        manager.dispatcher.carry_out(sync(manager), Ears())

    def on_step(name: str) -> None:
        if name == "capture":
            setup.world.kill_at = len(setup.world.ticks) + 3

    with setup.manager() as manager, pytest.raises(RunUnfinished):
        manager.dispatcher.carry_out(sync(manager), Ears(on_step=on_step))
    setup.world.restart()
    setup.world.host("here").isolate()
    heard: list[str] = []
    with setup.manager() as manager:
        run = manager.dispatcher.carry_out(failover(manager, is_planned=False), Ears(on_message=heard.append))
        assert run.state is RunState.DONE
        assert "ended without success, and was undone: " in heard[1]
        assert manager.status().reports[0].runs_on == THERE


def test_an_engine_that_cannot_say_how_a_run_is_releases_nothing(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, status = Event(), DBOS.get_workflow_status

    def unreadable(run_id: str) -> object:
        if is_ending:
            return status(run_id)
        asked.set()
        raise sqlite3.OperationalError("disk I/O error")

    is_ending: list[bool] = []
    monkeypatch.setattr(DBOS, "get_workflow_status", unreadable)
    monkeypatch.setattr(engine, "_CHECK_SECONDS", 0.05)
    with setup.manager() as manager:

        def on_step(name: str) -> None:
            if name == "replica":
                asked.clear()
                for _ in range(3):
                    assert asked.wait(10), "it is not asked again"
                    asked.clear()
                    assert not manager.claims.is_free(machine_claim(MACHINE))
                is_ending.append(True)

        assert manager.dispatcher.carry_out(sync(manager), Ears(on_step=on_step)).state is RunState.DONE
        assert manager.claims.is_free(machine_claim(MACHINE))


def test_a_machine_without_a_plan_says_how_to_make_one(setup: Setup) -> None:
    with setup.manager() as manager:
        manager.catalog.remove_plan(manager.catalog.plans()[0].name)
        with pytest.raises(NotFound, match="in no plan") as refused:
            manager.dispatcher.carry_out(sync(manager), Ears())
        assert "--machine m0" in refused.value.hint
        assert not manager.history.runs()


def test_nothing_of_a_process_listens(setup: Setup) -> None:
    with setup.manager() as manager:
        manager.dispatcher.carry_out(sync(manager), Ears())
        ours = {path.readlink().name for path in Path("/proc/self/fd").iterdir() if path.is_symlink()}
        listening = [
            line.split()
            for table in ("tcp", "tcp6")
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]
            if line.split()[3] == "0A"
        ]
        assert not [fields for fields in listening if f"socket:[{fields[9]}]" in ours]


def test_unknown_machines_are_told_with_the_sites_that_are_silent(setup: Setup) -> None:
    setup.world.host("there").isolate()
    with setup.manager() as manager:
        with pytest.raises(NotFound, match="no machine 'ghost'") as refused:
            manager.names.machine("ghost")
        assert "there, which does not answer" in refused.value.hint
        assert manager.names.machine(MachineId(MACHINE.upper())).name == "m0"


def restore(manager: Manager, path: Path) -> Want:
    machine = manager.names.machine("m0")
    return want_restore(manager.desk, machine, manager.repository.points(MACHINE)[-1].id, RestoreTarget(path=str(path)))


@pytest.fixture
def real_processes(setup: Setup) -> Setup:
    """Images are made by programs, which take their time from the real clock."""
    setup.ports = Ports(SystemClock(), SystemRandomness(), SystemProcesses())
    return setup


def test_a_restore_waits_for_nobody_and_nobody_for_it(real_processes: Setup, tmp_path: Path) -> None:
    setup = real_processes
    with setup.manager() as manager:
        manager.dispatcher.carry_out(sync(manager), Ears())
        claim = manager.claims.try_take(machine_claim(MACHINE), "failover f1 by serve (process 7)")
        assert claim
        with claim:
            run = manager.dispatcher.carry_out(restore(manager, tmp_path / "disk.raw"), Ears(), is_waiting=False)
        assert run.state is RunState.DONE
        assert (tmp_path / "disk.raw").read_bytes()[:9] == b"machine 0"
        synced = []

        def on_step(name: str) -> None:
            if name == "write":
                synced.append(manager.claims.try_take(machine_claim(MACHINE), "sync s2"))
                assert manager.is_at_work(manager.history.runs()[0])

        manager.dispatcher.carry_out(restore(manager, tmp_path / "second.raw"), Ears(on_step=on_step))
        assert synced != [None]


def test_a_killed_restore_is_gone_on_with_by_the_same_command_and_holds_up_no_sync(setup: Setup) -> None:
    with setup.manager() as manager:
        manager.dispatcher.carry_out(sync(manager), Ears())

    def want(manager: Manager) -> Want:
        point = manager.repository.points(MACHINE)[0].id
        return want_restore(
            manager.desk, manager.names.machine("m0"), point, RestoreTarget(site=THERE, new_name="again")
        )

    def on_step(name: str) -> None:
        if name == "write":
            setup.world.kill_at = len(setup.world.ticks) + 5

    with setup.manager() as manager, pytest.raises(RunUnfinished):
        manager.dispatcher.carry_out(want(manager), Ears(on_step=on_step))
    setup.world.restart()
    with setup.manager() as manager:
        left = manager.history.unfinished_runs(MACHINE)[0]
        heard: list[str] = []
        assert manager.dispatcher.carry_out(sync(manager), Ears(on_message=heard.append)).state is RunState.DONE
        assert not heard
        run = manager.dispatcher.carry_out(want(manager), Ears())
        assert (run.run_id, run.state) == (left.run_id, RunState.DONE)
        assert not manager.history.unfinished_runs()
        names = [machine.spec.name for machine in setup.world.host("there").machines.values()]
        assert sorted(names) == ["again", "m0"]


def test_the_point_of_a_replica_that_is_left_behind_stays_until_it_follows(setup: Setup) -> None:
    with setup.manager() as manager:
        plan = manager.catalog.plans()[0]
        manager.catalog.remove_plan(plan.name)
        manager.catalog.add_plan(replace(plan, retention=RetentionRules(keep_last=2)))
        named, alone = manager.names.machine("m0"), SyncOptions(is_capture_only=True)
        manager.dispatcher.carry_out(sync(manager), Ears())
        for _ in range(4):
            setup.world.host("here").machines[MACHINE].write("vda", 0, b"once more")
            run = manager.dispatcher.carry_out(want_sync(manager.desk, named, alone), Ears())
        assert [point.sequence for point in manager.repository.points(MACHINE)] == [1, 3, 4, 5]
        assert run.result["removed_points"] == [f"{MACHINE}/00000002"]
        run = manager.dispatcher.carry_out(sync(manager), Ears())
        assert run.result["replica_read_bytes"] == 0
        assert [point.sequence for point in manager.repository.points(MACHINE)] == [4, 5, 6]


def test_a_sync_lists_the_points_of_its_machine_once(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    with setup.manager() as manager:
        manager.dispatcher.carry_out(sync(manager), Ears())
        want = sync(manager)
        request = want.make(RunId("once"))
        listed: list[MachineId] = []
        points = Repository.points

        def listing(repository: Repository, machine_id: MachineId, *others: Any) -> list[Point]:  # noqa: ANN401
            listed.append(machine_id)
            return points(repository, machine_id, *others)

        monkeypatch.setattr(Repository, "points", listing)
        manager.dispatcher.carry_out(replace(want, make=lambda _: request), Ears(), is_waiting=False)
        assert listed == [MACHINE, MACHINE], "once by the run, once by the retention that decides on it"
