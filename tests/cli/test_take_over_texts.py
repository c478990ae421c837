"""What a take-over says of the side that it leaves behind, and what a dry run says while a run was interrupted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.cli.conftest import Shell
from twinhull.model.machine import PowerState

if TYPE_CHECKING:
    import pytest


def test_a_take_over_from_a_silent_site_says_until_when_the_old_side_can_start(planned: Shell) -> None:
    planned.ok("sync", "web1")
    planned.world.host("here").isolate()
    told = "Until Twinhull reaches here again, its host can still start web1"
    assert told in planned.ok("failover", "web1", "--unplanned", "--dry-run").out
    done = planned.ok("failover", "web1", "--unplanned", "--yes").out
    assert told in done
    assert "'twinhull sync web1'" in done
    planned.world.host("here").return_()
    assert not planned.web.power.is_off
    assert "web1 RUNS TWICE" in planned.ok("status").out
    planned.ok("sync", "web1")  # the command that was named
    assert planned.web.power.is_off


def test_a_take_over_from_a_site_that_answers_fences_it_and_says_nothing_of_that(planned: Shell) -> None:
    planned.ok("sync", "web1")
    assert "can still start" not in planned.ok("failover", "web1", "--unplanned", "--dry-run").out


def test_a_dry_run_after_an_interrupted_move_names_the_command_that_finishes_it(
    planned: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned.ok("sync", "web1")
    with monkeypatch.context() as broken:
        broken.setattr("twinhull.platforms.simulated.machines.SimulatedMachine.switch_on", lambda _: None)
        assert planned("failover", "web1", "--yes").code == 42
    listed = planned.ok("status").out
    assert "web1 is DOWN" in listed
    assert "twinhull runs resume" in listed
    preview = planned.ok("failback", "web1", "--unplanned", "--dry-run").out
    assert "which was interrupted: twinhull runs resume" in preview
    planned.ok("runs", "resume")
    assert planned.world.host("there").machines[planned.web.spec.machine_id].power is PowerState.RUNNING
