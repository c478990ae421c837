"""A source whose host takes connections and answers nothing, or cannot stop its machine."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event

import pytest

from tests.recovery.scenarios import is_on, synced
from tests.story import WEB, A, B, Story, check_as_found, check_epochs, check_promises
from twinhull.actions import patience
from twinhull.model.errors import SiteError, StillRunning
from twinhull.model.machine import Role
from twinhull.platforms.simulated import SimulatedInventory, SimulatedPart, SimulatedPower
from twinhull.recovery.failover.action import FAILOVER


@pytest.fixture
def hung(monkeypatch: pytest.MonkeyPatch) -> Iterator[Event]:
    """Set when the hanging questions may end."""
    monkeypatch.setattr(patience, "PATIENCE_SECONDS", 3.0)
    end = Event()
    yield end
    end.set()


def hang(monkeypatch: pytest.MonkeyPatch, method: str, end: Event) -> None:
    """Let this method of the source's site give no answer."""
    part: type[SimulatedPart] = SimulatedInventory if method == "machines" else SimulatedPower
    ask = getattr(part, method)

    def never(site: SimulatedPart, *words: object) -> object:
        if site.host.name == A:
            end.wait()
            raise SiteError("too late")
        return ask(site, *words)

    monkeypatch.setattr(part, method, never)


@pytest.mark.parametrize("method", ["machines", "state"])
def test_an_unplanned_failover_does_not_wait_for_a_host_that_hangs(
    monkeypatch: pytest.MonkeyPatch, hung: Event, method: str
) -> None:
    story = synced()
    hang(monkeypatch, method, hung)
    story.run(FAILOVER, story.failover_request(A, B, is_planned=False))
    assert is_on(story, B)
    assert story.world.host(B).standings[WEB].role is Role.PRIMARY
    check_promises(story, may_be_split=True)


def check_left_at_home(story: Story, hint: str | None) -> None:
    assert "Switch the host of a off" in (hint or "")
    assert is_on(story, A)
    assert story.world.host(A).standings[WEB].role is Role.PRIMARY
    check_promises(story)


def test_a_machine_that_is_seen_to_run_on_a_host_that_does_not_stop_it_is_not_taken_over(
    monkeypatch: pytest.MonkeyPatch, hung: Event
) -> None:
    story = synced()
    hang(monkeypatch, "stop", hung)
    with pytest.raises(StillRunning, match="running on a still") as told:
        story.run(FAILOVER, story.failover_request(A, B, is_planned=False))
    check_left_at_home(story, told.value.hint)


def test_a_machine_that_cannot_be_stopped_is_not_taken_over(monkeypatch: pytest.MonkeyPatch) -> None:
    story = synced()

    def refuse(*_: object) -> bool:
        raise SiteError("Device or resource busy")

    with monkeypatch.context() as patch:
        patch.setattr(SimulatedPower, "stop", refuse)
        with pytest.raises(SiteError, match="may still run on a") as told:
            story.run(FAILOVER, story.failover_request(A, B, is_planned=False))
    check_left_at_home(story, told.value.hint)
    check_as_found(story)
    check_epochs(story)
