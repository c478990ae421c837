"""Who may work on what: claims, between processes of one host and of several."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest
import sqlalchemy as sa

from tests.record import claims_of, opened
from twinhull.manager.catalog.state import StateDirectory
from twinhull.manager.record import claims as claiming
from twinhull.manager.record.claims import SILENT_SECONDS, Claim, Claims, Place
from twinhull.manager.record.database import RunsDatabase, processes
from twinhull.model.errors import ClaimLost, StateError
from twinhull.model.ports import Ports, SystemClock, SystemProcesses, SystemRandomness, system_ports

NAME = "machine-a"
_ROOT = Path(__file__).parents[2]


@pytest.fixture
def database(tmp_path: Path, runs_at: Mapping[str, str]) -> Iterator[RunsDatabase]:
    state = StateDirectory(tmp_path / "state")
    state.make()
    with opened(state, runs_at) as database:
        yield database


def is_held(database: RunsDatabase, claim: Claim) -> bool:
    try:
        with database.writing() as connection:
            claim.require(connection)
    except ClaimLost:
        return False
    return True


def test_one_holds_it_until_it_is_released_and_tokens_rise(database: RunsDatabase) -> None:
    with claims_of(database) as ours, claims_of(database) as theirs:
        assert ours.is_free(NAME)
        first = ours.try_take(NAME, "sync s1")
        assert first
        assert theirs.try_take(NAME, "sync s2") is None
        assert ours.try_take(NAME, "sync s3") is None, "nor twice by one process"
        assert theirs.holder(NAME) == "sync s1"
        first.release()
        first.release()
        second = theirs.try_take(NAME, "sync s2")
        assert second
        assert second.token > first.token
        assert not is_held(database, first)
        assert is_held(database, second)
        other = ours.try_take("machine-b", "sync s4")
        assert other
        assert other.token > second.token


def test_of_many_that_want_it_at_once_one_gets_it(database: RunsDatabase) -> None:
    got: list[Claim | None] = []
    with claims_of(database) as ours, claims_of(database) as theirs:
        takers = [Thread(target=lambda who=who: got.append(who.try_take(NAME, "me"))) for who in (ours, theirs) * 4]
        for taker in takers:
            taker.start()
        for taker in takers:
            taker.join()
        assert len([claim for claim in got if claim]) == 1


def test_what_a_process_held_is_free_when_it_closes(database: RunsDatabase) -> None:
    with claims_of(database) as ours:
        assert ours.try_take(NAME, "sync s1")
    with claims_of(database) as theirs:
        assert theirs.is_free(NAME)


_HOLD = """
import os, signal, sys
from tests.record import claims_of, opened
from twinhull.manager.catalog.state import StateDirectory
from pathlib import Path
with opened(StateDirectory(Path(sys.argv[1])), os.environ) as database, claims_of(database) as claims:
    assert claims.try_take("machine-a", "sync s1")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_of_this_host_held_is_free_at_once(
    database: RunsDatabase, tmp_path: Path, runs_at: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in runs_at.items():
        monkeypatch.setenv(name, value)
    subprocess.run([sys.executable, "-c", _HOLD, str(tmp_path / "state")], cwd=_ROOT, check=False, timeout=60)
    with claims_of(database) as claims:
        assert claims.try_take(NAME, "sync s2")


class SteppedClock(SystemClock):
    now_seconds = 0.0

    def monotonic(self) -> float:
        return self.now_seconds


class Elsewhere:
    """Claims of another host, whose clock is moved by hand."""

    def __init__(self, database: RunsDatabase) -> None:
        self.clock = SteppedClock()
        place = replace(Place.here(), pid_namespace="another host's")
        self.claims = Claims(database, Ports(self.clock, SystemRandomness(), SystemProcesses()), place)

    def take_after(self, seconds: float) -> Claim | None:
        self.clock.now_seconds += seconds
        return self.claims.try_take(NAME, "sync s2")


@pytest.fixture
def elsewhere(database: RunsDatabase) -> Iterator[Elsewhere]:
    other = Elsewhere(database)
    yield other
    other.claims.close()


def test_what_another_host_holds_is_taken_over_once_it_was_silent_for_long(
    database: RunsDatabase, elsewhere: Elsewhere
) -> None:
    with claims_of(database) as ours:
        held = ours.try_take(NAME, "sync s1")
        assert held
        assert elsewhere.take_after(10_000) is None, "it was looked at for the first time"
        assert elsewhere.take_after(SILENT_SECONDS - 1) is None
        ours._beat()
        assert elsewhere.take_after(2) is None, "it has beaten since"
        assert elsewhere.take_after(SILENT_SECONDS - 1) is None
        taken = elsewhere.take_after(2)
        assert taken
        assert taken.token > held.token
        assert not is_held(database, held)
        assert held.is_lost.is_set()
        held.release()
        assert is_held(database, taken), "the one that lost it gives nothing back"


def test_a_process_learns_by_its_heartbeat_that_it_lost_a_claim(
    database: RunsDatabase, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    with claims_of(database) as ours:
        held, kept = ours.try_take(NAME, "sync s1"), ours.try_take("machine-b", "sync s3")
        assert held
        assert kept
        assert elsewhere.take_after(0) is None
        assert elsewhere.take_after(SILENT_SECONDS)
        assert not held.is_lost.is_set()
        ours._beat()
        assert held.is_lost.is_set()
        assert not kept.is_lost.is_set()
    monkeypatch.setattr(claiming, "BEAT_SECONDS", 0.01)
    with claims_of(database) as ours:
        assert ours.try_take("machine-c", "sync s4")
        for _ in range(3):  # it beats by itself
            count = _beats(database)
            while _beats(database) == count:
                continue


def _beats(database: RunsDatabase) -> int:
    with database.reading() as connection:
        return sum(connection.execute(sa.select(processes.c.beat_count)).scalars())


def test_what_is_known_of_a_process_from_where() -> None:
    here = Place.here()
    dead = replace(here, start_ticks="1")
    assert here.knows_of(here, is_one_host=True) is True
    assert here.knows_of(dead, is_one_host=False) is False, "its id belongs to another process by now"
    assert here.knows_of(replace(here, pid=2**22 + 1), is_one_host=False) is False
    assert here.knows_of(replace(here, pid_namespace="a container's"), is_one_host=True) is None
    rebooted = replace(here, boot_id="another")
    assert here.knows_of(rebooted, is_one_host=True) is False, "an SQLite file is used on one host"
    assert here.knows_of(rebooted, is_one_host=False) is None


def test_a_process_that_ended_and_was_not_collected_yet_is_dead() -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    place = replace(Place.here(), pid=child.pid, start_ticks=claiming._start_ticks(child.pid))
    assert Place.here().knows_of(place, is_one_host=True) is True
    child.kill()
    while Place.here().knows_of(place, is_one_host=True):
        continue
    child.wait()
    assert Place.here().knows_of(place, is_one_host=True) is False
    assert system_ports()


def test_what_could_not_be_given_back_is_given_back_once_the_database_answers_again(
    database: RunsDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a manager that lives for months would keep its machine from itself and all others."""
    monkeypatch.setattr(claiming, "BEAT_SECONDS", 0.01)
    with claims_of(database) as ours, claims_of(database) as theirs:
        held = ours.try_take(NAME, "sync s1")
        assert held
        with monkeypatch.context() as away:
            away.setattr(RunsDatabase, "writing", _away)
            held.release()
            assert not theirs.is_free(NAME)
        assert theirs.take(NAME, "sync s2")


@contextmanager
def _away(_: RunsDatabase) -> Iterator[None]:
    raise StateError("The database is away.")
    yield
