"""The verdict: a table over every situation, and what holds in all of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import pytest

from tests.manager.evidence import (
    ALPHA,
    BETA,
    P11,
    P12,
    PLAN,
    PRIMARY,
    REPLICA,
    RUNS,
    UNREADABLE,
    WAITS,
    evidence,
    held,
    run,
    side,
    silent,
)
from twinhull.cluster.epochs import corrections, current_epoch
from twinhull.cluster.situation import Side
from twinhull.manager.catalog.records import RunRecord, RunState
from twinhull.manager.health.evidence import Evidence
from twinhull.manager.health.health import Health, Level
from twinhull.manager.health.judging import judge
from twinhull.model.lacks import Consequence, Lack, lacks_to_json
from twinhull.model.machine import PointId, PowerState, Role, Standing
from twinhull.platforms.contract import Grade, GuardGrade

ON, OFF, CRASHED, PAUSED = PowerState.RUNNING, PowerState.OFF, PowerState.CRASHED, PowerState.PAUSED
EXHAUSTIVE = bool(os.environ.get("TWINHULL_EXHAUSTIVE"))
TAKE_OVER = "twinhull failover db --unplanned"
SYNC = "twinhull sync db"
UEFI = Lack("its UEFI variables", Consequence.WILL_NOT_BOOT)
SERIAL = Lack("the serial number of vdb", Consequence.BOOTS_WITHOUT)


def lacking(*lacks: Lack, obstacles: tuple[str, ...] = ()) -> RunRecord:
    return run("sync", RunState.DONE, lacks=lacks_to_json(lacks), obstacles=list(obstacles))


PAUSED_PLAN = replace(PLAN, is_paused=True)
DIRTY = held(Role.REPLICA, point=P11, is_dirty=True)
APPLYING = held(Role.REPLICA, point=None, is_dirty=True)

TABLE: dict[str, tuple[Evidence, Health, str, str]] = {
    "all is well": (evidence(RUNS, WAITS), Health.PROTECTED, "replica on beta is 50 s old", ""),
    "a sync captures": (evidence(RUNS, WAITS, at_work=(run("sync"),)), Health.SYNCING, "sync-1 is running", ""),
    "a sync applies, from a known point": (
        evidence(RUNS, side(BETA, DIRTY, OFF), at_work=(run("sync"),)),
        Health.SYNCING,
        "is 110 s old",
        "",
    ),
    "a sync applies, at no point": (
        evidence(RUNS, side(BETA, APPLYING, OFF), at_work=(run("sync"),)),
        Health.SYNCING,
        "is 110 s old",
        "",
    ),
    "the first sync": (
        evidence(RUNS, side(BETA, APPLYING, OFF), at_work=(run("sync"),), done=()),
        Health.IN_PROGRESS,
        "sync-1 is making a replica",
        "twinhull runs show sync-1",
    ),
    "both run, one is stale": (
        evidence(RUNS, side(BETA, held(Role.PRIMARY, 2), ON)),
        Health.RUNS_TWICE,
        "db RUNS TWICE, on alpha (stale, epoch 1) and on beta (current, epoch 2).",
        SYNC,
    ),
    "both run, one has lost its standing": (
        evidence(side(ALPHA, None, ON), side(BETA, held(Role.PRIMARY, 2), PAUSED)),
        Health.RUNS_TWICE,
        "db RUNS TWICE, on alpha (no standing) and on beta (current, epoch 2).",
        SYNC,
    ),
    "both run, one cannot be read": (
        evidence(side(ALPHA, UNREADABLE, ON), side(BETA, held(Role.PRIMARY, 2), ON)),
        Health.RUNS_TWICE,
        "keep the one whose data you need",
        "",
    ),
    "both run, and nothing says which is current": (
        evidence(side(ALPHA, None, ON), side(BETA, None, ON)),
        Health.RUNS_TWICE,
        "keep the one whose data you need",
        "",
    ),
    "both run while a failover is at work": (
        evidence(RUNS, side(BETA, held(Role.PRIMARY, 2), ON), at_work=(run("failover"),)),
        Health.RUNS_TWICE,
        "RUNS TWICE",
        SYNC,
    ),
    "the replica runs": (
        evidence(side(ALPHA, PRIMARY, OFF), side(BETA, REPLICA, ON)),
        Health.RUNS_TWICE,
        "runs on beta, where it is replica",
        SYNC,
    ),
    "a failover was interrupted between the fence and the stop": (
        evidence(side(ALPHA, held(Role.FENCED, 2), ON), WAITS, left=(run("failover"),)),
        Health.RUNS_TWICE,
        "runs on alpha, where it is fenced",
        "twinhull runs resume",
    ),
    "it crashed": (
        evidence(side(ALPHA, PRIMARY, CRASHED), WAITS),
        Health.DOWN,
        "crashed on alpha. Start it there again, or take over. Taking",
        TAKE_OVER,
    ),
    "it crashed on the plan's target": (
        evidence(side(ALPHA, held(Role.REPLICA, 2), OFF), side(BETA, held(Role.PRIMARY, 2), CRASHED)),
        Health.DOWN,
        "it crashed on beta",
        "twinhull failback db --unplanned",
    ),
    "it crashed, and the repository is away": (
        evidence(side(ALPHA, PRIMARY, CRASHED), WAITS, is_repository_away=True),
        Health.DOWN,
        "DOWN",
        f"{TAKE_OVER} --without-repository",
    ),
    "it was undefined": (
        evidence(side(ALPHA, PRIMARY, None), WAITS),
        Health.DOWN,
        "alpha does not have the machine any more",
        TAKE_OVER,
    ),
    "a failback was interrupted after the stop": (
        evidence(side(ALPHA, REPLICA, OFF), side(BETA, held(Role.FENCED, 2), OFF), left=(run("failback"),)),
        Health.DOWN,
        "db is DOWN: failback-1 was interrupted, and the machine runs nowhere.",
        "twinhull runs resume",
    ),
    "a rollback was interrupted": (
        evidence(side(ALPHA, held(Role.PRIMARY, is_dirty=True), OFF), WAITS, left=(run("rollback"),)),
        Health.DOWN,
        "rollback-1 was interrupted",
        "twinhull runs resume",
    ),
    "no side is primary": (
        evidence(side(ALPHA, held(Role.FENCED, 2), OFF), WAITS),
        Health.DOWN,
        "no side is its primary",
        TAKE_OVER,
    ),
    "it was switched off": (
        evidence(side(ALPHA, PRIMARY, OFF), WAITS),
        Health.OFF,
        "db is switched off on alpha. If that is not on purpose",
        TAKE_OVER,
    ),
    "the replica is late": (
        evidence(RUNS, WAITS, age_seconds=301.0),
        Health.RPO_MISSED,
        "The replica on beta is 5 min 1 s old (RPO: 5 min 0 s).",
        SYNC,
    ),
    "the latest point is young, and the replica is not at it": (
        evidence(RUNS, side(BETA, held(Role.REPLICA, point=P11), OFF), age_seconds=250.0),
        Health.RPO_MISSED,
        "5 min 10 s old",
        SYNC,
    ),
    "the source is silent": (
        evidence(silent(ALPHA), WAITS),
        Health.UNKNOWN,
        "alpha has not answered since 26 Nov 20:15:03 UTC: no route to host. Whether db runs there is unknown. Taking",
        TAKE_OVER,
    ),
    "the source is silent for longer than the RPO": (
        evidence(silent(ALPHA), WAITS, age_seconds=400.0),
        Health.RPO_MISSED,
        "6 min 40 s old",
        TAKE_OVER,
    ),
    "the outage was handled": (
        evidence(silent(ALPHA), side(BETA, held(Role.PRIMARY, 2), ON)),
        Health.CANNOT_TAKE_OVER,
        "alpha has not answered since 26 Nov 20:15:03 UTC",
        "twinhull site check alpha",
    ),
    "the target is silent": (
        evidence(RUNS, silent(BETA)),
        Health.CANNOT_TAKE_OVER,
        "No replica there can take over.",
        "twinhull site check beta",
    ),
    "both are silent": (evidence(silent(ALPHA), silent(BETA)), Health.UNKNOWN, "No replica that answers", ""),
    "the replica's standing cannot be read": (
        evidence(RUNS, side(BETA, UNREADABLE, OFF)),
        Health.CANNOT_TAKE_OVER,
        "What beta holds about db cannot be read",
        SYNC,
    ),
    "the source's standing cannot be read": (
        evidence(side(ALPHA, UNREADABLE, ON), WAITS),
        Health.UNKNOWN,
        "What alpha holds about db cannot be read",
        TAKE_OVER,
    ),
    "the source's standing is lost": (
        evidence(side(ALPHA, None, ON), WAITS),
        Health.UNKNOWN,
        "alpha has lost its standing of db; the next sync writes it again.",
        SYNC,
    ),
    "the replica is dirty, and nothing writes it": (
        evidence(RUNS, side(BETA, DIRTY, OFF)),
        Health.CANNOT_TAKE_OVER,
        "is between two points, and nothing is writing it",
        SYNC,
    ),
    "the replica is dirty, and its sync was killed": (
        evidence(RUNS, side(BETA, DIRTY, OFF), left=(run("sync"),)),
        Health.CANNOT_TAKE_OVER,
        "is between two points",
        "twinhull runs resume",
    ),
    "the replica was deleted": (
        evidence(RUNS, side(BETA, REPLICA, None)),
        Health.CANNOT_TAKE_OVER,
        "is gone; the next sync makes it anew",
        SYNC,
    ),
    "the replica would not start": (
        evidence(RUNS, WAITS, done=(lacking(obstacles=("There is no network 'br1' on beta.",)),)),
        Health.CANNOT_TAKE_OVER,
        "would not start: There is no network 'br1' on beta.",
        "twinhull machine show db",
    ),
    "the replica will not boot": (
        evidence(RUNS, WAITS, done=(lacking(SERIAL, UEFI),)),
        Health.CANNOT_TAKE_OVER,
        "will not boot: it lacks its UEFI variables",
        "twinhull machine show db",
    ),
    "the replica boots without something": (
        evidence(RUNS, WAITS, done=(lacking(SERIAL),)),
        Health.PROTECTED,
        "is 50 s old",
        "",
    ),
    "never synced": (
        evidence(side(ALPHA, None, ON), side(BETA, None, None), latest=None, done=()),
        Health.NO_REPLICA,
        "db has no replica on beta. It has no restore point yet.",
        SYNC,
    ),
    "after an unplanned failover": (
        evidence(side(ALPHA, held(Role.FENCED, 2), OFF), side(BETA, held(Role.PRIMARY, 2), ON)),
        Health.NO_REPLICA,
        "db has no replica on alpha.",
        SYNC,
    ),
    "a stale side came back, off": (
        evidence(side(ALPHA, PRIMARY, OFF), side(BETA, held(Role.PRIMARY, 2), ON)),
        Health.NO_REPLICA,
        "db has no replica on alpha.",
        SYNC,
    ),
    "the point is dated in the future": (
        evidence(RUNS, WAITS, age_seconds=-3600.0),
        Health.UNKNOWN,
        "is dated in the future: the clock was set back",
        SYNC,
    ),
    "when the point was captured is not known": (
        evidence(RUNS, WAITS, age_seconds=None),
        Health.UNKNOWN,
        "when that was captured is not known",
        SYNC,
    ),
    "a rollback was interrupted after its last step": (
        evidence(RUNS, WAITS, left=(run("rollback"),)),
        Health.IN_PROGRESS,
        "rollback-1 was interrupted.",
        "twinhull runs resume",
    ),
    "a failover stops the source": (
        evidence(side(ALPHA, held(Role.FENCED, 2), ON), WAITS, at_work=(run("failover"),)),
        Health.IN_PROGRESS,
        "A failover of db is running (failover-1)",
        "twinhull runs show failover-1",
    ),
    "a failover has stopped the source": (
        evidence(side(ALPHA, held(Role.FENCED, 2), OFF), WAITS, at_work=(run("failover"),)),
        Health.IN_PROGRESS,
        "A failover of db is running",
        "twinhull runs show failover-1",
    ),
    "a rollback writes": (
        evidence(side(ALPHA, held(Role.PRIMARY, is_dirty=True), OFF), WAITS, at_work=(run("rollback"),)),
        Health.IN_PROGRESS,
        "A rollback of db is running",
        "twinhull runs show rollback-1",
    ),
    "the plan is paused": (
        evidence(RUNS, WAITS, plan=PAUSED_PLAN, age_seconds=4000.0),
        Health.PAUSED,
        "The plan shop is paused: nothing is synced. The replica is 66 min 40 s old.",
        "twinhull plan resume shop",
    ),
}


@pytest.mark.parametrize("name", TABLE)
def test_each_situation_has_its_state_sentence_and_command(name: str) -> None:
    known, health, sentence, command = TABLE[name]
    verdict = judge(known)
    assert verdict.health is health, verdict
    assert sentence in verdict.sentence
    assert verdict.command == command


def test_a_guard_that_only_notices_is_reported_beside_a_machine_that_is_well() -> None:
    known = evidence(RUNS, WAITS)
    weak = GuardGrade(Grade.NOTICES, "No hooks.")
    sides = tuple(replace(side, guard=weak) for side in known.situation.sides)
    verdict = judge(replace(known, situation=replace(known.situation, sides=sides)))
    assert verdict.health is Health.PROTECTED
    told = "alpha does not refuse to start db for others, only notices it: No hooks."
    assert told in [finding.sentence for finding in verdict.findings]


def test_the_table_has_every_state() -> None:
    assert {health for _, health, _, _ in TABLE.values()} == set(Health)


HOMES: list[Standing | None] = [None, UNREADABLE, PRIMARY, held(Role.PRIMARY, 2), held(Role.FENCED, 2), REPLICA]
OTHERS: list[Standing | None] = [
    *(None, UNREADABLE, REPLICA, DIRTY, APPLYING, held(Role.REPLICA, point=None), held(Role.REPLICA, 2)),
    *(held(Role.FENCED, 2), PRIMARY, held(Role.PRIMARY, 2)),
]
RUNS_OF_OURS: list[dict[str, object]] = [
    {},
    {"at_work": (run("sync"),)},
    {"at_work": (run("failback"),)},
    {"left": (run("failover"),)},
]
SPECIALS: list[dict[str, object]] = [
    {},
    {"plan": PAUSED_PLAN},
    {"done": (lacking(UEFI),)},
    {"done": (lacking(SERIAL),)},
    {"done": ()},
]


AGES = (50, 280, 310, -9, None)


def everything() -> Iterator[Evidence]:
    """All combinations where a side runs as a primary; elsewhere, with each two sides, every special and every age."""
    homes = [silent(ALPHA), *(side(ALPHA, *pair) for pair in product(HOMES, (None, ON, PAUSED, OFF, CRASHED)))]
    others = [silent(BETA), *(side(BETA, *pair) for pair in product(OTHERS, (None, ON, OFF)))]
    for home, other, work in product(homes, others, RUNS_OF_OURS):
        is_whole = EXHAUSTIVE or _is_primary(home) or _is_primary(other)
        for special, age in product(SPECIALS, AGES) if is_whole else zip(SPECIALS, AGES, strict=True):
            yield evidence(home, other, age_seconds=age, **work, **special)


def _is_primary(known: Side) -> bool:
    return known.is_running and known.standing is not None and known.standing.role is Role.PRIMARY


def is_well(known: Evidence) -> bool:
    """What green means, said once more and otherwise: the primary runs, alone, and a whole young replica waits."""
    alpha, beta = known.situation.sides
    return _is_pair(known, alpha, beta) or _is_pair(known, beta, alpha)


def _is_pair(known: Evidence, home: Side, other: Side) -> bool:
    held_here, held_there, epoch = home.standing, other.standing, current_epoch(known.situation)
    is_home = held_here is not None and held_here.role is Role.PRIMARY and held_here.epoch == epoch and home.is_running
    is_twin = held_there is not None and held_there.role is Role.REPLICA and other.power in (OFF, CRASHED)
    if not (is_home and is_twin and held_there) or corrections(known.situation) or known.plan.is_paused:
        return False
    sync = known.done[0] if other.site == BETA and known.done else None
    at: PointId | None = held_there.point_id
    if at is None and held_there.is_dirty and sync:
        at = P11
    captured_at = known.points[at].captured_at if at and at in known.points else None
    is_young = captured_at is not None and 0 <= (known.now - captured_at).total_seconds() <= PLAN.rpo_seconds
    is_whole = not held_there.is_dirty or any(work.kind == "sync" for work in known.at_work)
    is_fit = not sync or UEFI not in _lacks(sync)
    is_moving = any(work.kind != "sync" for work in known.at_work)
    return is_young and is_whole and is_fit and not is_moving and not known.left


def _lacks(sync: RunRecord) -> list[Lack]:
    found = sync.result.get("lacks") or []
    return [lack for lack in (UEFI, SERIAL) if lacks_to_json((lack,))[0] in found]  # type: ignore[operator]


def test_what_holds_in_every_situation() -> None:
    """Green is exactly what is well, two running sides have one health only, and every alarm says what helps."""
    for known in everything():
        verdict = judge(known)
        assert (verdict.level is Level.OK) == is_well(known), (verdict, known)
        if all(item.is_running for item in known.situation.sides):
            assert verdict.health is Health.RUNS_TWICE, known
        assert all(finding.sentence.endswith((".", ":")) for finding in verdict.findings), verdict
        assert list(verdict.findings) == sorted(verdict.findings, key=lambda item: list(Health).index(item.health))
        if verdict.health in (Health.NO_REPLICA, Health.CANNOT_TAKE_OVER, Health.IN_PROGRESS):
            assert verdict.command.startswith("twinhull "), verdict


def test_the_worst_level_is_critical_then_unknown_then_warning() -> None:
    assert Level.worst([]) is Level.OK
    assert Level.worst([Level.WARNING, Level.OK]) is Level.WARNING
    assert Level.worst([Level.WARNING, Level.UNKNOWN]) is Level.UNKNOWN
    assert Level.worst([Level.UNKNOWN, Level.CRITICAL, Level.WARNING]) is Level.CRITICAL


def test_a_name_with_spaces_is_quoted_in_commands() -> None:
    known = evidence(RUNS, WAITS, age_seconds=301.0)
    odd = replace(known, machine=replace(known.machine, name="my db; rm"))
    assert judge(odd).command == "twinhull sync 'my db; rm'"


def test_points_are_told_by_machine_number_and_age() -> None:
    assert evidence(RUNS, WAITS).point(P12) == "db:12 (26 Nov 20:23:48 UTC, 50 s ago)"
