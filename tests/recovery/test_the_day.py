"""The story of a bad day, and what is refused on it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.recovery.scenarios import failed_over, is_on, runs_from_its_point, synced
from tests.stepping import Journal
from tests.story import MAC, WEB, A, B, Story, check_as_found, check_epochs, check_promises, named
from twinhull.actions.requests import FailoverRequest, ReconcileRequest, RestoreRequest, RollbackRequest
from twinhull.model.errors import (
    AlreadyExists,
    NotFound,
    SiteError,
    SiteUnreachable,
    StaleEpoch,
    UsageError,
)
from twinhull.model.machine import DiskKey, PointId, PowerState, Role
from twinhull.platforms.simulated import SimulatedCaptures
from twinhull.recovery.failover.action import FAILBACK, FAILOVER
from twinhull.recovery.previews import plan_failover, plan_restore, plan_rollback, plan_sync
from twinhull.recovery.reconcile import RECONCILE
from twinhull.recovery.restore.action import RESTORE
from twinhull.recovery.rollback import ROLLBACK
from twinhull.replication.standing import look


def unplanned(story: Story, **more: object) -> FailoverRequest:
    return story.failover_request(A, B, is_planned=False, **more)


def planned(story: Story) -> FailoverRequest:
    return story.failover_request(A, B)


def check_all(story: Story) -> None:
    check_promises(story)
    check_as_found(story)
    check_epochs(story)


def test_there_and_back_moves_only_what_differs() -> None:
    story = failed_over()
    story.reasons.clear()
    facts = story.run(FAILBACK, story.failover_request(B, A))
    assert "compared in full" not in "\n".join(story.reasons)
    assert facts["replica_read_bytes"] == 0
    changed = facts["changed_bytes"]
    assert isinstance(changed, int)
    assert 0 < changed <= 2 * 64 * 1024
    check_all(story)


def test_an_isolated_side_that_goes_on_running_is_fenced_and_stopped_when_it_answers_again() -> None:
    story = synced()
    story.world.host(A).isolate()
    story.run(FAILOVER, unplanned(story))
    assert is_on(story, A)
    assert is_on(story, B)
    check_promises(story, may_be_split=True)
    story.world.host(A).return_()
    facts = story.run(RECONCILE, ReconcileRequest(story.run_id(), WEB, (A, B)))
    assert len(facts["corrections"] if isinstance(facts["corrections"], list) else []) == 2
    assert not is_on(story, A)
    assert story.world.host(A).standings[WEB].role is Role.FENCED
    with pytest.raises(StaleEpoch):
        story.context().site(A).power.start(WEB, 1)
    check_all(story)
    assert story.run(RECONCILE, ReconcileRequest(story.run_id(), WEB, (A, B)))["corrections"] == []
    story.write(2, B)
    story.run(FAILBACK, story.failover_request(B, A))
    check_all(story)


def test_an_old_host_that_comes_back_with_its_machine_off_does_not_start_it() -> None:
    story = synced()
    story.world.host(A).crash()
    story.run(FAILOVER, unplanned(story))
    story.world.host(A).return_()
    story.sync(B, A)
    with pytest.raises(StaleEpoch):
        story.context().site(A).power.start(WEB, 1)
    check_all(story)


def test_the_loss_is_told_in_seconds_and_bytes() -> None:
    story = synced()
    story.write(1)
    story.world.ports.clock.sleep(90)
    story.machine().switch_off(PowerState.CRASHED)
    facts = story.run(FAILOVER, unplanned(story))
    assert facts["rpo_seconds"] == 90
    lost = facts["lost_bytes"]
    assert isinstance(lost, int)
    assert lost >= 64 * 1024
    assert "Lost: what web wrote after 00:00:00 UTC (90 s)." in "\n".join(story.reasons)


def test_the_loss_is_unknown_where_the_trackers_broke() -> None:
    story = synced()
    story.machine().crash()
    assert story.run(FAILOVER, unplanned(story))["lost_bytes"] is None


def test_times_are_measured_by_the_monotonic_clock() -> None:
    story = synced()
    story.machine().is_stubborn = True
    facts = story.run(FAILOVER, planned(story))
    assert facts["rto_seconds"] == 120
    assert "did not shut down by itself" in "\n".join(story.reasons)


def test_an_earlier_point_can_be_asked_for_and_later_points_stay() -> None:
    story = synced(3)
    story.world.host(A).crash()
    wanted = story.points()[0]
    story.run(FAILOVER, unplanned(story, to_point_id=wanted.id))
    assert story.machine(B).history.content(DiskKey("vda"), story.machine(B).disks[DiskKey("vda")].size_bytes, 0) == (
        story.content(wanted, "vda")
    )
    assert len(story.points()) == 3


def test_a_half_applied_replica_is_driven_forward_before_it_is_started() -> None:
    story = synced()
    story.write(9)
    story.world.host(B).torn_after_bytes = story.world.host(B).bytes_written + 20_000
    with pytest.raises(SiteUnreachable):
        story.sync()
    story.world.host(B).return_()
    story.world.host(A).crash()
    facts = story.run(FAILOVER, unplanned(story))
    assert facts["point_id"] == story.points()[-1].id
    check_all(story)


@pytest.mark.parametrize("count", [1, 3])
def test_a_point_of_a_new_repository_is_not_taken_for_the_lost_one_of_its_number(count: int) -> None:
    story = synced(count)
    story.begin_another_repository()
    story.world.host(B).isolate()
    for _ in range(count - 1):
        story.write(4)
        story.sync(target=None)
    story.write(4)
    story.world.host(B).return_()
    story.sync()
    check_promises(story)


def test_a_replica_at_a_point_of_a_lost_repository_is_not_ready_for_one_of_that_number() -> None:
    story = synced()
    story.begin_another_repository()
    story.write(4)
    story.sync(target=None)
    story.world.host(A).crash()
    facts = story.run(FAILOVER, unplanned(story))
    runs_from_its_point(B, Role.PRIMARY)(story, facts)


def test_failing_over_twice_is_refused() -> None:
    story = failed_over()
    with pytest.raises(UsageError, match=r"is on .* already"):
        story.run(FAILOVER, planned(story))


def as_it_is(story: Story) -> FailoverRequest:
    point_id = story.world.host(B).standings[WEB].point_id
    return unplanned(story, to_point_id=point_id, is_without_repository=True)


def _refuse(*_: object) -> None:
    raise SiteError("No trackers today.")


def test_an_epoch_that_a_failover_left_on_a_source_which_is_silent_now_is_passed_without_the_repository(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    story = synced()
    with monkeypatch.context() as patch:
        patch.setattr(SimulatedCaptures, "arm_trackers", _refuse)
        with pytest.raises(SiteError):
            story.run(FAILOVER, planned(story))
    assert (story.world.host(A).standings[WEB].epoch, story.world.host(B).standings[WEB].epoch) == (2, 1)
    story.world.host(A).isolate()
    story.is_repository_away = True
    facts = story.run(FAILOVER, as_it_is(story))
    assert int(str(facts["epoch"])) > 2
    story.world.host(A).return_()
    story.run(RECONCILE, ReconcileRequest(story.run_id(), WEB, (A, B)))
    assert (is_on(story, A), is_on(story, B)) == (False, True)


def test_a_source_that_is_given_back_without_the_repository_keeps_its_trackers(monkeypatch: pytest.MonkeyPatch) -> None:
    story = synced()
    story.is_repository_away = True
    with monkeypatch.context() as patch:
        patch.setattr(SimulatedCaptures, "arm_trackers", _refuse)
        with pytest.raises(SiteError):
            story.run(FAILOVER, as_it_is(story))
    assert is_on(story, A)
    story.is_repository_away = False
    assert story.sync()["was_full_compare"] is False


def test_a_source_is_not_stopped_for_a_replica_that_is_not_there_any_more() -> None:
    story = synced()
    story.is_repository_away = True
    story.world.host(B).delete_machine(WEB)
    with pytest.raises(NotFound, match="nothing was done"):
        story.run(FAILOVER, as_it_is(story))
    assert "a stop" not in story.world.ticks


def test_planned_needs_the_source_and_says_so() -> None:
    story = synced()
    story.world.host(A).crash()
    with pytest.raises(SiteUnreachable, match="planned failover needs it"):
        story.run(FAILOVER, planned(story))
    story.world.host(B).isolate()
    with pytest.raises(SiteUnreachable):
        story.run(FAILOVER, unplanned(story))


def test_there_is_nothing_to_fail_over_to_without_a_point() -> None:
    story = Story.begin()
    with pytest.raises(NotFound, match="no point"):
        story.run(FAILOVER, unplanned(story))
    assert is_on(story, A)


def test_a_machine_that_does_not_come_up_is_said_and_the_run_can_be_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    story = synced()
    journal, request = Journal(), planned(story)
    with monkeypatch.context() as patched:
        patched.setattr("twinhull.platforms.simulated.machines.SimulatedMachine.switch_on", lambda _: None)
        with pytest.raises(SiteError, match="is off after"):
            story.run(FAILOVER, request, journal)
    assert journal.is_forward_only
    story.run(FAILOVER, request, journal)
    assert is_on(story, B)
    check_all(story)


def test_rollback_keeps_the_present_and_the_next_sync_is_small() -> None:
    story = synced(3)
    wanted, present = story.points()[-3], story.machine().content("vda")
    facts = story.run(ROLLBACK, RollbackRequest(story.run_id(), WEB, A, wanted.id, other_sites=(B,)))
    kept = story.witness().point(PointId(str(facts["present_point_id"])))
    assert story.content(kept, "vda") == present
    assert story.machine().content("vda") == story.content(wanted, "vda")
    after = story.sync()
    assert after["source_read_bytes"] == 0
    check_all(story)


def test_rollback_without_keeping_the_present_compares_in_full() -> None:
    story = synced(3)
    wanted = story.points()[-3]
    request = RollbackRequest(story.run_id(), WEB, A, wanted.id, is_keeping_present=False, is_starting=False)
    story.run(ROLLBACK, request)
    assert story.machine().content("vda") == story.content(wanted, "vda")
    assert not is_on(story, A)
    assert len(story.points()) == 3


def test_rollback_of_a_machine_without_a_standing_works_and_is_refused_on_the_wrong_side() -> None:
    story = Story.begin()
    for _ in range(3):
        story.write(2)
        story.sync(target=None)
    wanted = story.points()[0]
    story.run(ROLLBACK, RollbackRequest(story.run_id(), WEB, A, wanted.id))
    for key in ("vda", "vdb"):
        assert story.machine().content(key) == story.content(wanted, key)
    over = failed_over()
    with pytest.raises(StaleEpoch):
        over.run(ROLLBACK, RollbackRequest(over.run_id(), WEB, A, over.points()[0].id, other_sites=(B,)))


def test_a_rollback_on_the_other_site_leaves_the_machine_in_its_network() -> None:
    story = failed_over()
    wanted = story.points()[0]
    story.run(ROLLBACK, RollbackRequest(story.run_id(), WEB, B, wanted.id, other_sites=(A,)))
    assert is_on(story, B)
    assert story.machine(B).plugged() == {MAC: "bridge:xenbr0"}
    assert story.machine(B).content("vda") == story.content(wanted, "vda")
    story.run(FAILBACK, story.failover_request(B, A))
    assert story.machine(A).plugged() == {MAC: "bridge:br0"}
    check_all(story)


def test_a_network_that_is_mapped_to_nothing_is_said() -> None:
    story = Story.begin()
    said = story.sync(networks={})["reasons"]
    assert f"The network card {MAC} is left out: 'bridge:br0' is mapped to no network here." in str(said)
    assert story.machine(B).plugged() == {}


def test_rollback_to_a_point_with_other_disks_makes_the_machine_follow() -> None:
    story = synced()
    story.machine().add_disk("vdb", 64 * 1024)
    story.machine().write("vdb", 0, b"new disk")
    story.sync()
    story.run(ROLLBACK, RollbackRequest(story.run_id(), WEB, A, story.points()[0].id, other_sites=(B,)))
    assert list(story.machine().disks) == ["vda"]
    story.sync()
    check_all(story)
    story.run(ROLLBACK, RollbackRequest(story.run_id(), WEB, A, story.points()[1].id, other_sites=(B,)))
    assert story.machine().content("vdb")[:8] == b"new disk"
    check_promises(story)


def test_points_are_found_by_the_names_that_people_use() -> None:
    points = synced(3).points()
    assert named(points, "N") == points[2]
    assert named(points, "N-2") == points[0]
    assert named(points, "2") == named(points, "#2") == points[1]
    assert named(points, points[1].id) == points[1]
    for unknown in ("N-3", "9", f"{WEB}/00000009"):
        with pytest.raises(NotFound):
            named(points, unknown)
    for nonsense in ("", "N+1", "yesterday"):
        with pytest.raises(UsageError):
            named(points, nonsense)


def test_plans_say_what_would_happen_and_change_nothing() -> None:
    story = synced(2)
    context = story.context()
    points, ticks = story.points(), len(story.world.ticks)
    situation = look(context, WEB, (A, B))
    now = context.ports.clock.now() + timedelta(seconds=30)
    text = "\n".join(
        [
            *plan_sync(story.sync_request(), situation, points),
            *plan_failover(planned(story), situation, points, now),
            *plan_failover(unplanned(story), situation, points, now),
            *plan_rollback(RollbackRequest("x", WEB, A, points[0].id), situation, points, now),
            *plan_restore(RestoreRequest("x", WEB, points[0].id, to_site=B), points[0], now),
        ]
    )
    for words in (
        "Capture what changed on a since web:2.",
        "Fence a at epoch 2",
        "a answers and runs web: 'twinhull failover web --planned' would lose nothing.",
        "Start from web:2 (01 Jan 00:00:00 UTC, 30 s ago).",
        "Lost: what web wrote after 00:00:00 UTC (30 s).",
        "Put its disks back to web:1 (",
        "Make a new machine web-restored on b",
    ):
        assert words in text
    assert all(not tick.endswith("standing done") or "write" not in tick for tick in story.world.ticks[ticks:])
    with pytest.raises(UsageError):
        plan_failover(FailoverRequest("x", WEB, B, A), situation, points, now)


def test_a_restored_machine_never_replaces_one_that_is_there() -> None:
    story = synced()
    point = story.points()[0].id
    taken = [
        RestoreRequest("x", WEB, point, to_site=A, new_machine_id=WEB),
        RestoreRequest("x", WEB, point, to_site=A, new_name="web"),
    ]
    for request in taken:
        with pytest.raises(AlreadyExists):
            story.run(RESTORE, request)
    with pytest.raises(UsageError):
        story.run(RESTORE, RestoreRequest("x", WEB, point))
    with pytest.raises(NotFound):
        story.run(RESTORE, RestoreRequest("x", WEB, PointId(f"{WEB}/00000099"), to_site=B))
