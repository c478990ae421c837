"""kill -9 of ourselves at every call of every kind of run, then again: it converges, and every promise holds."""

from __future__ import annotations

import pytest

from tests.recovery.scenarios import SCENARIOS, Scenario, check_end
from tests.story import Story, check_promises
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


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_killed_at_every_call_it_converges(scenario: Scenario) -> None:
    count = tick_count(scenario)
    for number in range(1, count + 1):
        try:
            killed_at(scenario, number)
        except BaseException as error:
            error.add_note(f"killed at tick {number} of {count}")
            raise
