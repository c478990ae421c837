"""Points that are held, and retention by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import pytest

from tests.cli.conftest import WEB, Answer, Shell
from tests.record import claimed
from twinhull.cli.door import Door
from twinhull.manager.catalog.state import StateDirectory
from twinhull.model.machine import PointId
from twinhull.platforms.simulated import Killed
from twinhull.repository import Repository, RetentionRules, StoreError

DAY_SECONDS = 86_400.0


@pytest.fixture
def a_week(planned: Shell) -> Shell:
    """Seven points of web1, a day between two, and one of db1."""
    planned.ok("sync", "db1")
    for day in range(7):
        planned.web.write("vda", 1_000_000, f"day {day}".encode())
        planned.ok("sync", "web1")
        planned.world.ports.clock.sleep(DAY_SECONDS)
    return planned


def _numbers(shell: Shell) -> list[int]:
    return [point["sequence"] for point in shell.ok("points", "list", "web1", "--json").json["points"]]


def _stays(answer: Answer) -> dict[int, bool]:
    return {point["sequence"]: point["stays"] for point in answer.json["machines"][0]["points"]}


def _prune(shell: Shell, *words: str) -> Answer:
    return shell.ok("points", "prune", "web1", *words, "--json")


def _when_asked(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Let something happen while the question is answered with yes."""
    ask = Door.confirm

    def confirm(_: Door, question: str, *, is_yes: bool) -> None:
        assert question
        assert not is_yes
        monkeypatch.setattr(Door, "confirm", ask)
        happens()

    monkeypatch.setattr(Door, "confirm", confirm)


def test_a_held_point_is_shown_and_stays_until_it_is_released(a_week: Shell) -> None:
    a_week.ok("points", "hold", "web1:2", "--reason", "before the upgrade")
    a_week.ok("points", "hold", "web1:2", "--reason", "again")
    assert "before the upgrade" in a_week.ok("points", "show", "web1:2").out
    shown = a_week.ok("points", "show", "web1:2", "--json").json
    assert (shown["is_held"], shown["hold_reason"]) == (True, "before the upgrade")
    listed = a_week.ok("points", "list", "web1").out.splitlines()
    assert [line.endswith("yes") for line in listed[1:3]] == [False, True]
    refused = a_week("points", "remove", "web1:2", "--yes")
    assert refused.code == 20
    assert f"twinhull points release {shown['id']}" in refused.err
    assert "it is held" in _prune(a_week, "--keep-last", "1", "--yes").json["machines"][0]["points"][-2]["reason"]
    assert _numbers(a_week) == [2, 5, 6, 7]
    a_week.ok("points", "release", shown["id"])
    assert a_week("points", "release", "web1:2").code == 3
    a_week.ok("points", "remove", "web1:2", "--yes")
    assert a_week("points", "hold", shown["id"]).code == 3


def test_a_prune_goes_by_what_is_said_and_tells_why(a_week: Shell) -> None:
    would = _prune(a_week, "--keep-last", "1", "--keep-for", "4d", "--dry-run")
    assert _stays(would) == {7: True, 6: True, 5: True, 4: True, 3: True, 2: False, 1: False}
    assert would.json["removed"] == []
    told = a_week.ok("points", "prune", "web1", "--keep-last", "1", "--keep-for", "4d", "--dry-run").out
    assert "web1: keep the latest 1, all of 4 d" in told
    assert "within 4 d 0 h of the latest point" in told
    assert "goes: no rule keeps it" in told
    assert "2 points would be removed." in told
    assert a_week("points", "prune", "web1", "--keep-last", "1").code != 0, "nobody was there to say yes"
    assert _numbers(a_week) == [1, 2, 3, 4, 5, 6, 7]
    done = _prune(a_week, "--keep-last", "1", "--keep-for", "4d", "--yes")
    assert done.json["removed"] == [f"{WEB}/00000002", f"{WEB}/00000001"]
    assert _numbers(a_week) == [3, 4, 5, 6, 7]
    a_week.ok("points", "take-back", f"{WEB}/00000002")
    assert _numbers(a_week) == [2, 3, 4, 5, 6, 7]


