"""A site that could not start the machine: said long before the day, and on it before there is no way back."""

from __future__ import annotations

import pytest

from tests.recovery.scenarios import failed_over, is_on, synced
from tests.stepping import Journal
from tests.story import WEB, A, B, Story, check_as_found, check_epochs, check_promises
from twinhull.actions.context import Context
from twinhull.actions.requests import Request, RollbackRequest
from twinhull.model.errors import SiteError
from twinhull.model.machine import Role
from twinhull.model.steps import Action
from twinhull.recovery.failover.action import FAILBACK, FAILOVER
from twinhull.recovery.previews import plan_failover, plan_rollback
from twinhull.recovery.rollback import ROLLBACK
from twinhull.replication.standing import look

NO_NETWORK = "There is no network 'bridge:xenbr0' on b."


def without_network() -> Story:
    """Synced well, and then the other site loses the network."""
    story = synced()
    story.world.host(B).networks.clear()
    return story


def refused(story: Story, action: Action[Context], request: Request, why: str = NO_NETWORK) -> None:
    """The run is refused with that reason, and is taken back."""
    journal = Journal()
    with pytest.raises(SiteError, match=f"web could not be started on .: {why} It stays where it was") as error:
        story.run(action, request, journal)
    assert "twinhull plan network" in error.value.hint
    assert not journal.is_forward_only
    check_promises(story)
    check_as_found(story)
    check_epochs(story)


def test_a_planned_failover_is_refused_while_the_machine_runs_on() -> None:
    story = without_network()
    before = story.machine().content("vda")
    refused(story, FAILOVER, story.failover_request(A, B))
    assert (is_on(story, A), is_on(story, B)) == (True, False)
    assert story.machine().starts == 1
    assert story.machine().content("vda") == before
    assert story.world.host(A).standings[WEB].epoch == 1


def test_a_network_that_goes_during_the_failover_brings_the_source_back() -> None:
    story = synced()
    before = story.machine().content("vda")

    def lose_network(tick: str) -> None:
        if tick == "a stop done":
            story.world.host(B).networks.clear()

    story.world.on_tick = lose_network
    refused(story, FAILOVER, story.failover_request(A, B))
    assert is_on(story, A)
    assert story.machine().starts == 2
    assert story.machine().content("vda") == before
    assert story.world.host(A).standings[WEB].role is Role.PRIMARY
    story.world.on_tick = None
    story.write()
    story.sync()
    check_promises(story)


def test_a_machine_that_is_off_is_given_back_to_its_site() -> None:
    story = without_network()
    story.machine().switch_off()
    refused(story, FAILOVER, story.failover_request(A, B))
    assert not is_on(story, A)
    assert story.world.host(A).standings[WEB].role is Role.PRIMARY


def test_an_unplanned_failover_does_not_switch_a_running_machine_off_for_nothing() -> None:
    story = without_network()
    refused(story, FAILOVER, story.failover_request(A, B, is_planned=False))
    assert is_on(story, A)
    assert story.machine().starts == 1


@pytest.mark.parametrize("is_made", [True, False], ids=["the network is made", "another one is named"])
def test_an_unplanned_failover_is_refused_until_its_obstacle_is_out_of_the_way(is_made: bool) -> None:  # noqa: FBT001
    story = without_network()
    story.world.host(A).crash()
    refused(story, FAILOVER, story.failover_request(A, B, is_planned=False))
    assert not is_on(story, B)
    name = "bridge:xenbr0" if is_made else "bridge:other"
    story.world.host(B).networks.add(name)
    request = story.failover_request(A, B, is_planned=False, networks={"bridge:br0": name})
    facts = story.run(FAILOVER, request)
    assert is_on(story, B)
    assert set(story.machine(B).plugged().values()) == {name}
    point = next(point for point in story.points() if point.id == facts["point_id"])
    assert story.machine(B).content("vda") == story.content(point, "vda")
    check_promises(story)


def test_a_replica_that_was_deleted_is_made_anew_on_the_day() -> None:
    story = synced()
    story.world.host(B).delete_machine(WEB)
    story.world.host(A).crash()
    story.run(FAILOVER, story.failover_request(A, B, is_planned=False))
    assert story.machine(B).content("vda") == story.content(story.points()[-1], "vda")
    check_promises(story)


def test_the_way_home_is_refused_as_well() -> None:
    story = failed_over()
    story.world.host(A).networks.clear()
    refused(story, FAILBACK, story.failover_request(B, A), "There is no network 'bridge:br0' on a.")
    assert (is_on(story, A), is_on(story, B)) == (False, True)


def test_a_rollback_does_not_stop_a_machine_that_could_not_be_started_again() -> None:
    story = failed_over()
    story.world.host(B).networks.clear()
    wanted = story.points()[0].id
    refused(story, ROLLBACK, RollbackRequest(story.run_id(), WEB, B, wanted, other_sites=(A,)))
    assert is_on(story, B)
    assert story.machine(B).starts == 1
    story.run(ROLLBACK, RollbackRequest(story.run_id(), WEB, B, wanted, is_starting=False, other_sites=(A,)))
    assert not is_on(story, B)


def test_a_sync_says_it_long_before_and_brings_the_replica_to_its_point_all_the_same() -> None:
    story = without_network()
    facts = story.sync()
    said = f"web would not start on b: {NO_NETWORK}"
    assert said in str(facts["reasons"])
    assert said in story.reasons
    assert story.world.host(B).standings[WEB].point_id == story.points()[-1].id
    story.world.host(B).networks.add("bridge:xenbr0")
    assert "would not start" not in str(story.sync()["reasons"])


def test_a_preview_says_it() -> None:
    story = synced()
    context = story.context()
    situation, points, now = look(context, WEB, (A, B)), story.points(), context.ports.clock.now()
    lines = plan_failover(story.failover_request(A, B), situation, points, now, [NO_NETWORK])
    assert f"As the replica is now, this will be refused: {NO_NETWORK}" in lines
    rollback = RollbackRequest(story.run_id(), WEB, A, points[0].id)
    assert f"As the machine is now, it would not start: {NO_NETWORK}" in plan_rollback(
        rollback, situation, points, now, [NO_NETWORK]
    )
