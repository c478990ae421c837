from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from twinhull.manager.catalog.records import LatestPoint
from twinhull.manager.clockwatch import Reading, jump_seconds, tell
from twinhull.manager.health.ages import Aged, observe
from twinhull.manager.serve.facts import Limits, MachineFacts, RepositoryFacts, SiteFacts, Snapshot
from twinhull.manager.serve.planner import Act, backoff_seconds, decide, due_seconds
from twinhull.manager.sites.names import Named
from twinhull.model.machine import MachineId, PointId, SiteName
from twinhull.platforms.contract import Grade, GuardGrade
from twinhull.runs.subject import REPOSITORY

DAY_SECONDS = 86_400.0
HERE, THERE = SiteName("here"), SiteName("there")
SITES = {HERE: SiteFacts(is_reachable=True), THERE: SiteFacts(is_reachable=True)}
WELL = MachineFacts(Named(MachineId("m"), "web1"), "shop", HERE, THERE, rpo_seconds=900, age_seconds=60)


def only(facts: MachineFacts, sites: Mapping[SiteName, SiteFacts] = SITES) -> tuple[Act, str]:
    decision = decide(Snapshot((facts,), sites), Limits())[0]
    return decision.act, decision.reason


@pytest.mark.parametrize(
    ("change", "act", "reason"),
    [
        ({}, Act.WAIT, "The latest point is 60 s old; within the RPO of 15 min 0 s."),
        ({"age_seconds": None}, Act.SYNC, "There is no point yet."),
        ({"age_seconds": 721.0}, Act.SYNC, "The latest point is 12 min 1 s old, and the RPO is 15 min 0 s."),
        ({"age_seconds": 500.0, "typical_seconds": 300.0}, Act.SYNC, "The latest point is 8 min 20 s old"),
        ({"age_seconds": 721.0, "is_paused": True}, Act.WAIT, "The plan is paused."),
        ({"at_work": "sync s1"}, Act.WAIT, "sync s1 is at work."),
        ({"unfinished": "failover-1"}, Act.RESUME, "failover-1 was left unfinished."),
        ({"unfinished": "failover-1", "is_paused": True}, Act.RESUME, "failover-1 was left unfinished."),
        ({"wrong": "It runs twice."}, Act.RECONCILE, "It runs twice."),
        ({"wrong": "It runs twice.", "is_paused": True}, Act.RECONCILE, "It runs twice."),
        ({"wrong": "It runs twice.", "failure_count": 9, "failure": "no room."}, Act.RECONCILE, "It runs twice."),
        (
            {"wrong": "It runs twice.", "failure_count": 1, "failure": "no.", "is_correction_failing": True},
            Act.WAIT,
            "It runs twice. That failed (no.), and is tried again.",
        ),
        (
            {
                "wrong": "It runs twice.",
                "failure_count": 9,
                "since_failure_seconds": 61.0,
                "is_correction_failing": True,
            },
            Act.RECONCILE,
            "It runs twice.",
        ),
        ({"failure_count": 1, "failure": "no room."}, Act.WAIT, "The latest run failed (1 in a row): no room."),
        ({"failure_count": 1, "since_failure_seconds": 16.0, "failure": "no room."}, Act.SYNC, "failed: no room."),
        ({"unfinished": "f-1", "failure_count": 1, "failure": "no route"}, Act.WAIT, "f-1 stopped (no route)"),
        ({"behind": "There is no replica on there."}, Act.SYNC, "There is no replica on there."),
    ],
)
def test_each_machine_gets_one_decision_with_its_reason(change: dict[str, object], act: Act, reason: str) -> None:
    found, told = only(replace(WELL, **change))  # type: ignore[arg-type]
    assert found is act
    assert reason in told


def test_a_sync_compares_everything_after_a_week_of_trackers() -> None:
    tired = replace(WELL, uncompared_seconds=8 * DAY_SECONDS, full_compare_seconds=7 * DAY_SECONDS)
    assert only(tired)[0] is Act.WAIT
    decision = decide(Snapshot((replace(tired, age_seconds=721.0),), SITES), Limits())[0]
    assert (decision.act, decision.compare_reason) == (Act.SYNC, "trackers alone were trusted for 8 d 0 h")
    assert decision.reason.endswith("Everything is compared this time: trackers alone were trusted for 8 d 0 h.")
    rested = replace(tired, age_seconds=721.0, uncompared_seconds=6 * DAY_SECONDS)
    assert not decide(Snapshot((rested,), SITES), Limits())[0].compare_reason