def test_no_rule_and_no_date_undercuts_the_minimum(a_week: Shell) -> None:
    a_week.world.ports.clock.sleep(400 * DAY_SECONDS)
    kept = _prune(a_week, "--keep-last", "1", "--keep-for", "1s", "--yes")
    assert _stays(kept) == {7: True, 6: True, 5: True, 4: False, 3: False, 2: False, 1: False}


RULES = {
    "--keep-last": "keep_last",
    "--keep-hourly": "keep_hourly",
    "--keep-daily": "keep_daily",
    "--keep-weekly": "keep_weekly",
    "--keep-monthly": "keep_monthly",
    "--keep-yearly": "keep_yearly",
    "--keep-at-least": "minimum_count",
}


def test_a_plan_and_a_prune_know_every_rule_that_retention_has(a_week: Shell) -> None:
    assert {*RULES.values(), "keep_within_seconds"} == {field.name for field in fields(RetentionRules)}
    words = [word for number, option in enumerate(RULES, 11) for word in (option, str(number))]
    a_week.ok("plan", "remove", "shop", "--yes")
    a_week.ok("plan", "create", "all", "-m", "web1", "--from", "here", "--to", "there", "--keep-for", "1s", *words)
    rules = a_week.ok("plan", "show", "all", "--json").json["retention"]
    assert rules == {**{name: number for number, name in enumerate(RULES.values(), 11)}, "keep_within_seconds": 1.0}
    assert "16 years, at least 17" in a_week.ok("plan", "show", "all").out
    assert "16 years, at least 17" in a_week.ok("points", "prune", "web1", "--dry-run", *words).out


def test_how_many_stay_at_least_can_be_said_but_not_alone(a_week: Shell) -> None:
    kept = _prune(a_week, "--keep-yearly", "1", "--keep-at-least", "5", "--dry-run")
    assert [number for number, stays in _stays(kept).items() if stays] == [7, 6, 5, 4, 3]
    refused = a_week("points", "prune", "web1", "--keep-at-least", "5", "--yes")
    assert refused.code == 2
    assert _numbers(a_week) == [1, 2, 3, 4, 5, 6, 7]


def test_without_a_rule_it_is_the_plans_retention(a_week: Shell) -> None:
    assert all(_stays(_prune(a_week)).values())
    answer = a_week.ok("points", "prune", "shop", "--json").json
    assert [machine["machine_name"] for machine in answer["machines"]] == ["db1", "web1"]
    a_week.ok("plan", "remove", "shop", "--yes")
    refused = a_week("points", "prune", "web1")
    assert refused.code == 2
    assert "--keep-last" in refused.err
    words = ("-m", "web1", "--from", "here", "--to", "there", "--keep-last", "4")
    a_week.ok("plan", "create", "few", *words)
    assert sum(_stays(_prune(a_week, "--dry-run")).values()) == 4


