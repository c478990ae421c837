"""A store that someone put back to an older state is reported by the next verification of a manager that knew more."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.manager.world import Setup, machine_id, make_setup
from twinhull.manager.catalog.records import RunRecord
from twinhull.manager.manager import Manager
from twinhull.manager.runs.kinds.sync import SyncOptions, want_sync
from twinhull.manager.runs.kinds.verify import want_verify
from twinhull.manager.runs.wants import Ears, Want

WENT_BACK = "The store went back"


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    return make_setup(tmp_path, monkeypatch)


def run(manager: Manager, want: Want) -> RunRecord:
    return manager.dispatcher.carry_out(want, Ears())


def sync(manager: Manager) -> None:
    run(manager, want_sync(manager.desk, manager.names.machine("m0"), SyncOptions()))


def problems(manager: Manager) -> list[str]:
    result = run(manager, want_verify(manager.desk, is_reading=True)).result
    found = result["problems"]
    assert isinstance(found, list)
    assert len(found) == result["problem_count"]
    return [str(problem) for problem in found]


def test_a_store_that_was_put_back_is_reported_until_it_is_past_that_again(setup: Setup, tmp_path: Path) -> None:
    points, kept = tmp_path / "points", tmp_path / "kept"
    with setup.manager() as manager:
        sync(manager)
        assert problems(manager) == []
        shutil.copytree(points, kept)
        sync(manager)
        sync(manager)
        assert problems(manager) == []
    shutil.rmtree(points)
    shutil.copytree(kept, points)
    with setup.manager() as manager:
        for _ in range(2):
            told = problems(manager)
            assert f"points of {machine_id(0)} was 3, and is now 1" in " ".join(told)
            assert all(problem.startswith(WENT_BACK) for problem in told)
        for _ in range(3):
            sync(manager)
            last = problems(manager)
        assert last == []


def test_retention_and_collection_lower_no_number(setup: Setup) -> None:
    with setup.manager() as manager:
        for _ in range(3):
            sync(manager)
        assert problems(manager) == []
        for point in manager.repository.points():
            manager.repository.remove_point(point.id)
        manager.repository.collect(is_now=True)
        assert manager.repository.points() == []
        assert problems(manager) == []