@pytest.mark.parametrize(
    ("facts", "act", "reason"),
    [
        (RepositoryFacts(DAY_SECONDS + 1, 0, 3, 1024), Act.COLLECT, "3 removed points and 1.0 KiB wait"),
        (RepositoryFacts(DAY_SECONDS + 1, 0, 0, 1024), Act.COLLECT, "0 removed points and 1.0 KiB wait"),
        (RepositoryFacts(DAY_SECONDS - 1, 0, 3), Act.WAIT, "; it is looked at in 1.00 s."),
        (RepositoryFacts(DAY_SECONDS + 1), Act.WAIT, "Nothing is known to wait"),
        (
            RepositoryFacts(7 * DAY_SECONDS + 1),
            Act.COLLECT,
            "what killed captures may have left; it was not looked at for 7 d",
        ),
        (RepositoryFacts(9 * DAY_SECONDS, 0, 3, jump="the clock leapt."), Act.WAIT, "for now: the clock leapt."),
        (
            RepositoryFacts(9 * DAY_SECONDS, 3 * DAY_SECONDS, 3, jump="the clock leapt."),
            Act.VERIFY,
            "Nothing of what is stored was verified for 3 d",
        ),
        (RepositoryFacts(9 * DAY_SECONDS, 9 * DAY_SECONDS), Act.COLLECT, "it was not looked at for 9 d"),
        (RepositoryFacts(DAY_SECONDS, DAY_SECONDS + 1), Act.VERIFY, "was verified for 24 h"),
        (RepositoryFacts(DAY_SECONDS, DAY_SECONDS - 1), Act.WAIT, "it is looked at in 6 d"),
        (RepositoryFacts(9 * DAY_SECONDS, 0, 3, at_work="collect c1"), Act.WAIT, "collect c1 is at work."),
        (RepositoryFacts(0, unfinished="collect-1"), Act.RESUME, "collect-1 was left unfinished."),
        (RepositoryFacts(9 * DAY_SECONDS, 0, 3, failure_count=1, failure="no room."), Act.WAIT, "no room."),
    ],
)
def test_the_repository_is_collected_once_a_day_where_something_waits(
    facts: RepositoryFacts, act: Act, reason: str
) -> None:
    decision = decide(Snapshot((), SITES, facts), Limits())[0]
    assert (decision.act, decision.subject) == (act, REPOSITORY)
    assert reason in decision.reason


def test_the_repository_is_looked_at_when_the_first_of_both_is_due() -> None:
    waiting = RepositoryFacts(DAY_SECONDS - 100, DAY_SECONDS - 30, 1)
    assert decide(Snapshot((), SITES, waiting), Limits())[0].due_in_seconds == 30


def test_machines_come_before_the_repository_which_takes_no_place_of_theirs() -> None:
    """A verification that reads for hours holds up no sync, and is not held up for ever by them."""
    due, waiting = replace(WELL, age_seconds=None), RepositoryFacts(2 * DAY_SECONDS, 0, 1)
    decisions = decide(Snapshot((due,), SITES, waiting), Limits(run_count=1))
    assert [(decision.subject.name, decision.act) for decision in decisions] == [
        ("web1", Act.SYNC),
        ("repository", Act.COLLECT),
    ]
    busy = replace(waiting, at_work="verify v1")
    assert decide(Snapshot((due,), SITES, busy), Limits(run_count=1))[0].act is Act.SYNC
    at_work = replace(WELL, at_work="sync s1")
    decisions = decide(Snapshot((at_work,), SITES, waiting), Limits(run_count=1))
    assert {decision.subject.name: decision.act for decision in decisions}["repository"] is Act.COLLECT


def test_a_silent_source_is_waited_for_and_named() -> None:
    sites = {**SITES, HERE: SiteFacts(is_reachable=False, reason="no route")}
    assert only(replace(WELL, age_seconds=None), sites) == (Act.WAIT, "here does not answer: no route")
    # What is put right, or gone on with, may need only the other side: the run itself says whether it can.
    assert only(replace(WELL, wrong="It runs twice."), sites)[0] is Act.RECONCILE


