"""What is asked before a machine is moved or put back: its steps, the point with its time, and what is skipped."""

from __future__ import annotations

import pytest

from tests.cli.conftest import WEB, Shell
from tests.record import claimed, opened, remember
from twinhull.cli.door import Door
from twinhull.manager.catalog.records import RunRecord, RunState
from twinhull.manager.catalog.state import StateDirectory


def numbers(shell: Shell, machine: str) -> list[int]:
    return [point["sequence"] for point in shell.ok("points", "list", machine, "--json").json["points"]]


def test_of_a_plan_that_is_half_moved_the_rest_moves(planned: Shell) -> None:
    planned.ok("sync", "shop")
    planned.ok("failover", "web1", "--yes")
    dry = planned.ok("failover", "shop", "--dry-run")
    assert "Skipped: web1 runs on there already; nothing was done." in dry.out
    assert "Fence here at epoch 2" in dry.out
    moved = planned.ok("failover", "shop", "--yes")
    assert "Skipped: web1 runs on there already" in moved.out
    assert "db1: failover done" in moved.out
    again = planned("failover", "shop", "--yes")
    assert (again.code, "runs on there already" in again.err) == (2, True)
    back = planned.ok("failback", "db1", "--yes", "--json")
    assert back.json["runs"][0]["result"]["rto_seconds"] is not None
    both = planned.ok("failback", "shop", "--yes", "--json").json
    assert [item["machine_name"] for item in both["skipped"]] == ["db1"]
    assert [run["machine_name"] for run in both["runs"]] == ["web1"]


def test_the_question_has_its_steps_while_a_sync_runs(planned: Shell) -> None:
    planned.ok("sync", "web1")
    state = StateDirectory(planned.state)
    with claimed(state, WEB, "sync by serve"), opened(state) as database:
        now = planned.ports.clock.now()
        request = {"run_id": "sync-1", "machine_id": WEB}
        remember(database, RunRecord("sync-1", "sync", WEB, "web1", "serve", request, RunState.RUNNING, now))  # type: ignore[arg-type]
        shown = planned.ok("failover", "web1", "--unplanned", "--dry-run").out
    assert "Wait for sync-1, which serve has running." in shown
    assert "Make there the primary in epoch 2" in shown
    assert "Start web1 on there" in shown


def test_an_unplanned_failover_of_a_healthy_machine_says_that_a_planned_one_would_lose_nothing(planned: Shell) -> None:
    planned.ok("sync", "web1")
    shown = planned.ok("failover", "web1", "--unplanned", "--dry-run").out
    assert "here answers and runs web1: 'twinhull failover web1 --planned' would lose nothing." in shown
    planned.world.host("here").isolate()
    silent = planned.ok("failover", "web1", "--unplanned", "--dry-run").out
    assert "would lose nothing" not in silent
    assert "Stop the machine on here: skipped, it does not answer, so it is not fenced." in silent


@pytest.mark.parametrize("name", ["N-1", "2", "90s ago"])
def test_a_point_is_found_once_and_told_with_its_number_and_time(planned: Shell, name: str) -> None:
    for _ in range(3):
        planned.ok("sync", "web1")
        planned.world.ports.clock.sleep(60)
    asked = planned("rollback", "web1", "--to", name)
    assert asked.code == 5
    assert "Put its disks back to web1:2 (" in asked.out
    assert " ago); only what differs is written." in asked.out


def test_what_was_asked_for_stays_what_is_done_when_a_sync_comes_in_between(planned: Shell) -> None:
    for _ in range(3):
        planned.ok("sync", "web1")

    def sync_first(*_: object, **__: object) -> None:
        patched.undo()
        planned.ok("sync", "web1")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Door, "confirm", sync_first)
        run = planned.ok("rollback", "web1", "--to", "N-1", "--json").json["runs"][0]
    assert run["request"]["to_point_id"].endswith("/00000002")
    assert numbers(planned, "web1") == [1, 2, 3, 4, 5], "and what was there was kept"
