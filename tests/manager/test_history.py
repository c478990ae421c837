"""What lists and decisions read of runs, on both databases."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.record import claims_of, opened, remember
from twinhull.manager.catalog.records import RunRecord, RunState, StepRecord, StepState
from twinhull.manager.catalog.state import StateDirectory
from twinhull.manager.record.database import RunsDatabase
from twinhull.manager.record.history import RunHistory
from twinhull.manager.runs.engine import Engine
from twinhull.model.errors import NotFound, StateError, UsageError
from twinhull.model.machine import MachineId, RunId
from twinhull.model.ports import system_ports

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RUN = RunRecord(
    RunId("sync-1"), "sync", MachineId("a"), "web1", "test", {"x": [1, None]}, RunState.DONE, NOW, NOW, {"found": 1}
)


@pytest.fixture
def database(tmp_path: Path, runs_at: Mapping[str, str]) -> Iterator[RunsDatabase]:
    state = StateDirectory(tmp_path / "state")
    state.make()
    with opened(state, runs_at) as database, claims_of(database) as claims:
        assert RunHistory(database).runs() == (), "before anything was run"
        assert RunHistory(database).unfinished_runs() == ()
        Engine(database, claims, {}, system_ports()).make_tables()
        yield database


def test_a_run_is_read_as_it_was_written(database: RunsDatabase) -> None:
    failed = replace(RUN, state=RunState.FAILED, reasons=("slow",), error_kind="SiteError", error="no", hint="ask")
    for number, state in enumerate(RunState):
        remember(database, replace(failed, run_id=RunId(f"r{number}"), state=state))
    for number, state in enumerate(RunState):
        found = RunHistory(database).run(f"r{number}")
        ended: dict[str, object] = (
            {} if state is not RunState.RUNNING else {"ended_at": None, "result": {}, "error_kind": ""}
        )
        ended |= {"error": "", "hint": ""} if ended else {}
        assert found == replace(failed, run_id=RunId(f"r{number}"), state=state, **ended)  # type: ignore[arg-type]


def test_runs_come_in_the_order_in_which_they_began_whatever_the_clock_said(database: RunsDatabase) -> None:
    for number, year in enumerate((2026, 2030, 2001)):
        state = RunState.DONE if number == 0 else RunState.RUNNING
        remember(database, replace(RUN, run_id=RunId(f"r{number}"), started_at=NOW.replace(year=year), state=state))
    history = RunHistory(database)
    assert [run.run_id for run in history.runs()] == ["r2", "r1", "r0"]
    assert [run.run_id for run in history.runs(last=2)] == ["r2", "r1"]
    assert [run.run_id for run in history.unfinished_runs()] == ["r1", "r2"]


def test_a_run_is_found_by_how_it_begins_if_it_alone_does(database: RunsDatabase) -> None:
    for name in ("sync-1", "sync-12", "failover-1"):
        remember(database, replace(RUN, run_id=RunId(name)))
    history = RunHistory(database)
    assert history.run("fail").run_id == "failover-1"
    assert history.run("sync-1").run_id == "sync-1"
    with pytest.raises(UsageError, match="Several runs begin with 'sync'"):
        history.run("sync")
    for name in ("%", "sync_1", "failover-2"):
        with pytest.raises(NotFound):
            history.run(name)


def test_the_latest_that_ended_well_is_found_behind_many_others(database: RunsDatabase) -> None:
    remember(database, RUN)
    for number in range(40):
        remember(database, replace(RUN, run_id=RunId(f"f{number}"), state=RunState.FAILED))
    remember(database, replace(RUN, run_id=RunId("other"), kind="verify"))
    remember(database, replace(RUN, run_id=RunId("elsewhere"), machine_id=MachineId("b")))
    history = RunHistory(database)
    assert history.latest_done(MachineId("a"), "sync") == RUN
    assert history.done(MachineId("a"), "sync", last=9) == (RUN,)
    assert history.latest_done(MachineId("b"), "verify") is None
    assert [run.run_id for run in history.runs(machine_id=MachineId("b"))] == ["elsewhere"]


def test_steps_are_read_with_their_times(database: RunsDatabase) -> None:
    steps = (
        StepRecord(0, "look", is_undo=False, state=StepState.DONE, started_at=NOW, seconds=0.5, attempt_count=3),
        StepRecord(0, "look", is_undo=True, state=StepState.FAILED, started_at=NOW, seconds=1.0, error="no"),
    )
    remember(database, RUN, steps)
    assert RunHistory(database).steps(RUN.run_id) == steps
    assert RunHistory(database).steps(RunId("sync-2")) == ()


def test_a_database_that_does_not_answer_is_named_without_its_password(database: RunsDatabase, tmp_path: Path) -> None:
    wrong = "/nowhere" if database.is_shared else str(tmp_path)
    url = database.url.set(query={"host": wrong}) if database.is_shared else database.url.set(database=wrong)
    with pytest.raises(StateError, match="does not work") as refused:
        RunHistory(RunsDatabase(url)).runs()
    assert "secret-word" not in str(refused.value)
    assert database.url.render_as_string() == str(database.url)
