"""The engine of durable runs, in real processes that are really killed, on SQLite and on PostgreSQL."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from tests.manager import engine_child
from tests.manager.engine_child import MACHINE, RUN, STEPS, UNDO_PAUSES_SECONDS
from twinhull.manager.catalog.records import RunRecord, RunState, StepRecord, StepState
from twinhull.manager.catalog.state import StateDirectory
from twinhull.manager.record.claims import Place
from twinhull.manager.record.database import RunsDatabase
from twinhull.manager.record.history import RunHistory
from twinhull.manager.record.location import locate
from twinhull.model.ports import Ports, SystemClock, SystemProcesses, SystemRandomness

_ROOT = Path(__file__).parents[2]
NO_RETURN = STEPS.index("switch")
ATTEMPTS = len(UNDO_PAUSES_SECONDS) + 1


class Bench:
    def __init__(self, path: Path, environment: Mapping[str, str]) -> None:
        self.environment = environment
        self.state, self.work = path / "state", path / "work"
        self.work.mkdir()

    def run(self, verb: str, kind: str, fault: str = "", **others: Any) -> tuple[int, dict[str, Any]]:  # noqa: ANN401
        """Here, where nothing is killed; the exit code and what was told."""
        told = StringIO()
        with redirect_stdout(told):
            code = engine_child.main(str(self.state), str(self.work), verb, kind, fault, **others)
        return code, json.loads(told.getvalue())

    def die(self, verb: str, kind: str, fault: str) -> None:
        """In a process of its own, which must not survive."""
        process = self.begin(verb, kind, fault)
        output, errors = process.communicate(timeout=60)
        assert (process.returncode, output, errors) == (-signal.SIGKILL, b"", b"")

    def begin(self, verb: str, kind: str, fault: str) -> subprocess.Popen[bytes]:
        """In a process of its own."""
        words = [sys.executable, engine_child.__file__, str(self.state), str(self.work), verb, kind, fault]
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=_ROOT)

    @property
    def log(self) -> list[str]:
        return (self.work / "log").read_text().splitlines()

    @property
    def files(self) -> set[str]:
        return {path.name for path in self.work.iterdir()} - {"log"}

    @contextmanager
    def history(self) -> Iterator[RunHistory]:
        with closing(RunsDatabase(locate(StateDirectory(self.state), self.environment))) as database:
            yield RunHistory(database)

    @property
    def steps(self) -> Sequence[StepRecord]:
        with self.history() as history:
            return history.steps(RUN)

    @property
    def record(self) -> RunRecord:
        with self.history() as history:
            return history.run(RUN)


@pytest.fixture
def bench(tmp_path: Path, runs_at: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Bench:
    for name, value in runs_at.items():
        monkeypatch.setenv(name, value)
    return Bench(tmp_path, runs_at)


@pytest.mark.parametrize("step", STEPS)
def test_killed_in_any_step_it_goes_on_there_and_repeats_nothing_else(bench: Bench, step: str) -> None:
    bench.die("start", "switching", f"die:{step}")
    code, told = bench.run("resume", "switching")
    assert (code, told["state"]) == (0, "done")
    expected = [f"do {name}" for name in STEPS]
    expected.insert(STEPS.index(step), f"do {step}")
    assert bench.log == expected
    assert bench.files == set(STEPS)
    attempts = {record.name: record.attempt_count for record in bench.steps}
    assert attempts == {name: 2 if name == step else 1 for name in STEPS}


@pytest.mark.parametrize("step", STEPS[:NO_RETURN])
def test_failed_before_the_point_of_no_return_it_is_undone(bench: Bench, step: str) -> None:
    code, told = bench.run("start", "switching", f"fail:{step}")
    assert (code, told["state"], told["error"]) == (10, "failed", "SiteError")
    assert told["text"] == f"the site refused at {step}\nHint: ask it again"
    assert bench.files == set()
    done = STEPS[: STEPS.index(step) + 1]
    assert bench.log == [*(f"do {name}" for name in done), *(f"undo {name}" for name in reversed(done))]
    states = [(record.name, record.is_undo, record.state) for record in bench.steps]
    assert (step, False, StepState.FAILED) in states
    assert (STEPS[0], True, StepState.DONE) in states


@pytest.mark.parametrize("step", STEPS[NO_RETURN:])
def test_failed_beyond_the_point_of_no_return_it_stops_and_goes_on(bench: Bench, step: str) -> None:
    code, told = bench.run("start", "switching", f"fail:{step}")
    assert (code, told["state"], told["error"]) == (42, "stopped", "RunUnfinished")
    assert f"twinhull runs resume {RUN}" in told["text"]
    assert not any(line.startswith("undo") for line in bench.log)
    code, told = bench.run("resume", "switching")
    assert (code, told["state"]) == (0, "done")
    assert bench.log.count(f"do {step}") == 2
    assert bench.files == set(STEPS)


@pytest.mark.parametrize("step", STEPS)
def test_killed_while_undoing_it_goes_on_undoing(bench: Bench, step: str) -> None:
    bench.die("start", "plain", f"fail:tidy,die:undo-{step}")
    code, told = bench.run("resume", "plain")
    assert (code, told["state"]) == (10, "failed")
    assert bench.files == set()
    assert bench.log.count("do tidy") == 1
    assert bench.log.count(f"undo {step}") == 2


@pytest.mark.parametrize("step", STEPS)
def test_a_run_whose_undo_fails_stops_there_and_resuming_undoes_the_rest(bench: Bench, step: str) -> None:
    code, told = bench.run("start", "plain", f"fail:tidy,fail:undo-{step}")
    assert (code, told["state"], told["error"]) == (42, "stopped", "RunUnfinished")
    assert f"stopped while it was being undone: '{step}' could not be undone in {ATTEMPTS} attempts" in told["text"]
    assert "because it had failed: the site refused at tidy" in told["text"]
    undone = [line.removeprefix("undo ") for line in bench.log if line.startswith("undo")]
    assert list(dict.fromkeys(undone)) == list(reversed(STEPS[STEPS.index(step) :])), "none before the later ones"
    assert undone.count(step) == ATTEMPTS
    code, told = bench.run("resume", "plain")
    assert (code, told["state"], told["text"]) == (10, "failed", "the site refused at tidy\nHint: ask it again")
    assert bench.files == set()
    assert [line.removeprefix("undo ") for line in bench.log if line.startswith("undo")].count(STEPS[-1]) == (
        ATTEMPTS + 1 if step == STEPS[-1] else 1
    ), "an undo that was done is not done again"


def test_a_run_that_stays_stopped_in_its_undo_says_so_each_time(bench: Bench) -> None:
    for verb in ("start", "resume"):
        code, told = bench.run(verb, "plain", "fail:tidy,fail:undo-write")
        assert (code, told["state"]) == (42, "stopped")
    assert bench.record.state is RunState.STOPPED


@pytest.mark.parametrize("step", STEPS)
def test_an_undo_that_fails_once_goes_well_when_it_is_tried_again(bench: Bench, step: str) -> None:
    code, told = bench.run("start", "plain", f"fail:tidy,once:undo-{step}")
    assert (code, told["state"]) == (10, "failed")
    assert bench.files == set()
    assert bench.log.count(f"undo {step}") == 2
    assert "is tried again" in bench.record.reasons[0]


def test_a_run_that_is_done_is_in_the_record_with_all_that_it_found(bench: Bench) -> None:
    assert bench.run("start", "plain")[0] == 0
    run = bench.record
    assert (run.state, run.machine_id, run.kind, run.origin) == (RunState.DONE, MACHINE, "plain", "test")
    assert run.request == {"greeting": "hello"}
    assert run.result["tidy_was"] == len(STEPS)
    assert run.ended_at
    assert run.ended_at >= run.started_at
    steps = bench.steps
    assert [(step.position, step.name, step.state, step.attempt_count) for step in steps] == [
        (number, name, StepState.DONE, 1) for number, name in enumerate(STEPS)
    ]
    with bench.history() as history:
        assert history.done(MACHINE, "plain", last=5) == (run,)
        assert history.unfinished_runs() == ()


def test_a_run_that_was_killed_shows_the_step_that_it_was_in(bench: Bench) -> None:
    bench.die("start", "plain", "die:write")
    assert [(step.name, step.state) for step in bench.steps] == [("open", StepState.DONE), ("write", StepState.RUNNING)]
    with bench.history() as history:
        assert [run.run_id for run in history.unfinished_runs(MACHINE)] == [RUN]
        assert history.found(RUN) == {"open_was": 1}


def test_killed_twice_in_the_same_step_and_in_the_next_one(bench: Bench) -> None:
    for fault in ("die:write", "die:write", "die:tidy"):
        bench.die("resume" if bench.state.exists() else "start", "switching", fault)
    assert bench.run("resume", "switching")[1]["state"] == "done"
    assert bench.log == ["do open", "do write", "do write", "do write", "do switch", "do tidy", "do tidy"]


class HastyClock(SystemClock):
    """An hour of it is over at once."""

    elapsed_seconds = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.elapsed_seconds

    def sleep(self, seconds: float) -> None:
        self.elapsed_seconds += seconds * 100


@pytest.mark.parametrize("step", ["write", "switch"])
def test_a_process_that_was_paused_while_another_host_took_its_run_over_begins_no_step_more(
    bench: Bench, step: str
) -> None:
    paused = bench.begin("start", "switching", f"pause:{step}")
    deadline = time.monotonic() + 60
    while not (bench.work.parent / "paused").exists():
        assert paused.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    elsewhere = replace(Place.here(), pid_namespace="another host's")
    ports = Ports(HastyClock(), SystemRandomness(), SystemProcesses())
    code, told = bench.run("resume", "switching", place=elsewhere, ports=ports)
    assert (code, told["state"]) == (0, "done")
    before = list(bench.log)
    (bench.work.parent / "go").touch()
    output, errors = paused.communicate(timeout=60)
    said = json.loads(output)
    assert (paused.returncode, said["error"], errors) == (42, "RunUnfinished", b"")
    assert "Another process has taken over" in said["text"]
    assert bench.log == before, "the one that was paused has done no more"
    assert bench.record.state is RunState.DONE
    attempts = {record.name: record.attempt_count for record in bench.steps}
    assert attempts == {name: 2 if name == step else 1 for name in STEPS}
