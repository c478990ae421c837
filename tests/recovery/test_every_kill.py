"""kill -9 of ourselves at every call of every kind of run, then again: it converges, and every promise holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.recovery.scenarios import SCENARIOS, Scenario, check_end, synced
from tests.story import WEB, B, Story, check_as_found, check_promises
from twinhull.model.machine import DiskKey
from twinhull.model.perform import Journal
from twinhull.platforms.simulated import Killed


def tick_count(scenario: Scenario) -> int:
    story = scenario.begin()
    request = scenario.request(story)
    story.world.forget_ticks()
    facts = story.run(scenario.action, request)
    count = len(story.world.ticks)
    check_end(scenario, story, facts)
    return count


def killed_at(scenario: Scenario, number: int) -> tuple[Story, Journal]:
    story = scenario.begin()
    request = scenario.request(story)
    journal = Journal()
    story.world.forget_ticks()
    story.world.kill_at = number
    with pytest.raises(Killed):
        story.run(scenario.action, request, journal)
    story.world.restart()
    story.world.forget_ticks()
    check_promises(story)
    facts = story.run(scenario.action, request, journal)
    check_end(scenario, story, facts)
    return story, journal


def kill_every_sync(begin: Callable[[], Story]) -> Iterator[Story]:
    """The world after a sync was killed at its first, second, … tick, until it ends by itself."""
    for number in range(1, 1000):
        story = begin()
        story.world.forget_ticks()
        story.world.kill_at = number
        try:
            story.sync()
        except Killed:
            story.world.restart()
            yield story
        else:
            return


def test_a_replica_that_was_killed_half_way_is_driven_to_a_later_point_that_takes_the_changes_back() -> None:
    """The later point differs from the half-applied one where the earliest does not: those places count, too."""

    def begin() -> Story:
        story = synced()
        story.write(3)
        return story

    was_half_way = 0
    for story in kill_every_sync(begin):
        held = story.world.host(B).standings[WEB]
        was_half_way += held.is_dirty and held.point_id is not None
        story.world.ports.clock.sleep(60)  # a guest that was frozen at the kill is thawed by its own host
        story.machine().write("vda", 0, story.content(story.points()[0], "vda"))
        facts = story.sync()
        assert held.point_id is None or facts["replica_read_bytes"] == 0, "no comparison is needed"
        check_promises(story)
        check_as_found(story)
    assert was_half_way > 5


@pytest.mark.parametrize("is_defined", [True, False], ids=["its file is gone", "it was taken out"])
def test_a_disk_that_was_gone_behind_our_back_is_not_believed_after_a_kill(*, is_defined: bool) -> None:
    """The site makes the disk anew, and what a killed sync leaves is compared in full."""

    def begin() -> Story:
        story = synced()
        if is_defined:
            del story.machine(B).disks[DiskKey("vda")]
        else:
            story.machine(B).remove_disk("vda")
        return story

    for story in kill_every_sync(begin):
        story.sync()
        check_promises(story)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_killed_at_every_call_it_converges(scenario: Scenario) -> None:
    count = tick_count(scenario)
    for number in range(1, count + 1):
        try:
            killed_at(scenario, number)
        except BaseException as error:
            error.add_note(f"killed at tick {number} of {count}")
            raise
