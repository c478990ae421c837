"""During an outage, what the source holds and cannot be read is past: it does not block an unplanned failover."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.recovery.scenarios import is_on, synced
from tests.story import WEB, A, B, Story, check_promises
from twinhull.model.errors import DataError, RunUnfinished, SiteError
from twinhull.model.machine import Role, Standing
from twinhull.platforms.simulated import SimulatedInventory, SimulatedPower
from twinhull.recovery.failover.action import FAILOVER


def runs(_: Story) -> None:
    """The source's machine goes on."""


def crashes(story: Story) -> None:
    story.machine().crash()


def reboots(story: Story) -> None:
    story.world.host(A).crash()
    story.world.host(A).return_()


def is_deleted(story: Story) -> None:
    story.world.host(A).delete_machine(WEB)


@pytest.mark.parametrize("happens", [runs, crashes, reboots, is_deleted])
@pytest.mark.parametrize("held", [1, 7])
def test_an_unreadable_standing_on_the_source_does_not_block_an_unplanned_failover(
    happens: Callable[[Story], None], held: int
) -> None:
    """Whatever epoch it held: the target's is beyond it."""
    story = synced()
    source = story.world.host(A)
    source.standings[WEB] = Standing(WEB, Role.PRIMARY, held)
    source.unreadable.add(WEB)
    happens(story)
    facts = story.run(FAILOVER, story.failover_request(A, B, is_planned=False))
    assert is_on(story, B)
    assert WEB not in source.machines or not is_on(story, A)
    taken = story.world.host(B).standings[WEB]
    assert (taken.role, taken.epoch > held) == (Role.PRIMARY, True)
    if WEB in source.machines:
        assert any("cannot be read" in str(reason) for reason in facts["reasons"])  # type: ignore[union-attr]
        with pytest.raises(DataError):  # the guard refuses what cannot be read
            story.context().site(A).power.start(WEB, taken.epoch)
    check_promises(story)


@pytest.mark.parametrize("is_planned", [True, False])
def test_a_planned_failover_and_a_replica_need_a_standing_that_can_be_read(*, is_planned: bool) -> None:
    story = synced()
    story.world.host(A if is_planned else B).unreadable.add(WEB)
    # Unplanned, the undo cannot know whether the target was taken over: the run stops there, and starts nothing.
    with pytest.raises((DataError, RunUnfinished), match="cannot be read"):
        story.run(FAILOVER, story.failover_request(A, B, is_planned=is_planned))
    assert is_on(story, A) is is_planned or not is_on(story, B)


def test_a_source_whose_machines_cannot_be_understood_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    story = synced()
    ask = SimulatedInventory.machines

    def answer_oddly(site: SimulatedInventory) -> object:
        if site.host.name == A:
            raise DataError("The definition of another machine on a cannot be read.")
        return ask(site)

    monkeypatch.setattr(SimulatedInventory, "machines", answer_oddly)
    with pytest.raises(SiteError, match="may still run on a") as refused:
        story.run(FAILOVER, story.failover_request(A, B, is_planned=False))
    assert "Switch the host of a off" in refused.value.hint
    assert not is_on(story, B)


def test_a_source_that_cannot_say_whether_it_runs_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    story = synced()

    def stop(_: SimulatedPower, *__: object) -> bool:
        raise DataError("The answer cannot be read.")

    monkeypatch.setattr(SimulatedPower, "stop", stop)
    with pytest.raises(SiteError, match="may still run on a"):
        story.run(FAILOVER, story.failover_request(A, B, is_planned=False))
    assert not is_on(story, B)
