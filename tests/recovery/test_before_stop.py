"""Nothing is stopped for a run that cannot end: what later steps would refuse is asked while the machine runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.recovery.scenarios import failed_over, is_on, synced
from tests.stepping import Journal
from tests.story import WEB, A, B, Story, check_as_found, check_epochs, check_promises
from twinhull.actions.context import Context
from twinhull.actions.requests import Request, RollbackRequest
from twinhull.model.errors import SiteError
from twinhull.model.hardware import Hardware
from twinhull.model.lacks import Consequence, Lack
from twinhull.model.machine import DiskKey
from twinhull.model.steps import Action
from twinhull.platforms.simulated.machines import SimulatedMachine
from twinhull.recovery.before_stop import AFTER_THE_SYNC, BEFORE_ANYTHING, NEEDS_NO_QUESTION
from twinhull.recovery.failover.action import FAILBACK, FAILOVER
from twinhull.recovery.rollback import ROLLBACK

Fault = Callable[[SimulatedMachine], None]


def transient(machine: SimulatedMachine) -> None:
    machine.is_transient = True


def bound(machine: SimulatedMachine) -> None:
    machine.bound = {DiskKey("vda")}


def lost(machine: SimulatedMachine) -> None:
    machine.lost = {DiskKey("vda")}


def vital(machine: SimulatedMachine) -> None:
    kernel = Lack("its kernel /boot/vmlinuz, which lies outside of its disks", Consequence.WILL_NOT_BOOT)
    machine.spec = replace(machine.spec, hardware=Hardware(unspoken=(kernel,)))


def failover(story: Story) -> Request:
    return story.failover_request(A, B)


def failback(story: Story) -> Request:
    return story.failover_request(B, A)


def rollback(story: Story, *, is_keeping_present: bool = True) -> Request:
    point = story.points()[0].id
    return RollbackRequest(story.run_id(), WEB, A, point, other_sites=(B,), is_keeping_present=is_keeping_present)


CASES: list[tuple[Action[Context], Callable[[], Story], Callable[[Story], Request], str, list[Fault]]] = [
    (FAILOVER, synced, failover, A, [transient, bound, vital, lost]),
    (FAILBACK, failed_over, failback, B, [transient, bound]),  # home has the owner's definition, which lacks nothing
    (ROLLBACK, synced, rollback, A, [transient, bound, lost]),
    (ROLLBACK, synced, lambda story: rollback(story, is_keeping_present=False), A, [transient, bound]),
]


@pytest.mark.parametrize(
    ("action", "begin", "request_of", "site", "fault"),
    [(action, begin, ask, site, fault) for action, begin, ask, site, faults in CASES for fault in faults],
)
def test_what_could_not_be_ended_stops_nothing(
    action: Action[Context], begin: Callable[[], Story], request_of: Callable[[Story], Request], site: str, fault: Fault
) -> None:
    story = begin()
    fault(story.machine(site))
    starts, ticks, journal = story.machine(site).starts, len(story.world.ticks), Journal()
    with pytest.raises(SiteError, match="web was not stopped, because this could not be ended: "):
        story.run(action, request_of(story), journal)
    assert is_on(story, site)
    assert story.machine(site).starts == starts
    assert not [tick for tick in story.world.ticks[ticks:] if tick.startswith((f"{site} stop", f"{site} kill"))]
    check_promises(story)
    check_as_found(story)
    check_epochs(story)


@pytest.mark.parametrize("is_broken_off", [False, True])
def test_a_disk_whose_image_is_gone_is_made_anew_where_nothing_is_captured(*, is_broken_off: bool) -> None:
    story = synced()
    lost(story.machine())
    if is_broken_off:  # what lies between two points is not captured, whatever was asked for
        held = story.world.host(A).standings[WEB]
        story.world.host(A).standings[WEB] = replace(held, is_dirty=True)
    facts = story.run(ROLLBACK, rollback(story, is_keeping_present=is_broken_off))
    assert facts["present_point_id"] is None
    assert is_on(story, A)
    assert not story.machine().lost
    check_promises(story)


@pytest.mark.parametrize("action", [FAILOVER, FAILBACK, ROLLBACK], ids=lambda action: action.kind)
def test_each_step_from_the_stop_on_is_guarded_by_a_question_or_needs_none(action: Action[Context]) -> None:
    names = [step.name for step in action.steps]
    stop = next(index for index, name in enumerate(names) if name.startswith("stop"))
    guarded = {step for question in (*BEFORE_ANYTHING, AFTER_THE_SYNC) for step in question.guards}
    assert [name for name in names[stop:] if name not in guarded and name not in NEEDS_NO_QUESTION] == []


def test_the_questions_guard_steps_that_there_are() -> None:
    names = {step.name for action in (FAILOVER, FAILBACK, ROLLBACK) for step in action.steps}
    assert {step for question in (*BEFORE_ANYTHING, AFTER_THE_SYNC) for step in question.guards} <= names
    assert NEEDS_NO_QUESTION.keys() <= names


def test_an_outage_is_no_time_to_ask_whether_it_will_boot() -> None:
    story = synced()
    vital(story.machine())
    story.sync()
    story.world.host(A).crash()
    story.run(FAILOVER, story.failover_request(A, B, is_planned=False))
    assert is_on(story, B)
