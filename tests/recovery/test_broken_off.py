"""Runs that are taken back, stopped, or gone on with late: no disk is called what it is not, and no machine is lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.recovery.scenarios import is_on, synced
from tests.stepping import Journal, perform
from tests.story import WEB, A, B, Story, check_promises
from twinhull.actions.context import Context
from twinhull.actions.requests import Request, RollbackRequest
from twinhull.model.errors import (
    NotSupportedHere,
    ReplicaDirty,
    RunCancelled,
    RunUnfinished,
    SiteFull,
    SiteUnreachable,
    StaleEpoch,
)
from twinhull.model.machine import PowerState, Role, RunId
from twinhull.model.progress import Progress
from twinhull.model.steps import Facts
from twinhull.platforms.simulated import SimulatedCaptures, SimulatedPower, SimulatedReplicas
from twinhull.recovery.failover.action import FAILBACK, FAILOVER
from twinhull.recovery.rollback import ROLLBACK
from twinhull.replication.sync import SYNC
from twinhull.runs.leash import Leash


def rollback(story: Story, **more: object) -> RollbackRequest:
    return RollbackRequest(story.run_id(), WEB, A, story.points()[0].id, other_sites=(B,), **more)  # type: ignore[arg-type]


def test_what_a_guest_wrote_before_its_rollback_was_taken_back_does_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    story = synced(2)
    switch_on, power = SimulatedPower.start, SimulatedPower.state
    said: list[str] = []

    def start(site: SimulatedPower, machine_id: str, epoch: int) -> None:
        switch_on(site, machine_id, epoch)  # type: ignore[arg-type]
        if not said:
            said.append("started")
            story.write(8)

    def ask(site: SimulatedPower, machine_id: str) -> PowerState:
        if said == ["started"]:
            said.append("silent")
            raise SiteUnreachable("one moment without an answer")
        return power(site, machine_id)  # type: ignore[arg-type]

    monkeypatch.setattr(SimulatedPower, "start", start)
    monkeypatch.setattr(SimulatedPower, "state", ask)
    with pytest.raises(SiteUnreachable):
        story.run(ROLLBACK, rollback(story))
    present = story.points()[-1]
    held = story.world.host(A).standings[WEB]
    assert (held.role, held.is_dirty, held.point_id) == (Role.PRIMARY, False, present.id)
    assert is_on(story, A)
    machine = story.machine(A)
    assert machine.history.content("vda", machine.disks["vda"].size_bytes, 0) == story.content(present, "vda")  # type: ignore[index, arg-type]


def stopped_while_it_applies(story: Story) -> list[str]:
    leash = Leash(RunId("run-stopped"))

    def on_progress(progress: Progress) -> None:
        if progress.phase == "apply":
            leash.is_cancelled.set()
        leash.check()

    context = replace(story.context(), on_progress=on_progress, check=leash.check)
    request = RollbackRequest("run-stopped", WEB, A, story.points()[0].id, other_sites=(B,))
    with pytest.raises(RunCancelled):
        perform(ROLLBACK, context, request.facts(), Journal(), leash)
    return leash.reasons


def test_stopping_a_rollback_does_not_stop_its_undo() -> None:
    story = synced(3)
    assert stopped_while_it_applies(story) == []
    assert is_on(story, A)
    assert not story.world.host(A).standings[WEB].is_dirty
    story.write(2)
    story.sync()
    check_promises(story)


def half_rolled_back() -> Story:
    """A rollback that nobody could take back."""
    story = Story.begin(disk_count=2)
    for _ in range(2):
        story.write(12)
        story.sync()

    def fail(progress: Progress) -> None:
        if (progress.phase, progress.subject) == ("apply", "vdb"):
            raise SiteFull("no room")

    leash = Leash(RunId("run-broken-off"), undo_pauses_seconds=())
    with pytest.raises(RunUnfinished, match="no room"):
        perform(ROLLBACK, replace(story.context(), on_progress=fail), rollback(story).facts(), Journal(), leash)
    assert story.world.host(A).standings[WEB].is_dirty
    return story


def test_of_disks_between_two_points_no_point_is_made() -> None:
    story = half_rolled_back()
    points = story.points()
    for action, request in (
        (SYNC, story.sync_request()),
        (SYNC, story.sync_request(A, None)),
        (FAILOVER, story.failover_request(A, B)),
    ):
        with pytest.raises(ReplicaDirty, match="between two points"):
            story.run(action, request)
    assert story.points() == points
    check_promises(story)


@pytest.mark.parametrize("is_keeping_present", [True, False])
def test_disks_between_two_points_stay_marked_until_a_rollback_has_made_them_whole(
    monkeypatch: pytest.MonkeyPatch, *, is_keeping_present: bool
) -> None:
    story = half_rolled_back()
    points = story.points()
    killed = replace(ROLLBACK, steps=ROLLBACK.steps[:3])
    story.run(killed, rollback(story, is_keeping_present=is_keeping_present))
    assert story.world.host(A).standings[WEB].is_dirty
    with monkeypatch.context() as patch:
        patch.setattr(SimulatedReplicas, "prepare", _full)
        with pytest.raises((SiteFull, RunUnfinished)):
            story.run(ROLLBACK, rollback(story, is_keeping_present=is_keeping_present))
    assert story.world.host(A).standings[WEB].is_dirty
    assert not is_on(story, A)
    story.run(ROLLBACK, rollback(story, is_keeping_present=is_keeping_present, is_starting=True))
    assert story.points() == points
    assert is_on(story, A)
    for key in ("vda", "vdb"):
        history = story.machine(A).history
        assert history.content(key, len(story.content(points[0], key)), 0) == story.content(points[0], key)  # type: ignore[arg-type]
    story.sync()
    check_promises(story)


def _full(_: SimulatedPower, __: object) -> None:
    raise SiteFull("no room")


def without_trackers(_: SimulatedPower, *__: object) -> None:
    raise NotSupportedHere("raw image")


def test_a_side_that_was_fenced_as_it_went_silent_is_compared_on_the_way_home(monkeypatch: pytest.MonkeyPatch) -> None:
    story = synced()
    with monkeypatch.context() as patch:
        patch.setattr(SimulatedCaptures, "arm_trackers", without_trackers)
        story.run(FAILOVER, story.failover_request(A, B))
        story.write(3, B)
        story.sync(B, A)
        story.run(FAILBACK, story.failover_request(B, A))
    assert story.world.host(A).standings[WEB].point_id, "at home at a point, and nothing counts its changes"
    story.write(6)
    stop = SimulatedPower.stop

    def hang(site: SimulatedPower, machine_id: str, grace_seconds: float) -> bool:
        if site.host.name != A:
            return stop(site, machine_id, grace_seconds)  # type: ignore[arg-type]
        story.world.host(A).isolate()
        story.machine(A).switch_off(PowerState.CRASHED)
        raise SiteUnreachable("hangs")

    with monkeypatch.context() as patch:
        patch.setattr(SimulatedPower, "stop", hang)
        story.run(FAILOVER, story.failover_request(A, B, is_planned=False))
    story.world.host(A).return_()
    assert story.world.host(A).standings[WEB].role is Role.FENCED
    story.write(2, B)
    story.sync(B, A)
    check_promises(story)


def test_a_source_that_answers_again_is_given_back_when_its_failover_is_taken_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    story = synced()
    source = story.world.host(A)
    source.isolate()
    first, *others = FAILOVER.steps

    def look_and_hear(context: Context, facts: Facts) -> Facts:
        found = first.do(context, facts)
        source.return_()
        return found

    action = replace(FAILOVER, steps=(replace(first, do=look_and_hear), *others))
    monkeypatch.setattr(SimulatedReplicas, "prepare", _full)
    story.world.host(B).standings[WEB] = replace(story.world.host(B).standings[WEB], is_dirty=True)
    with pytest.raises(SiteFull):
        story.run(action, story.failover_request(A, B, is_planned=False))
    assert source.standings[WEB].role is Role.PRIMARY
    assert is_on(story, A)


def killed_before(story: Story, step: str) -> tuple[Request, Journal]:
    """A failover of a manager that was killed before a step."""
    request, journal = story.failover_request(A, B), Journal()
    steps = FAILOVER.steps[: [each.name for each in FAILOVER.steps].index(step)]
    story.run(replace(FAILOVER, steps=steps), request, journal)
    return request, journal


def test_a_failover_that_is_ended_late_leaves_what_came_after_it() -> None:
    story = synced()
    request, journal = killed_before(story, "settle the source")
    for _ in range(2):
        story.write(6, B)
        story.sync(B, A)
    held = story.world.host(A).standings[WEB]
    story.run(FAILOVER, request, journal)
    assert story.world.host(A).standings[WEB] == held
    check_promises(story)


def test_a_sync_that_goes_on_late_captures_no_replica() -> None:
    story = synced()
    request, journal = story.sync_request(), Journal()
    story.run(replace(SYNC, steps=SYNC.steps[:1]), request, journal)
    story.run(FAILOVER, story.failover_request(A, B))
    points = story.points()
    with pytest.raises(StaleEpoch, match="replica"):
        story.run(SYNC, request, journal)
    assert story.points() == points
    assert story.world.host(A).standings[WEB].point_id == points[-1].id
