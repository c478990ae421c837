"""What Twinhull leaves on machines is the owner's to take away: one machine, a plan, a site."""

from __future__ import annotations

from tests.cli.conftest import WEB, Shell
from tests.record import claimed
from twinhull.manager.catalog.state import StateDirectory
from twinhull.model.machine import Role


def trackers(shell: Shell, site: str = "here") -> list[str]:
    machine = shell.world.host(site).machines.get(WEB)
    return [name for names in machine.trackers.values() for name in names] if machine else []


def test_a_machine_is_unprotected_and_its_replica_stays(planned: Shell) -> None:
    planned.ok("sync", "web1")
    assert trackers(planned)
    said = planned.ok("machine", "unprotect", "web1", "--dry-run").out
    assert "would remove  here: the tracker" in said
    assert trackers(planned)
    assert "shop" in planned.ok("plan", "list").out
    said = planned.ok("machine", "unprotect", "web1", "--yes").out
    assert "removed  here: the tracker" in said
    assert trackers(planned) == []
    assert planned.ok("plan", "show", "shop", "--json").json["machines"] != []
    assert WEB not in planned.ok("plan", "show", "shop", "--json").json["machines"]
    assert planned.world.host("there").standings[WEB].role is Role.REPLICA
    assert planned.world.host("here").standings[WEB].role is Role.PRIMARY, "it still tells which side has the machine"
    assert planned.ok("machine", "unprotect", "web1", "--yes").out == "Twinhull left nothing on web1.\n"


def test_with_its_replica_everything_goes(planned: Shell) -> None:
    planned.ok("sync", "web1")
    dry = planned.ok("machine", "unprotect", "web1", "--remove-replica", "--dry-run", "--json").json
    done = planned.ok("machine", "unprotect", "web1", "--remove-replica", "--yes", "--json").json
    assert dry["removed"] == done["removed"]
    assert (dry["left"], done["left"]) == ([], [])
    assert WEB not in planned.world.host("there").machines
    assert WEB in planned.world.host("here").machines
    for site in ("here", "there"):
        assert WEB not in planned.world.host(site).standings
    assert planned.ok("points", "list", "web1", "--json").json["points"]


def test_what_cannot_be_reached_is_reported_and_keeps_the_standing(planned: Shell) -> None:
    planned.ok("sync", "web1")
    planned.world.host("there").isolate()
    answer = planned("machine", "unprotect", "web1", "--remove-replica", "--yes")
    assert answer.code == 10
    assert "left  there: whatever is there of web1" in answer.out
    assert "twinhull machine unprotect web1 --remove-replica" in answer.err
    assert trackers(planned) == []
    assert planned.world.host("here").standings[WEB].role is Role.PRIMARY
    planned.world.host("there").return_()
    planned.ok("machine", "unprotect", "web1", "--remove-replica", "--yes")
    assert WEB not in planned.world.host("here").standings


def test_a_replica_that_runs_is_left(planned: Shell) -> None:
    planned.ok("sync", "web1")
    planned.world.host("there").machines[WEB].switch_on()
    answer = planned("machine", "unprotect", "web1", "--remove-replica", "--yes")
    assert answer.code == 10
    assert WEB in planned.world.host("there").machines
    assert WEB in planned.world.host("here").standings


def test_a_machine_that_is_worked_on_is_left_alone(planned: Shell) -> None:
    planned.ok("sync", "web1")
    with claimed(StateDirectory(planned.state), WEB, "a test"):
        answer = planned("machine", "unprotect", "web1", "--yes")
    assert answer.code == 22
    assert trackers(planned)
    assert WEB in planned.ok("plan", "show", "shop", "--json").json["machines"]


def test_a_plan_that_is_removed_takes_its_trackers_along(planned: Shell) -> None:
    planned.ok("sync", "web1")
    said = planned.ok("plan", "remove", "shop", "--yes").out
    assert "removed  here: the tracker" in said
    assert "twinhull machine unprotect web1 --remove-replica" in said
    assert trackers(planned) == []


def test_a_site_that_is_removed_keeps_no_tracker(planned: Shell) -> None:
    planned.ok("sync", "web1")
    planned.world.host("here").isolate()
    assert "left  here: whatever is there of web1" in planned.ok("plan", "remove", "shop", "--yes").out
    planned.world.host("here").return_()
    planned.ok("site", "remove", "here", "--yes")
    assert trackers(planned) == []
