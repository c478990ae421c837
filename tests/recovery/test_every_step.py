"""Each step failed once, each repeated once, each undo repeated once, each site silent once: what a user finds then."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from tests.recovery.scenarios import SCENARIOS, Scenario, check_end, is_on, runs_from_its_point
from tests.stepping import Journal
from tests.story import WEB, A, B, check_as_found, check_epochs, check_promises
from twinhull.actions.context import Context
from twinhull.model.errors import RunUnfinished, SiteUnreachable, TwinhullError
from twinhull.model.machine import Role, SiteName
from twinhull.model.steps import Action, Facts, Step

Do = Callable[[Context, Facts], Facts]


class Hiccup(TwinhullError):
    """What the tests make a step fail with."""


def failing_before(do: Do) -> Do:
    def fail(_context: Context, _facts: Facts) -> Facts:
        raise Hiccup("before")

    del do
    return fail


def failing_after(do: Do) -> Do:
    def fail(context: Context, facts: Facts) -> Facts:
        do(context, facts)
        raise Hiccup("after")

    return fail


def twice(do: Do) -> Do:
    def again(context: Context, facts: Facts) -> Facts:
        do(context, facts)
        return do(context, facts)

    return again


def undone_twice(step: Step[Context]) -> Step[Context]:
    undo = step.undo
    if undo is None:
        return step

    def again(context: Context, facts: Facts) -> None:
        undo(context, facts)
        undo(context, facts)

    return replace(step, undo=again)


def with_step(action: Action[Context], number: int, change: Callable[[Do], Do]) -> Action[Context]:
    steps = [undone_twice(step) for step in action.steps]
    steps[number] = replace(steps[number], do=change(steps[number].do))
    return replace(action, steps=tuple(steps))


CASES = [
    pytest.param(scenario, number, id=f"{scenario.name}, {step.name}")
    for scenario in SCENARIOS
    for number, step in enumerate(scenario.action.steps)
]


@pytest.mark.parametrize(("scenario", "number"), CASES)
def test_a_step_that_is_repeated_changes_nothing(scenario: Scenario, number: int) -> None:
    story = scenario.begin()
    facts = story.run(with_step(scenario.action, number, twice), scenario.request(story))
    check_end(scenario, story, facts)


@pytest.mark.parametrize("failing", [failing_before, failing_after], ids=["before", "after"])
@pytest.mark.parametrize(("scenario", "number"), CASES)
def test_a_step_that_fails_is_taken_back_or_finished_later(
    scenario: Scenario, number: int, failing: Callable[[Do], Do]
) -> None:
    story = scenario.begin()
    was_on = {site: WEB in story.world.host(site).machines and is_on(story, site) for site in (A, B)}
    before = {site: story.machine(site).pages() for site in (A, B) if was_on[site]}
    journal, request = Journal(), scenario.request(story)
    with pytest.raises(Hiccup):
        story.run(with_step(scenario.action, number, failing), request, journal)
    check_promises(story)
    check_epochs(story)
    if journal.is_forward_only:
        check_end(scenario, story, story.run(scenario.action, request, journal))
        return
    # Taken back: it runs where it ran, nothing is open, and the same wish can be had anew.
    is_now = {site: WEB in story.world.host(site).machines and is_on(story, site) for site in (A, B)}
    assert is_now == was_on
    assert {site: story.machine(site).pages() for site in before} == before
    assert all(host.held == [] for host in story.world.hosts.values())
    check_end(scenario, story, story.run(scenario.action, scenario.request(story)))


@pytest.mark.parametrize("lost", [A, B])
@pytest.mark.parametrize("name", ["second sync", "planned failover", "rollback"])
def test_a_site_that_falls_silent_at_any_call_costs_time_and_nothing_else(name: str, lost: SiteName) -> None:
    scenario = next(item for item in SCENARIOS if item.name == name)
    story = scenario.begin()
    request = scenario.request(story)
    story.world.forget_ticks()
    story.run(scenario.action, request)
    for number in range(1, len(story.world.ticks), 2):
        _silent_at(scenario, number, lost)


def _silent_at(scenario: Scenario, number: int, lost: SiteName) -> None:
    story = scenario.begin()
    request, journal = scenario.request(story), Journal()
    story.world.forget_ticks()
    story.world.at[number] = story.world.host(lost).isolate
    with suppress(SiteUnreachable, RunUnfinished):
        story.run(scenario.action, request, journal)
    check_promises(story)
    story.world.host(lost).return_()
    story.world.restart()
    if journal.failure is not None:
        # What could not be taken back while the site was silent is taken back now.
        with pytest.raises(SiteUnreachable):
            story.run(scenario.action, request, journal)
        assert is_on(story, A)
        request, journal = scenario.request(story), Journal()
    facts = story.run(scenario.action, request, journal)
    check_promises(story)
    check_as_found(story)
    check_epochs(story)
    if story.world.host(A).standings[WEB].role is not Role.FENCED:
        scenario.check(story, facts)
    else:
        # The source fell silent after the target had taken over: it stays fenced, and the way home is longer.
        runs_from_its_point(B, Role.FENCED)(story, facts)
