"""The day on which the repository is gone together with the site of the machines, or by itself."""

from __future__ import annotations

from pathlib import Path
from threading import Event

import pytest

from tests.cli.conftest import WEB, Shell
from twinhull.manager import manager
from twinhull.model.machine import DiskKey, PowerState
from twinhull.platforms.simulated import Killed, SimulatedPart, SimulatedPower, SimulatedReplicas, SimulatedStandings
from twinhull.repository import Repository

MOVE = ("failover", "web1", "--unplanned")


@pytest.fixture
def away(planned: Shell, tmp_path: Path) -> Path:
    """The repository's directory, which is not where it was."""
    planned.ok("sync", "web1")
    planned.web.write("vda", 3_000_000, b"never captured")
    return (tmp_path / "points").rename(tmp_path / "away")


def bring_back(away: Path) -> None:
    away.rename(away.with_name("points"))


def test_the_replica_takes_over_while_both_the_source_and_the_repository_are_gone(planned: Shell, away: Path) -> None:
    planned.world.host("here").crash()
    status = planned.ok("status")
    assert "repository: There is no repository in" in status.out
    assert "--without-repository" in status.out
    assert "There is no repository" in planned.ok("status", "--json").json["repository_trouble"]
    refused = planned(*MOVE, "--yes")
    assert refused.code == 31
    assert "twinhull failover web1 --unplanned --without-repository" in refused.err
    shown = planned.ok(*MOVE, "--without-repository", "--dry-run").out
    assert "Start from the replica as it is" in shown
    assert "Lost: what web1 wrote after " in shown
    run = planned.ok(*MOVE, "--without-repository", "--yes", "--json").json["runs"][0]["result"]
    assert (run["epoch"], run["point_id"]) == (101, f"{WEB}/00000001")
    assert run["rpo_seconds"] is not None
    there = planned.world.host("there").machines[WEB]
    assert there.power is PowerState.RUNNING
    assert there.disks[DiskKey("vda")].read(0, 15) == b"hello from web1"

    there.write("vda", 5_000_000, b"written over there")
    bring_back(away)
    planned.world.host("here").return_()
    planned.ok("sync", "web1")
    assert planned.web.power is not PowerState.RUNNING
    moved = planned.ok("failback", "web1", "--yes", "--json").json["runs"][0]["result"]
    assert (moved["epoch"], moved["lost_bytes"]) == (102, 0)
    assert planned.web.disks[DiskKey("vda")].read(5_000_000, 18) == b"written over there"
    assert planned.web.disks[DiskKey("vda")].read(3_000_000, 14) == bytes(14), "what was lost does not come back"


def test_a_store_that_hangs_holds_up_no_status(planned: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    planned.ok("sync", "web1")
    is_over = Event()
    monkeypatch.setattr(manager, "_REPOSITORY_PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(Repository, "points", lambda *_: is_over.wait(60))
    try:
        status = planned.ok("status")
    finally:
        is_over.set()
    assert "repository: its store has not answered for 0 s." in status.out
    assert "--without-repository" in status.out
    assert "web1     shop  protected" in status.out


@pytest.mark.usefixtures("away")
def test_what_only_a_repository_could_do_is_refused_without_it(planned: Shell) -> None:
    for options in (("--planned",), ("--unplanned", "--point", "N-1"), ("--unplanned", "--verify")):
        answer = planned("failover", "web1", *options, "--without-repository", "--yes")
        assert answer.code == 2
        assert "a replica can only be started as it is" in answer.err
    never_synced = planned("failover", "db1", "--unplanned", "--without-repository", "--yes")
    assert never_synced.code != 0
    assert "is at no point to start from; nothing was done" in never_synced.err
    shown = planned.ok("machine", "show", "web1").out
    assert "Its files were not inspected" in shown


@pytest.mark.parametrize(("part", "step"), [(SimulatedStandings, "write"), (SimulatedPower, "start")])
def test_a_failover_that_needs_the_repository_no_more_is_gone_on_with_while_it_is_away(
    planned: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: type[SimulatedPart], step: str
) -> None:
    planned.ok("sync", "web1")
    planned.world.host("here").crash()
    with monkeypatch.context() as patch:
        patch.setattr(part, step, _killed)
        assert planned(*MOVE, "--yes").code == 42
    planned.world.restart()
    (tmp_path / "points").rename(tmp_path / "away")
    (left,) = planned.ok("status", "--json").json["unfinished_runs"]
    assert planned.ok(*MOVE, "--yes", "--json").json["runs"][0]["id"] == left["id"]
    assert planned.world.host("there").machines[WEB].power is PowerState.RUNNING


def test_a_replica_that_is_half_way_is_not_started_without_the_repository(
    planned: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned.ok("sync", "web1")
    planned.web.write("vda", 3_000_000, b"more")
    prepare = SimulatedReplicas.prepare
    monkeypatch.setattr(SimulatedReplicas, "prepare", _killed)
    planned("sync", "web1")
    monkeypatch.setattr(SimulatedReplicas, "prepare", prepare)
    planned.world.restart()
    (tmp_path / "points").rename(tmp_path / "away")
    (left,) = planned.ok("status", "--json").json["unfinished_runs"]
    waiting = planned(*MOVE, "--without-repository", "--yes")
    assert waiting.code == 42
    assert f"twinhull runs abandon {left['id']}" in waiting.err
    planned.ok("runs", "abandon", left["id"], "--yes")
    answer = planned(*MOVE, "--without-repository", "--yes")
    assert planned.world.host("there").standings[WEB].is_dirty
    assert "is at no point to start from" in answer.err
    assert planned.web.power is PowerState.RUNNING


def _killed(*_: object, **__: object) -> None:
    raise Killed("here")
