"""Several managers, each with a state directory of its own, that share one record of runs on PostgreSQL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.manager.engine_child import STEPS
from tests.manager.postgres import Postgres
from tests.manager.sharing_child import MACHINES
from tests.manager.test_recovery_by_runs import kill_in, sync
from tests.manager.world import make_setup, second_manager
from tests.record import history_of
from twinhull.manager.catalog.records import RunState
from twinhull.manager.catalog.state import StateDirectory
from twinhull.manager.record.location import DATABASE_VARIABLE
from twinhull.manager.runs.wants import Ears
from twinhull.model.errors import MachineBusy

_ROOT = Path(__file__).parents[2]


def begin(tmp_path: Path, url: str, order: str, fault: str = "") -> subprocess.Popen[bytes]:
    words = [
        sys.executable,
        "-m",
        "tests.manager.sharing_child",
        str(tmp_path / order),
        str(tmp_path / "work"),
        order,
        fault,
    ]
    environment = {**os.environ, DATABASE_VARIABLE: url}
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=_ROOT, env=environment)


def test_two_processes_on_two_state_directories_share_the_work_and_one_finishes_what_the_other_left(
    tmp_path: Path, postgres_server: Postgres
) -> None:
    url = postgres_server.database()
    (tmp_path / "work").mkdir()
    doomed = begin(tmp_path, url, "forward", f"die:{MACHINES[1]}:write")
    other = begin(tmp_path, url, "backward", f"after:{MACHINES[1]}")
    ended = [process.communicate(timeout=120) for process in (doomed, other)]
    assert [process.returncode for process in (doomed, other)] == [-signal.SIGKILL, 0], ended
    with history_of(StateDirectory(tmp_path / "backward")) as history:  # it remembers which database it uses
        runs = history.runs()
    assert sorted(run.machine_id for run in runs) == sorted(MACHINES), "one run for each machine"
    assert {run.state for run in runs} == {RunState.DONE}
    assert {run.origin for run in runs} == {str(doomed.pid), str(other.pid)}
    for machine in MACHINES:
        log = (tmp_path / "work" / machine / "log").read_text().splitlines()
        repeated = ["do write"] if machine == MACHINES[1] else []
        assert sorted(log) == sorted([*(f"do {step}" for step in STEPS), *repeated])


def test_a_second_manager_sees_waits_for_and_finishes_the_runs_of_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres_server: Postgres
) -> None:
    environment = {DATABASE_VARIABLE: postgres_server.database()}
    first = make_setup(tmp_path, monkeypatch, environment=environment)
    second = second_manager(first, tmp_path)
    assert second.state.path != first.state.path
    run_id = kill_in(first, sync, "replica", ticks_later=3)
    heard: list[str] = []
    with second.manager() as manager:
        (left,) = manager.history.unfinished_runs()
        assert (left.run_id, manager.is_at_work(left)) == (run_id, False)
        with first.manager() as busy:
            claim = busy.claims.try_take(f"machine-{left.machine_id}", "failover f1 by the other manager")
            assert claim
            assert not manager.is_at_work(replace(left, state=RunState.STOPPED))
            assert manager.is_at_work(left)
            with pytest.raises(MachineBusy, match="failover f1 by the other manager"):
                manager.dispatcher.carry_out(sync(manager), Ears(), is_waiting=False)
        assert manager.dispatcher.carry_out(sync(manager), Ears(on_message=heard.append)).state is RunState.DONE
    assert heard[0].startswith(f"Going on with {run_id}")
    with first.manager() as manager:
        assert manager.history.run(run_id).state is RunState.DONE
        assert not manager.history.unfinished_runs()