def test_while_only_the_target_is_silent_points_are_made_without_it() -> None:
    sites = {**SITES, THERE: SiteFacts(is_reachable=False, reason="no route")}
    behind = "Only points are made, and the replica falls behind: there does not answer: no route"
    for due in ({"age_seconds": None}, {"age_seconds": 721.0}, {"failure_count": 1, "since_failure_seconds": 16.0}):
        decision = decide(Snapshot((replace(WELL, **due),), sites), Limits())[0]
        assert (decision.act, decision.is_capture_only) == (Act.SYNC, True)
        assert decision.reason.endswith(behind)
    assert not decide(Snapshot((replace(WELL, age_seconds=721.0),), SITES), Limits())[0].is_capture_only
    for young in (WELL, replace(WELL, behind="There is no replica on there.")):
        assert only(young, sites) == (Act.WAIT, f"The latest point is 60 s old; within the RPO of 15 min 0 s. {behind}")
    # Whether the silent target has taken the machine is not known: its source may be no source any more.
    unsure = replace(WELL, age_seconds=721.0, is_source_known=False)
    assert only(unsure, sites) == (Act.WAIT, "there does not answer: no route")
    both = {site: SiteFacts(is_reachable=False, reason="no route") for site in SITES}
    assert only(replace(WELL, age_seconds=721.0), both) == (Act.WAIT, "here does not answer: no route")


def test_no_more_runs_at_once_than_allowed_and_the_most_urgent_first() -> None:
    machines = tuple(
        replace(WELL, machine=Named(MachineId(f"m{age}"), f"m{age}"), age_seconds=float(age)) for age in range(721, 731)
    )
    decisions = decide(Snapshot(machines, SITES), Limits(run_count=3, run_count_per_site=9))
    assert [decision.subject.name for decision in decisions if decision.act is Act.SYNC] == ["m730", "m729", "m728"]
    assert decisions[3].reason == "Due for sync, and 3 runs are at work: no more at once."
    decisions = decide(Snapshot(machines, SITES), Limits(run_count=9, run_count_per_site=2))
    assert sum(decision.act is Act.SYNC for decision in decisions) == 2
    assert decisions[2].reason == "Due for sync, and 2 runs are at work on here already."


def test_what_is_at_work_takes_room() -> None:
    busy = replace(WELL, machine=Named(MachineId("b"), "b"), at_work="sync s1")
    due = replace(WELL, age_seconds=None)
    acts = {decision.subject.name: decision.act for decision in decide(Snapshot((busy, due), SITES), Limits(1, 1))}
    assert acts == {"b": Act.WAIT, "web1": Act.WAIT}


def test_backoff_grows_and_is_bounded() -> None:
    assert [backoff_seconds(count) for count in (0, 1, 2, 3, 50)] == [0.0, 15.0, 30.0, 60.0, 900.0]


def test_a_sync_begins_early_enough_to_end_within_the_rpo() -> None:
    assert due_seconds(900, 0) == 720
    assert due_seconds(900, 400) == 300
    assert due_seconds(900, 5000) == 0


_START = datetime(2026, 1, 1, tzinfo=UTC)


def test_ages_go_by_the_monotonic_clock() -> None:
    machine, point = MachineId("m"), LatestPoint(MachineId("m"), PointId("m/1"), _START)
    ages = observe({}, {machine: point}, Reading(_START + timedelta(seconds=100), 0.0))
    assert ages[machine].age_at(Reading(_START + timedelta(days=999), 50.0)) == 150.0
    ages = observe(ages, {machine: point}, Reading(_START - timedelta(days=9), 60.0))
    assert ages[machine] == Aged(PointId("m/1"), 100.0, 0.0)


def test_a_new_point_after_the_clock_leapt_is_not_old() -> None:
    machine = MachineId("m")
    ages = {machine: Aged(PointId("m/1"), 10.0, 0.0)}
    newer = LatestPoint(machine, PointId("m/2"), _START)
    ages = observe(ages, {machine: newer}, Reading(_START + timedelta(days=999), 5.0))
    assert ages[machine].age_seconds == 15.0


