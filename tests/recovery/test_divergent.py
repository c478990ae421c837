"""What a side wrote after it had lost the machine is kept before anything overwrites it.

Kills and failures at each step are in test_every_kill.py and test_every_step.py, by the scenarios "… after a split".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest

from tests.recovery.scenarios import failed_over, failover, split, sync_back, synced
from tests.story import WEB, A, B, Story, check_promises, named
from twinhull.actions.requests import FailoverRequest, ReconcileRequest, SyncRequest
from twinhull.model.errors import NotSupportedHere, SiteError
from twinhull.model.machine import DiskKey, PointId, PowerState, Role
from twinhull.recovery.failover.action import FAILOVER
from twinhull.recovery.reconcile import RECONCILE
from twinhull.replication.divergent import keep_divergent
from twinhull.replication.sync import SYNC
from twinhull.repository import Point, RetentionRules, decide_retention


def divergent(story: Story) -> list[Point]:
    return [point for point in story.points() if point.document.is_divergent]


def reconciled() -> Story:
    story = split()
    story.run(RECONCILE, ReconcileRequest(story.run_id(), WEB, (A, B)))
    return story


def ran_again_while_fenced() -> Story:
    """It was kept, and then started by hand past the guard: what it wrote then is kept, too."""
    story = reconciled()
    context = story.context()
    held = context.site(A).standings.read(WEB)
    assert held
    assert keep_divergent(context, WEB, A, held)
    machine = story.machine()
    machine.power = PowerState.RUNNING
    story.write(1)
    story.left_behind = {key: machine.content(key) for key in machine.disks}
    return story


def replica_was_started() -> Story:
    """Somebody started the replica past the guard; the machine itself ran on."""
    story = synced()
    story.machine(B).power = PowerState.RUNNING
    story.write(2, B)
    story.left_behind = {key: story.machine(B).content(key) for key in story.machine(B).disks}
    return story


def unplanned_though_it_answers() -> Story:
    story = synced()
    story.run(FAILOVER, failover(is_planned=False)(story))
    story.left_behind = {key: story.machine().content(key) for key in story.machine().disks}
    return story


@pytest.mark.parametrize(
    ("begin", "is_of_b"),
    [
        (split, False),
        (partial(split, is_running=True), False),
        (reconciled, False),
        (ran_again_while_fenced, False),
        (unplanned_though_it_answers, False),
        (replica_was_started, True),
    ],
)
def test_what_is_overwritten_becomes_a_point_first(begin: Callable[[], Story], *, is_of_b: bool) -> None:
    story = begin()
    story.sync(*((A, B) if is_of_b else (B, A)))
    kept = divergent(story)[-1]
    assert {str(disk.key): story.content(kept, disk.key) for disk in kept.document.disks} == story.left_behind
    assert kept.document.source_site == (B if is_of_b else A)
    assert any("is kept as the divergent point" in reason for reason in story.reasons)
    check_promises(story)


def test_the_replica_is_brought_from_the_divergent_point_by_what_differs() -> None:
    story = split()
    facts = story.sync(B, A)
    assert facts["replica_read_bytes"] == 0, "its disks need not be compared again"
    assert facts["divergent_point_id"] == divergent(story)[0].id


def test_a_side_that_wrote_nothing_leaves_no_point() -> None:
    story = synced()
    story.sync()
    story.world.host(A).isolate()
    story.run(FAILOVER, story.failover_request(A, B, is_planned=False))
    story.world.host(A).return_()
    story.sync(B, A)
    assert not divergent(story)
    planned = failed_over()
    planned.sync(B, A)
    assert not divergent(planned)


def test_each_time_is_kept_for_itself_and_nothing_twice() -> None:
    story = split()
    story.sync(B, A)
    story.sync(B, A)
    assert len(divergent(story)) == 1
    story.world.host(B).isolate()
    story.run(FAILOVER, story.failover_request(B, A, is_planned=False))
    story.write(2, B)
    story.world.host(B).return_()
    story.sync(A, B)
    assert [point.document.source_site for point in divergent(story)] == [A, B]


def test_nothing_goes_on_from_a_divergent_point_unless_it_is_named() -> None:
    story = split()
    story.sync(B, A)
    kept = divergent(story)[0]
    assert story.points()[-1] is not kept or kept.sequence == len(story.points())
    assert named(story.points(), "N").document.source_site == B
    assert named(story.points(), str(kept.sequence)) == kept
    story.world.host(B).crash()
    facts = story.run(FAILOVER, story.failover_request(B, A, is_planned=False))
    assert facts["point_id"] == named([p for p in story.points() if p.sequence <= kept.sequence], "N").id
    story.world.host(B).return_()
    story.sync(A, B)
    story.world.host(A).crash()
    facts = story.run(FAILOVER, story.failover_request(A, B, is_planned=False, to_point_id=kept.id))
    assert facts["point_id"] == kept.id
    content = {str(key): story.machine(B).content(key) for key in story.machine(B).disks}
    assert content == story.left_behind


def test_retention_counts_divergent_points_for_nothing_and_takes_them_once_they_are_released() -> None:
    story = split()
    story.sync(B, A)
    kept = divergent(story)[0]
    rules = RetentionRules(keep_last=1, minimum_count=1)
    held = decide_retention(story.points(), rules, {kept.id})
    latest = named(story.points(), "N")
    assert {verdict.point.id for verdict in held if verdict.stays} == {kept.id, latest.id}
    released = {verdict.point.id: verdict for verdict in decide_retention(story.points(), rules)}
    assert released[kept.id].reason == "goes: it is divergent, and not held"
    assert released[latest.id].stays


def _refuse(*_: object) -> None:
    raise NotSupportedHere("This disk is encrypted.", hint="Start the machine.")


@pytest.mark.parametrize("action", ["sync", "failover"])
def test_what_cannot_be_kept_is_not_overwritten_unless_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    story = split()
    monkeypatch.setattr("twinhull.replication.divergent.capture_divergent", _refuse)

    def run(*, is_dropping: bool) -> None:
        if action == "sync":
            sync: SyncRequest = replace(sync_back(story), is_dropping_divergent=is_dropping)  # type: ignore[call-arg, assignment]
            story.run(SYNC, sync)
        else:
            move: FailoverRequest = replace(story.failover_request(B, A), is_dropping_divergent=is_dropping)
            story.run(FAILOVER, move)

    with pytest.raises(SiteError, match="its disks were left as they are: This disk is encrypted") as refused:
        run(is_dropping=False)
    assert "--drop-divergent" in refused.value.hint
    assert {key: story.machine().content(key) for key in story.left_behind} == story.left_behind
    run(is_dropping=True)
    assert not divergent(story)


def test_a_point_says_in_which_epoch_it_was_written() -> None:
    story = split()
    story.sync(B, A)
    kept, latest = divergent(story)[0], named(story.points(), "N")
    assert (kept.document.epoch, latest.document.epoch) == (1, 2)
    held = story.world.host(A).standings[WEB]
    assert (held.role, held.point_id) == (Role.REPLICA, PointId(latest.id))
    assert kept.disk(DiskKey("vda")) is not None
