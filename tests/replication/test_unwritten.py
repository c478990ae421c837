"""Changes that no tracker counts, and captures that can read nothing but changes."""

from __future__ import annotations

import random

import pytest

from tests.story import CHUNK_BYTES, DISK_BYTES, A, Story, check_promises
from twinhull.model.errors import DataError, SiteFull
from twinhull.model.machine import DiskKey
from twinhull.platforms.contract import CaptureRequest
from twinhull.platforms.simulated import captures
from twinhull.platforms.simulated.disks import PAGE_BYTES

VDA = DiskKey("vda")


def cut(story: Story, size_bytes: int) -> None:
    """The owner makes a disk smaller and larger again; its trackers are cut and grown with it."""
    machine = story.machine()
    disk = machine.disks[VDA]
    for number in [number for number in disk.pages if number * PAGE_BYTES >= size_bytes]:
        del disk.pages[number]
    disk.flush()
    for tracker in machine.trackers[VDA].values():
        tracker.changed = {grain for grain in tracker.changed if (grain + 1) * 64 * 1024 <= size_bytes}
    machine._history = None


def filled(*, is_copying_changes: bool, end_bytes: int = DISK_BYTES) -> Story:
    story = Story.begin(disk_count=1)
    story.world.host(A).is_copying_changes = is_copying_changes
    story.machine().write("vda", 0, story.world.ports.randomness.token(end_bytes))
    story.sync()
    return story


@pytest.mark.parametrize("is_copying_changes", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_a_disk_that_was_made_smaller_and_larger_is_in_its_point(seed: int, *, is_copying_changes: bool) -> None:
    chance = random.Random(seed)
    story = filled(is_copying_changes=is_copying_changes, end_bytes=chance.choice([DISK_BYTES, DISK_BYTES // 2]))
    for _ in range(3):
        if chance.random() < 0.7:
            cut(story, chance.randrange(0, DISK_BYTES, PAGE_BYTES))
        for _ in range(chance.randrange(4)):  # near the end, too: what changed there proves nothing
            length = chance.randrange(1, 3 * CHUNK_BYTES)
            place = chance.choice([DISK_BYTES - length, chance.randrange(DISK_BYTES - length)])
            story.machine().write("vda", place, story.world.ports.randomness.token(length))
        story.sync()
        assert story.content(story.points()[-1], VDA) == story.machine().content("vda")
    check_promises(story)


@pytest.mark.parametrize("is_copying_changes", [False, True])
def test_an_honest_tracker_costs_no_second_capture(*, is_copying_changes: bool) -> None:
    story = filled(is_copying_changes=is_copying_changes)
    story.machine().write("vda", DISK_BYTES - 100, b"at the very end")
    facts = story.sync()
    assert 0 < int(str(facts["source_read_bytes"])) < DISK_BYTES
    assert "captured once more" not in "\n".join(story.reasons)
    check_promises(story)


def test_where_only_changes_can_be_read_a_comparison_captures_once_more() -> None:
    story = filled(is_copying_changes=True)
    story.write()
    story.sync(compare_reason="it is time")
    assert "captured once more" in "\n".join(story.reasons)
    assert story.content(story.points()[-1], VDA) == story.machine().content("vda")
    check_promises(story)


def test_a_comparison_for_which_there_is_no_room_costs_no_point(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = captures._at_one_instant

    def cramped(*words: object) -> object:
        request = words[-1]
        assert isinstance(request, CaptureRequest)
        if not request.since:
            raise SiteFull("no room for a copy")
        return begin(*words)  # type: ignore[arg-type]

    story = filled(is_copying_changes=True)
    story.write()
    monkeypatch.setattr(captures, "_at_one_instant", cramped)
    story.sync(compare_reason="it is time")
    assert "trackers are trusted once more: no room for a copy" in "\n".join(story.reasons)
    assert story.content(story.points()[-1], VDA) == story.machine().content("vda")
    cut(story, 0)
    with pytest.raises(SiteFull):
        story.sync()
    check_promises(story)


def test_a_capture_of_changes_reads_nothing_else() -> None:
    story = filled(is_copying_changes=True)
    [disk] = story.points()[-1].document.disks
    site = story.context().site(A)
    with site.captures.capture(
        CaptureRequest(story.machine().spec.machine_id, "c", {VDA: str(disk.tracker["id"])})
    ) as capture:
        assert not capture.disks[0].is_whole
        with pytest.raises(DataError, match="was not copied"):
            capture.disks[0].open().read(0, 1)