def test_a_point_from_the_future_is_not_trusted_to_be_young() -> None:
    machine = MachineId("m")
    point = LatestPoint(machine, PointId("m/1"), _START + timedelta(hours=2))
    assert observe({}, {machine: point}, Reading(_START, 0.0))[machine].age_seconds == 7200.0


def test_jumps_are_told_and_slewing_is_not() -> None:
    before = Reading(_START, 0.0)
    assert jump_seconds(before, Reading(_START + timedelta(seconds=1002), 1000.0)) == 0.0
    assert tell(jump_seconds(before, Reading(_START + timedelta(seconds=3610), 10.0))) == (
        "the wall clock jumped forward by 60 min 0 s."
    )
    assert tell(jump_seconds(before, Reading(_START - timedelta(seconds=50), 10.0))) == (
        "the wall clock jumped back by 60 s."
    )
    assert tell(0.0) == ""


@dataclass
class Fleet:
    """A simulated day of many machines: pure planner, no sites, no runs."""

    count: int
    rpo_seconds: float
    limits: Limits
    sync_seconds: float = 20.0
    now: float = 0.0
    captured: dict[int, float] = field(default_factory=dict)
    busy: dict[int, float] = field(default_factory=dict)
    worst: float = 0.0
    sync_count: int = 0
    most_at_once: int = 0
    silent: tuple[float, float] = (0.0, 0.0)

    def step(self, seconds: float) -> None:
        self.now += seconds
        for number, ends in list(self.busy.items()):
            if ends <= self.now:
                self.captured[number] = ends - self.sync_seconds
                del self.busy[number]
        is_silent = self.silent[0] <= self.now < self.silent[1]
        sites = {HERE: SiteFacts(is_reachable=True), THERE: SiteFacts(not is_silent, "no route" if is_silent else "")}
        decisions = decide(Snapshot(tuple(map(self.facts, range(self.count))), sites), self.limits)
        assert len(decisions) == self.count
        for decision in decisions:
            if decision.act is Act.SYNC:
                assert decision.is_capture_only is is_silent
                self.busy[int(decision.subject.name)] = self.now + self.sync_seconds
                self.sync_count += 1
        self.most_at_once = max(self.most_at_once, len(self.busy))

    def facts(self, number: int) -> MachineFacts:
        age = self.now - self.captured[number] if number in self.captured else None
        named = Named(MachineId(f"{number:04d}"), str(number))
        return MachineFacts(
            named,
            "fleet",
            HERE,
            THERE,
            self.rpo_seconds,
            age_seconds=age,
            typical_seconds=self.sync_seconds,
            at_work="a sync" if number in self.busy else "",
        )


def test_a_thousand_machines_a_simulated_day_in_seconds() -> None:
    fleet = Fleet(count=1000, rpo_seconds=3600, limits=Limits(128, 128), silent=(30_000, 33_000))
    began = time.monotonic()
    worst_after_first_hour = 0.0
    while fleet.now < 86_400:
        fleet.step(240)
        # The first hour fills up, and after the silent site the queue is worked off.
        if 3_600 < fleet.now < 30_000 or fleet.now > 38_000:
            worst_after_first_hour = max(worst_after_first_hour, fleet.now - min(fleet.captured.values()))
    assert len(fleet.captured) == 1000
    assert worst_after_first_hour <= 3600
    assert fleet.most_at_once == 128
    assert 24_000 < fleet.sync_count < 40_000
    assert time.monotonic() - began < 60


def test_nothing_is_synced_with_a_site_that_cannot_hold_standings_and_a_weak_guard_keeps_nothing() -> None:
    weak, none = GuardGrade(Grade.NOTICES, "No hooks."), GuardGrade(Grade.NONE, "Its platform has no place for them.")
    late = replace(WELL, age_seconds=None)
    sites = {**SITES, THERE: SiteFacts(is_reachable=True, guard=none)}
    assert only(late, sites) == (Act.WAIT, "there cannot hold standings. Its platform has no place for them.")
    assert only(replace(late, wrong="It runs twice."), sites)[0] is Act.RECONCILE
    assert only(late, {**SITES, THERE: SiteFacts(is_reachable=True, guard=weak)})[0] is Act.SYNC
