"""What ``serve`` reports of health: each change once, an RPO when it is missed and when it is met again."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.manager.test_serve import Heard, serving
from tests.manager.world import HERE, THERE, Setup, machine_id, make_setup
from twinhull.model.machine import Role

M0 = machine_id(0)


def wait_for_looks(setup: Setup, heard: Heard, is_there: Callable[[], bool]) -> None:
    """Let the sites be looked at again and again, until it is so."""
    for _ in range(100):
        if is_there():
            return
        setup.world.ports.clock.sleep(16)
        with suppress(AssertionError):
            heard.wait_for(is_there, seconds=0.2)
    raise AssertionError(heard.told)


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    return make_setup(tmp_path, monkeypatch, rpo_seconds=100)


def test_an_rpo_that_is_missed_is_reported_when_it_begins_and_when_it_ends(setup: Setup) -> None:
    clock = setup.world.ports.clock
    with serving(setup) as (_, heard):
        heard.wait_for(lambda: len(heard.words("done")) == 1)
        assert str(heard.words("done")[0]["reason"]).startswith("synced to point 1 in ")
        setup.world.host(THERE).isolate()
        wait_for_looks(setup, heard, lambda: "cannot take over" in [facts["health"] for facts in heard.words("health")])
        wait_for_looks(setup, heard, lambda: len(heard.words("late")) == 1)
        late = heard.words("late")[0]
        assert (late["machine"], late["rpo_seconds"]) == ("m0", 100)
        assert re.search(r"The replica on there is (1\d\d s|\d+ min.*) old \(RPO: 100 s\)\.", str(late["reason"]))
        clock.sleep(200)
        setup.world.host(THERE).return_()
        wait_for_looks(setup, heard, lambda: len(heard.words("in time")) == 1)
        met = heard.words("in time")[0]
        assert "The RPO of 100 s is met again: it was missed for" in str(met["reason"])
        assert isinstance(met["worst_seconds"], float)
        assert met["worst_seconds"] >= 300
        assert len(heard.words("late")) == 1
        wait_for_looks(setup, heard, lambda: [facts["health"] for facts in heard.words("health")][-1] == "protected")


def test_a_machine_that_dies_is_reported_once_with_the_command_that_takes_over(setup: Setup) -> None:
    clock = setup.world.ports.clock
    with serving(setup) as (_, heard):
        heard.wait_for(lambda: len(heard.words("done")) == 1)
        setup.world.host(HERE).machines[M0].crash()
        wait_for_looks(setup, heard, lambda: "down" in [facts["health"] for facts in heard.words("health")])
        for _ in range(3):
            clock.sleep(16)
            heard.wait_for(lambda: True)
        down = [facts for facts in heard.words("health") if facts["health"] == "down"]
        assert len(down) == 1
        assert down[0]["command"] == "twinhull failover m0 --unplanned"


def test_ordinary_syncs_change_no_health(setup: Setup) -> None:
    clock = setup.world.ports.clock
    with serving(setup) as (_, heard):
        for count in (1, 2, 3):
            heard.wait_for(lambda count=count: len(heard.words("done")) == count)  # type: ignore[misc]
            clock.sleep(85)
        heard.wait_for(lambda: len(heard.words("done")) == 4)
        assert {facts["health"] for facts in heard.words("health")} <= {"no replica", "in progress", "protected"}
        assert not heard.words("late")


def test_two_sides_that_no_standing_tells_apart_are_reported_and_left_alone(setup: Setup) -> None:
    clock = setup.world.ports.clock
    twin = setup.world.host(THERE).add_machine(setup.world.host(HERE).machines[M0].spec)
    with serving(setup) as (_, heard):
        clock.sleep(16)
        heard.wait_for(lambda: [facts["health"] for facts in heard.words("health")] == ["runs twice"])
        heard.wait_for(lambda: any("keep the one whose data" in str(facts["reason"]) for facts in heard.words("wait")))
        clock.sleep(16)
        assert not heard.words("reconcile")
        assert not heard.words("sync")
        assert not twin.power.is_off
        twin.switch_off()
        setup.world.host(THERE).delete_machine(M0)
        clock.sleep(16)
        heard.wait_for(lambda: len(heard.words("done")) == 1)
        assert setup.world.host(THERE).standings[M0].role is Role.REPLICA
