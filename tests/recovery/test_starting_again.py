"""A start that the hypervisor failed is tried again, within bounds; a verification does not lengthen the pause."""

from __future__ import annotations

import pytest

from tests.recovery.scenarios import failover, synced
from tests.stepping import Journal
from tests.story import WEB, A, B, Story, check_promises
from twinhull.model.errors import SiteError, StaleEpoch
from twinhull.model.machine import MachineId, PowerState
from twinhull.platforms.simulated import SimulatedPower
from twinhull.recovery.failover.action import FAILOVER
from twinhull.replication.applying import verify_disk


class Refusing:
    """A hypervisor that fails the first starts on the target."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int, error: Exception) -> None:
        self.asked_at: list[float] = []
        start = SimulatedPower.start

        def refuse(site: SimulatedPower, machine_id: MachineId, epoch: int) -> None:
            if site.host.name == B:
                self.asked_at.append(site.host.ports.clock.monotonic())
                if len(self.asked_at) <= count:
                    raise error
            start(site, machine_id, epoch)

        monkeypatch.setattr(SimulatedPower, "start", refuse)


def planned(story: Story, **more: object) -> None:
    story.run(FAILOVER, story.failover_request(A, B, **more))


def test_a_start_that_failed_once_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    story = synced()
    hypervisor = Refusing(monkeypatch, 2, SiteError("libxl: the domain could not be built."))
    planned(story)
    assert story.machine(B).power is PowerState.RUNNING
    assert len(hypervisor.asked_at) == 3
    assert any("attempt 2 of 3" in reason for reason in story.reasons)
    check_promises(story)


def test_it_is_not_tried_for_ever_and_repeating_the_run_starts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    story, journal = synced(), Journal()
    request = failover(is_planned=True)(story)
    hypervisor = Refusing(monkeypatch, 3, SiteError("libxl: the domain could not be built."))
    with pytest.raises(SiteError, match="could not be built"):
        story.run(FAILOVER, request, journal)
    assert len(hypervisor.asked_at) == 3
    story.run(FAILOVER, request, journal)
    assert story.machine(B).power is PowerState.RUNNING


@pytest.mark.parametrize("more", [{"start_timeout_seconds": 1.0}, {}])
def test_what_is_refused_on_purpose_or_out_of_time_is_asked_once(
    monkeypatch: pytest.MonkeyPatch, more: dict[str, object]
) -> None:
    story = synced()
    error = SiteError("no.") if more else StaleEpoch("The guard refused.")
    hypervisor = Refusing(monkeypatch, 9, error)
    with pytest.raises(type(error)):
        planned(story, **more)
    assert len(hypervisor.asked_at) == 1


@pytest.mark.parametrize("is_running", [True, False])
def test_a_planned_failover_verifies_the_replica_while_the_machine_runs(
    monkeypatch: pytest.MonkeyPatch, *, is_running: bool
) -> None:
    story = synced()
    if not is_running:
        story.machine().switch_off(PowerState.OFF)
    states: list[PowerState] = []

    def watched(*arguments: object) -> int:
        states.append(story.world.host(A).machines[WEB].power)
        return verify_disk(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("twinhull.replication.replica.verify_disk", watched)
    planned(story, is_verifying=True)
    assert states == [PowerState.RUNNING if is_running else PowerState.OFF]
