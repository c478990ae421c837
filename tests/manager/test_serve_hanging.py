"""A repository that hangs holds up no correction of a machine's sides, whenever it begins to hang."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.manager.test_serve import carry_out, serving
from tests.manager.world import HERE, THERE, Setup, machine_id, make_setup
from tests.record import remember
from twinhull.manager.catalog.records import RunState
from twinhull.manager.manager import Manager
from twinhull.manager.runs.kinds.move import FailoverOptions, want_failover
from twinhull.manager.runs.kinds.sync import SyncOptions, want_sync
from twinhull.manager.serve import patient_reads
from twinhull.manager.serve.patient_reads import PatientReads, StillAsking
from twinhull.model.machine import RunId
from twinhull.platforms.simulated import SimulatedHost
from twinhull.repository import DirectoryStore

CALLS = ("create", "read", "read_range", "size", "list", "delete")
SOON_SECONDS = 30.0
"""Far less than the minute for which one call of a hanging store is waited for."""


class Hanging:
    """A disk that hangs when it is told to, until it is mended."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._mended = threading.Event()

    def begin(self) -> None:
        for name in CALLS:
            real = getattr(DirectoryStore, name)

            def call(store: DirectoryStore, *words: object, real: object = real) -> object:
                self._mended.wait()
                return real(store, *words)  # type: ignore[operator]

            self._monkeypatch.setattr(DirectoryStore, name, call)

    def mend(self) -> None:
        self._mended.set()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    monkeypatch.setattr(patient_reads, "PATIENCE_SECONDS", 0.5)
    hanging = Hanging(monkeypatch)
    yield hanging
    hanging.mend()


@contextmanager
def soon() -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < SOON_SECONDS


def fail_over(setup: Setup, manager: Manager) -> None:
    """Without the repository, while the old side is cut off; it comes back running."""
    setup.world.host("here").isolate()
    options = FailoverOptions(is_planned=False, is_without_repository=True)
    carry_out(manager, want_failover(manager.desk, manager.names.machine("m0"), options))
    setup.world.host("here").return_()


def is_old_side_off(host: SimulatedHost) -> bool:
    return host.machines[machine_id(0)].power.is_off


@pytest.mark.parametrize("is_unfinished", [False, True], ids=["", "with an unfinished run"])
def test_from_the_start_of_serve_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: Hanging, *, is_unfinished: bool
) -> None:
    setup = make_setup(tmp_path, monkeypatch)
    with setup.manager() as manager:
        carry_out(manager, want_sync(manager.desk, manager.names.machine("m0"), SyncOptions()))
        fail_over(setup, manager)
        if is_unfinished:
            left = replace(manager.history.runs()[-1], run_id=RunId("sync-left"), state=RunState.RUNNING, ended_at=None)
            remember(manager.runs_database, left)
    here, there = setup.world.host(HERE), setup.world.host(THERE)
    disk.begin()
    with serving(setup) as (_, heard):
        with soon():
            heard.wait_for(lambda: is_old_side_off(here))
        assert not is_old_side_off(there)
        assert "has not answered" in str(heard.words("trouble")[0]["reason"])
        assert {word for word, _ in heard.told}.isdisjoint({"sync", "resume", "collect", "verify"})
        disk.mend()
        word, machine = ("resume", "m0") if is_unfinished else ("wait", "repository")
        heard.wait_for(lambda: machine in [facts["machine"] for facts in heard.words(word)])


def test_while_serve_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disk: Hanging) -> None:
    setup = make_setup(tmp_path, monkeypatch)
    with serving(setup) as (manager, heard):
        heard.wait_for(lambda: len(heard.words("done")) == 1)
        fail_over(setup, manager)
        disk.begin()
        with soon():
            setup.world.ports.clock.sleep(16)
            heard.wait_for(lambda: is_old_side_off(setup.world.host(HERE)))
        disk.mend()


def test_one_question_at_a_time_and_none_is_waited_for_twice(disk: Hanging) -> None:
    reads, going_on, asked = PatientReads(), threading.Event(), []

    def question() -> str:
        asked.append("first")
        going_on.wait()
        return "answer"

    for _ in range(3):
        with pytest.raises(StillAsking):
            reads.ask("first", question)
    began = time.monotonic()
    with pytest.raises(StillAsking):
        reads.ask("second", lambda: asked.append("second"))
    assert time.monotonic() - began < patient_reads.PATIENCE_SECONDS
    going_on.set()
    while True:
        try:
            assert reads.ask("first", question) == "answer"
            break
        except StillAsking:
            continue
    assert asked == ["first"]
    with pytest.raises(ValueError, match="odd"):
        reads.ask("odd", lambda: int("odd"))
