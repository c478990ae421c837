"""What a sync does on bad days: an error with a name, earlier points as they were, nothing left behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest

from tests.story import DISK_BYTES, WEB, A, B, Story, check_as_found, check_promises
from twinhull.model.errors import (
    AlreadyExists,
    DataError,
    MachineBusy,
    MachineChanged,
    NotFound,
    SiteFull,
    SiteUnreachable,
    StaleEpoch,
    StillRunning,
    TargetTooSmall,
    TwinhullError,
    UsageError,
)
from twinhull.model.machine import Consistency, DiskKey, PowerState, Role, SiteName, Standing
from twinhull.model.units import KIB, MIB
from twinhull.platforms.contract import CaptureRequest
from twinhull.platforms.simulated import SimulatedDisk
from twinhull.replication.bases import uncompared_seconds
from twinhull.repository import StoreFull


def synced(disk_count: int = 1) -> Story:
    story = Story.begin(disk_count=disk_count)
    story.write(5)
    story.sync()
    return story


def at_tick(story: Story, name: str, accident: Callable[[], object]) -> None:
    """Let the accident happen once, when that call begins."""

    def watch(tick: str) -> None:
        if tick == name:
            story.world.on_tick = None
            accident()

    story.world.on_tick = watch


def said(story: Story) -> str:
    return "\n".join(story.reasons)


def test_an_idle_sync_moves_no_disk_data() -> None:
    story = synced()
    facts = story.sync()
    assert (facts["source_read_bytes"], facts["replica_written_bytes"], facts["replica_read_bytes"]) == (0, 0, 0)
    assert cast("int", facts["stored_bytes"]) < 4 * KIB


def test_what_crosses_is_proportional_to_what_the_guest_wrote() -> None:
    story = Story.begin(disk_count=1)
    story.machine().remove_disk("vda")
    story.machine().add_disk("vda", 64 * MIB)
    story.machine().write_some(story.world.ports.randomness, 300, 16 * KIB)
    story.sync()
    story.machine().write("vda", 7 * MIB + 5, story.world.ports.randomness.token(MIB))
    facts = story.sync()
    for key in ("source_read_bytes", "stored_bytes", "replica_written_bytes"):
        assert MIB <= cast("int", facts[key]) < 4 * MIB, key
    check_promises(story)


def test_a_machine_that_dies_while_it_is_captured_is_said_to_be_off() -> None:
    story = Story.begin()
    story.write(10)
    host = story.world.host(A)

    def die() -> None:
        host.lost_captures_after_reads = 0
        story.machine().crash()

    at_tick(story, "a read", die)
    with pytest.raises(MachineChanged, match="went off on a while it was captured; nothing was published") as caught:
        story.sync()
    assert f"twinhull sync {WEB}" in caught.value.hint
    host.lost_captures_after_reads = None
    story.sync()
    check_promises(story)


def test_a_guest_that_goes_on_writing_is_captured_at_one_instant() -> None:
    story = Story.begin()
    story.workers = 4
    story.keep_writing()
    for _ in range(5):
        story.write(5)
        story.sync()
    check_promises(story)
    check_as_found(story)


def test_broken_trackers_are_said_and_compared_and_only_the_difference_is_written() -> None:
    story = synced()
    story.machine().break_trackers()
    story.machine().write("vda", 0, b"after the tracker broke")
    facts = story.sync()
    assert "is broken" in said(story)
    assert facts["was_full_compare"] is True
    assert facts["replica_written_bytes"] == facts["changed_bytes"] == 16 * KIB
    check_promises(story)


def test_lost_trackers_and_disks_that_can_have_none_are_compared() -> None:
    story = synced(2)
    story.machine().lose_trackers()
    story.machine().untrackable.add(DiskKey("vdb"))
    story.machine().write("vdb", 64 * KIB, b"x" * 100)
    story.sync()
    story.machine().write("vdb", 80 * KIB, b"y" * 100)
    facts = story.sync()
    assert facts["was_full_compare"] is False
    assert "Disk vdb is compared in full" in said(story)
    check_promises(story)


def test_a_lying_tracker_is_caught_by_a_comparison_after_which_trust_begins_anew() -> None:
    story = synced()
    story.machine().is_lying = True
    story.machine().write("vda", 0, b"this is not told to the tracker")
    for hours in (20, 50):
        story.world.ports.clock.sleep(hours * 3600)
        assert story.sync()["was_full_compare"] is False
    assert story.content(story.points()[-1], "vda") != story.machine().content("vda")
    assert 44 * 3600 <= uncompared_seconds(story.points()[-1]) < 45 * 3600
    facts = story.sync(compare_reason="it is time")
    assert facts["was_full_compare"] is True
    assert "its tracker not trusted: it is time." in said(story)
    assert "had missed" in said(story)
    assert uncompared_seconds(story.points()[-1]) == 0
    assert story.content(story.points()[-1], "vda") == story.machine().content("vda")
    assert story.machine(B).content("vda") == story.machine().content("vda")
    assert story.sync()["was_full_compare"] is False
    assert story.machine(B).content("vda") == story.machine().content("vda")


def test_a_deaf_agent_costs_the_level_and_is_said() -> None:
    story = synced()
    story.machine().is_deaf = True
    facts = story.sync()
    assert facts["consistency"] == Consistency.CRASH.value
    assert "guest agent did not answer" in said(story)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda story: story.world.host(A).delete_machine(WEB), MachineChanged),
        (lambda story: setattr(story.world.host(A), "lost_captures_after_reads", 0), DataError),
        (lambda story: story.world.host(A).crash(), SiteUnreachable),
        (lambda story: setattr(story.world.host(A), "hang_seconds", 60.0), SiteUnreachable),
    ],
    ids=["deleted", "snapshot lost", "site gone", "site hangs"],
)
def test_what_happens_to_the_source_meanwhile_publishes_nothing(
    change: Callable[[Story], object], error: type[TwinhullError]
) -> None:
    story = synced()
    before = story.machine(B).content("vda")
    story.write(3)
    at_tick(story, "a read", lambda: change(story))
    with pytest.raises(error):
        story.sync()
    assert len(story.points()) == 1
    assert story.machine(B).content("vda") == before
    story.world.host(A).return_()
    check_promises(story)


@pytest.mark.parametrize("name", ["pack", "index", "point"])
def test_a_full_repository_publishes_nothing_and_the_next_sync_is_whole(name: str) -> None:
    story = synced()
    story.write(5)

    def fill() -> None:
        raise StoreFull("There is no room left in the store.")

    at_tick(story, f"store create {name}", fill)
    with pytest.raises(StoreFull):
        story.sync()
    assert len(story.points()) == 1
    check_as_found(story)
    assert story.sync()["was_full_compare"] is False
    check_promises(story)


def test_a_machine_that_is_renamed_meanwhile_is_followed_and_said() -> None:
    story = synced()
    story.write(3)
    at_tick(story, "a read", lambda: story.machine().rename("web-new"))
    story.sync()
    assert "renamed" in said(story)
    story.sync()
    assert story.machine(B).spec.name == "web-new"
    check_promises(story)


def test_a_full_target_leaves_the_replica_dirty_and_not_startable_then_converges() -> None:
    story = synced()
    story.write(9)
    story.world.host(B).room_bytes = story.world.host(B).bytes_written + 40 * KIB
    with pytest.raises(SiteFull):
        story.sync()
    held = story.world.host(B).standings[WEB]
    assert held.is_dirty
    assert not held.may_start
    assert len(story.points()) == 2
    story.world.host(B).room_bytes = None
    story.write(2)
    story.sync()
    check_promises(story)
    check_as_found(story)


def test_a_target_that_dies_in_the_middle_of_a_write_is_driven_forward_to_a_later_point() -> None:
    story = synced()
    story.write(9)
    story.world.host(B).torn_after_bytes = story.world.host(B).bytes_written + 40 * KIB + 100
    with pytest.raises(SiteUnreachable):
        story.sync()
    story.machine(B).disks[DiskKey("vda")].cut_power()
    story.world.host(B).return_()
    story.write(5)
    facts = story.sync()
    assert cast("int", facts["replica_read_bytes"]) == 0, "driven forward by the trees, without a comparison"
    check_promises(story)


def test_power_loss_on_the_target_before_the_flush_is_no_harm() -> None:
    story = synced()
    story.write(9)
    at_tick(story, "b flush", story.world.host(B).crash)
    with pytest.raises(SiteUnreachable):
        story.sync()
    story.world.host(B).return_()
    assert story.world.host(B).standings[WEB].is_dirty
    story.sync()
    check_promises(story)


def test_a_target_disk_that_is_too_small_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    story = synced()
    story.write(3)
    story.machine(B).disks[DiskKey("vda")] = SimulatedDisk(DISK_BYTES // 2)
    monkeypatch.setattr("twinhull.platforms.simulated.replicas.SimulatedDisk.grow", lambda *_: None)
    with pytest.raises(TargetTooSmall):
        story.sync()
    assert story.world.host(B).standings[WEB].is_dirty


def test_two_syncs_at_once_the_second_is_refused() -> None:
    story = synced()
    site = story.context().site(A)
    with site.captures.capture(CaptureRequest(WEB, "the-other-one")), pytest.raises(MachineBusy):
        story.sync()
    assert len(story.points()) == 1
    story.sync()
    check_as_found(story)


def test_unknown_machines_same_sites_and_foreign_machines_are_refused() -> None:
    story = synced()
    with pytest.raises(UsageError):
        story.sync(A, A)
    story.world.host(A).delete_machine(WEB)
    with pytest.raises(NotFound):
        story.sync()
    other = Story.begin(disk_count=1)
    other.world.host(B).add_machine(other.machine().spec, is_running=False)
    content = other.machine(B).content("vda")
    with pytest.raises(AlreadyExists):
        other.sync()
    assert other.machine(B).content("vda") == content
    assert WEB not in other.world.host(B).standings


def test_a_replica_that_somebody_runs_is_not_written_to() -> None:
    story = synced()
    story.write(2)
    at_tick(story, "b write standing", story.machine(B).switch_on)  # one that runs before is switched off first
    with pytest.raises(StillRunning):
        story.sync()


def test_what_a_replica_wrote_while_somebody_ran_it_does_not_stay() -> None:
    story = synced()
    replica = story.machine(B)
    replica.switch_on()
    replica.write_some(story.world.ports.randomness, 6)
    story.write(2)
    assert "switched off there" in str(story.sync()["reasons"])
    check_promises(story)


def test_a_side_that_is_no_primary_is_not_captured() -> None:
    story = synced()
    with pytest.raises(StaleEpoch):
        story.sync(B, A)
    assert len(story.points()) == 1


def test_a_replica_that_was_deleted_by_hand_is_made_again() -> None:
    story = synced()
    story.world.host(B).delete_machine(WEB)
    story.write(2)
    story.sync()
    check_promises(story)


def test_a_replica_of_an_unknown_point_is_compared_in_full_and_only_the_difference_is_written() -> None:
    story = synced()
    story.world.host(B).standings[WEB] = Standing(WEB, Role.REPLICA, 1)
    story.machine(B).put(DiskKey("vda"), 128 * KIB, b"what nobody knows of")
    facts = story.sync()
    assert facts["replica_written_bytes"] in (0, 16 * KIB)
    check_promises(story)


def test_verifying_reads_the_whole_replica_and_names_what_differs() -> None:
    story = synced()
    story.sync(is_verifying=True)
    story.machine(B).put(DiskKey("vda"), 128 * KIB, b"rot")
    with pytest.raises(DataError, match="vda differs from its point"):
        story.sync(is_verifying=True)
    assert story.world.host(B).standings[WEB].is_dirty, "a replica that failed verification is not started"
    story.sync(is_verifying=True)
    check_promises(story)


def test_a_stopped_machine_is_captured_as_shut_down() -> None:
    story = synced()
    story.write(2)
    story.machine().switch_off()
    facts = story.sync()
    assert facts["consistency"] == Consistency.SHUT_DOWN.value
    assert story.machine().power is PowerState.OFF
    check_promises(story)


def test_capture_only_leaves_the_machine_without_a_standing() -> None:
    story = Story.begin()
    story.write(2)
    story.sync(target=None)
    assert story.world.host(A).standings == {}
    assert SiteName("b") in story.world.hosts
    check_promises(story)


@pytest.mark.parametrize("site", [A, B])
def test_a_standing_that_cannot_be_understood_stops_the_sync_and_not_the_machine(site: SiteName) -> None:
    story = synced()
    host = story.world.host(site)
    held = dict(host.standings)
    host.unreadable.add(WEB)
    with pytest.raises(DataError, match="cannot be read"):
        story.sync()
    assert host.standings == held
    assert story.machine().power is PowerState.RUNNING
    host.unreadable.clear()
    story.sync()
    check_promises(story)
