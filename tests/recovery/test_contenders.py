"""Two managers that choose the same next epoch at the same time, in every order: the machine runs at most once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest

from tests.recovery.contenders import UNTIL_ITS_END, Manager, Segment, contend
from tests.recovery.scenarios import is_on, synced
from tests.story import WEB, A, B, Story, check_as_found, check_epochs, check_points
from twinhull.actions.requests import ReconcileRequest
from twinhull.cluster.epochs import corrections
from twinhull.model.machine import Role, SiteName
from twinhull.recovery.failover.action import FAILOVER
from twinhull.recovery.reconcile import RECONCILE
from twinhull.replication.standing import look
from twinhull.replication.sync import SYNC


def failover(story: Story, *unreachable: SiteName, is_planned: bool = True) -> Manager:
    return Manager(FAILOVER, story.failover_request(A, B, is_planned=is_planned), unreachable)


def sync(story: Story) -> Manager:
    return Manager(SYNC, story.sync_request())


def both_planned(story: Story) -> Sequence[Manager]:
    return failover(story), failover(story)


def planned_and_unplanned(story: Story) -> Sequence[Manager]:
    return failover(story), failover(story, is_planned=False)


def planned_and_one_that_does_not_reach_the_source(story: Story) -> Sequence[Manager]:
    return failover(story), failover(story, A, is_planned=False)


def both_without_the_source(story: Story) -> Sequence[Manager]:
    return failover(story, A, is_planned=False), failover(story, A, is_planned=False)


def failover_and_sync(story: Story) -> Sequence[Manager]:
    return failover(story), sync(story)


def one_without_the_source_and_sync(story: Story) -> Sequence[Manager]:
    """The sync brings the replica to a later point while the failover relies on the one that it has seen."""
    story.write()
    return failover(story, A, is_planned=False), sync(story)


PAIRS = [
    both_planned,
    planned_and_unplanned,
    planned_and_one_that_does_not_reach_the_source,
    both_without_the_source,
    failover_and_sync,
    one_without_the_source_and_sync,
]


def running(story: Story) -> list[str]:
    return [site for site in (A, B) if WEB in story.world.host(site).machines and is_on(story, site)]


def lengths(pair: Callable[[Story], Sequence[Manager]]) -> list[int]:
    """How many calls each of them makes when it is alone."""
    counts = []
    for who in (0, 1):
        story = synced()
        managers = pair(story)
        counts.append(len(contend(story, [managers[who]], [], lambda: None).calls))
    return counts


def schedules(first: int, second: int) -> Iterator[list[Segment]]:
    """One is interrupted once, at each of its calls; and both are, at every fifth call of each."""
    for who, count in ((0, first), (1, second)):
        yield from ([(who, calls), (1 - who, UNTIL_ITS_END), (who, UNTIL_ITS_END)] for calls in range(count + 1))
    for begun in range(1, first, 5):
        for other in range(1, second, 5):
            yield [(0, begun), (1, other), (0, UNTIL_ITS_END), (1, UNTIL_ITS_END)]


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.__name__)
def test_two_runs_of_two_managers_in_any_order_start_the_machine_once(
    pair: Callable[[Story], Sequence[Manager]],
) -> None:
    for schedule in schedules(*lengths(pair)):
        try:
            require_at_most_once(pair, schedule)
        except BaseException as error:
            error.add_note(f"in the order {schedule}")
            raise


def require_at_most_once(pair: Callable[[Story], Sequence[Manager]], schedule: Sequence[Segment]) -> None:
    story = synced()
    managers = pair(story)
    is_source_cut_off = any(manager.unreachable for manager in managers)

    def look_at_power() -> None:
        assert is_source_cut_off or len(running(story)) <= 1

    contend(story, managers, schedule, look_at_power)
    look_at_power()
    require_at_its_point(story)
    # Who cannot reach a side cannot stop it; the first to reach both puts that right.
    story.run(RECONCILE, ReconcileRequest(story.run_id(), WEB, (A, B)))
    require_whole(story)
    finish(story, managers)
    require_whole(story)
    _require_an_end(story, managers)


def require_at_its_point(story: Story) -> None:
    """What took over on the target is at the point that its standing names; the guest writes nothing there."""
    standing, machine = story.world.host(B).standings.get(WEB), story.machine(B)
    if standing and standing.role is Role.PRIMARY:
        point = next(point for point in story.points() if point.id == standing.point_id)
        for disk in point.document.disks:
            assert machine.content(disk.key) == story.content(point, disk.key), f"{point.id} {disk.key}"


def require_whole(story: Story) -> None:
    assert len(running(story)) <= 1
    assert corrections(look(story.context(), WEB, (A, B))) == []
    check_epochs(story)
    check_points(story)
    check_as_found(story)


def finish(story: Story, managers: Sequence[Manager]) -> None:
    """What stopped where the only way is forward, or in being taken back, is gone on with, as a user would."""
    for manager in managers:
        if manager.error:
            manager.error = None
            contend(story, [manager], [], lambda: None)


def _require_an_end(story: Story, managers: Sequence[Manager]) -> None:
    """One of them has reached its end, or all is as it was; who could not says so, and the next one can."""
    if not all(manager.error for manager in managers):
        assert running(story)
        return
    if not running(story):
        story.run(FAILOVER, story.failover_request(A, B))
        assert running(story) == [B]
        require_whole(story)
