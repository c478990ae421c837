"""kill -9 of ourselves at every call of every kind of run, then again: it converges, and every promise holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.recovery.scenarios import SCENARIOS, Scenario, check_end, is_on, synced
from tests.recovery.test_every_step import Hiccup, failing_after, with_step
from tests.stepping import Journal
from tests.story import WEB, A, B, Story, check_as_found, check_promises, made_once
from twinhull.model.machine import DiskKey
from twinhull.platforms.simulated import Killed


def places_to_kill_at(scenario: Scenario) -> list[int]:
    """Before every call, and after those that end a step.

    After any other call the world is as it is before the next one, so that would be the same place twice.
    """
    story = scenario.begin()
    request, journal = scenario.request(story), Journal()
    steps_done: list[int] = []
    story.world.forget_ticks()
    story.world.on_tick = lambda _: steps_done.append(len(journal.done))
    facts = story.run(scenario.action, request, journal)
    story.world.on_tick = None
    ticks = list(story.world.ticks)
    check_end(scenario, story, facts)
    following = [*steps_done[1:], len(journal.done)]
    return [
        number + 1
        for number, tick in enumerate(ticks)
        if not tick.endswith(" done") or steps_done[number] != following[number]
    ]


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
    for story in kill_every_sync(made_once(begin)):
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

    for story in kill_every_sync(made_once(begin)):
        story.sync()
        check_promises(story)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_killed_at_every_call_it_converges(scenario: Scenario) -> None:
    places = places_to_kill_at(scenario)
    assert len(places) > 15
    for number in places:
        try:
            killed_at(scenario, number)
        except BaseException as error:
            error.add_note(f"killed at tick {number} of {places[-1]}")
            raise


@pytest.mark.parametrize(("name", "failing"), [("planned failover", "arm trackers"), ("rollback", "start")])
def test_killed_while_a_failed_run_is_taken_back_it_is_taken_back_all_the_same(name: str, failing: str) -> None:
    scenario = next(item for item in SCENARIOS if item.name == name)
    step = [item.name for item in scenario.action.steps].index(failing)
    action = with_step(scenario.action, step, failing_after)
    for number in range(1, 1000):
        story = scenario.begin()
        before = story.machine(A).pages()
        request, journal = scenario.request(story), Journal()
        story.world.forget_ticks()
        story.world.kill_at = number
        with pytest.raises((Killed, Hiccup)) as ended:
            story.run(action, request, journal)
        if ended.type is Killed:
            story.world.restart()
            with pytest.raises(Hiccup):
                story.run(action, request, journal)
        assert is_on(story, A)
        assert story.machine(A).pages() == before
        check_promises(story)
        assert all(host.held == [] for host in story.world.hosts.values())
        if ended.type is Hiccup:
            assert number > 50
            return