def test_nothing_goes_where_the_clock_jumps_while_the_question_is_asked(
    a_week: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    _when_asked(monkeypatch, lambda: a_week.world.ports.clock.jump(-3600))  # type: ignore[attr-defined]
    refused = a_week("points", "prune", "web1", "--keep-last", "1")
    assert refused.code == 20
    assert "No point of web1 was removed: the wall clock jumped back" in refused.err
    assert _numbers(a_week) == [1, 2, 3, 4, 5, 6, 7]


def test_only_what_was_shown_goes_and_not_what_is_held_meanwhile(
    a_week: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile() -> None:
        a_week.ok("points", "hold", "web1:1")
        a_week.ok("points", "remove", "web1:2", "--yes")
        a_week.ok("sync", "web1")

    _when_asked(monkeypatch, meanwhile)
    assert "Removed 2 points." in a_week.ok("points", "prune", "web1", "--keep-last", "1").out
    assert _numbers(a_week) == [1, 5, 6, 7, 8]


def test_a_run_that_was_left_unfinished_keeps_its_points(a_week: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr("twinhull.platforms.simulated.machines.SimulatedMachine.switch_on", lambda _: None)
        assert a_week("failover", "web1", "--yes").code == 42
    refused = a_week("points", "prune", "web1", "--keep-last", "1", "--yes")
    assert refused.code == 42
    assert "twinhull runs resume failover-" in refused.err
    assert len(_numbers(a_week)) >= 7


def test_a_prune_waits_for_whoever_works_on_the_machine(a_week: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    sleep = a_week.world.ports.clock.sleep
    waited: list[float] = []

    def sleep_and_end(seconds: float) -> None:
        sleep(seconds)
        waited.append(seconds)
        assert not list((a_week.state.parent / "points").rglob("removal-*"))
        if sum(waited) > 1:
            claim.release()

    with claimed(StateDirectory(a_week.state), WEB, "sync s1 by somebody") as claim:
        monkeypatch.setattr(a_week.world.ports.clock, "sleep", sleep_and_end)
        pruned = a_week("points", "prune", "web1", "--keep-last", "1", "--yes")
    assert "sync s1 by somebody" in pruned.err
    assert "Removed 4 points." in pruned.out


def _why(shell: Shell, run_id: str) -> object:
    return shell.ok("runs", "show", run_id, "--json").json["request"]["why"]


def test_who_removed_which_points_and_why_is_among_the_runs(a_week: Shell) -> None:
    pruned = _prune(a_week, "--keep-last", "1", "--keep-for", "4d", "--yes").json
    removed = a_week.ok("points", "remove", "web1:3", "--reason", "was never any good", "--yes", "--json").json
    runs = a_week.ok("runs", "list", "web1", "--json").json["runs"]
    assert [(run["kind"], run["state"]) for run in runs[:2]] == [("remove", "done"), ("prune", "done")]
    assert [run["id"] for run in runs[:2]] == [removed["run_id"], *pruned["runs"]]
    assert _why(a_week, runs[0]["id"]) == {f"{WEB}/00000003": "was never any good"}
    assert _why(a_week, runs[1]["id"]) == dict.fromkeys(pruned["removed"], "goes: no rule keeps it")
    assert runs[1]["result"]["removed_points"] == pruned["removed"]
    assert runs[1]["request"]["keeps"]["keep_within_seconds"] == 4 * DAY_SECONDS
    told = a_week.ok("points", "list", "web1", "--removed").out
    assert f"was never any good ({removed['run_id']})" in told
    assert f"goes: no rule keeps it ({pruned['runs'][0]})" in told


def test_a_prune_that_fails_takes_back_what_it_has_removed(a_week: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    remove = Repository.remove_point

    def fail_at_the_second(repository: Repository, wanted: PointId, reason: str) -> None:
        if repository.removed_points():
            raise StoreError("Input/output error.")
        remove(repository, wanted, reason)

    with monkeypatch.context() as broken:
        broken.setattr(Repository, "remove_point", fail_at_the_second)
        assert a_week("points", "prune", "web1", "--keep-last", "1", "--yes").code == 36
    assert _numbers(a_week) == [1, 2, 3, 4, 5, 6, 7]
    assert a_week.ok("runs", "list", "web1", "--json").json["runs"][0]["state"] == "failed"


def _remove_and_die() -> Callable[[Repository, PointId, str], None]:
    remove = Repository.remove_point

    def remove_and_die(repository: Repository, wanted: PointId, reason: str) -> None:
        remove(repository, wanted, reason)
        raise Killed("here")

    return remove_and_die


@pytest.mark.parametrize("words", [("prune", "web1", "--keep-last", "1"), ("remove", "web1:1")])
def test_a_removal_that_was_killed_is_gone_on_with(
    a_week: Shell, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(Repository, "remove_point", _remove_and_die())
        assert a_week("points", *words, "--yes").code == 42
    assert len(_numbers(a_week)) == 6
    (run,) = a_week.ok("runs", "resume", "--json").json["runs"]
    left = [5, 6, 7] if words[0] == "prune" else [2, 3, 4, 5, 6, 7]
    assert _numbers(a_week) == left
    assert len(run["result"]["removed_points"]) == 7 - len(left)


def test_a_prune_of_the_copy_that_was_killed_is_not_gone_on_with_here(
    a_week: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = str(a_week.state.parent / "second")
    a_week.ok("repository", "copy", "--to", second, "--create")
    with monkeypatch.context() as broken:
        broken.setattr(Repository, "remove_point", _remove_and_die())
        killed = a_week("--repository", second, "points", "prune", "web1", "--keep-last", "1", "--yes")
        assert killed.code == 42
    resumed = a_week("runs", "resume")
    assert resumed.code == 20
    assert "of another repository" in resumed.err
    assert _numbers(a_week) == [1, 2, 3, 4, 5, 6, 7]
