"""What a sync costs on a host behind ssh: the commands that it runs there."""

from __future__ import annotations

import pytest

from tests.platforms.libvirt_fixtures import CountedSite, xen
from tests.stepping import Journal, perform
from tests.story import WEB, A, Story
from twinhull.actions.context import Context, OpenSites
from twinhull.actions.requests import SyncRequest
from twinhull.model.machine import Role, SiteName, Standing
from twinhull.platforms.contract import Site
from twinhull.replication.sync import SYNC

__all__ = ["xen"]

X = SiteName("x")


@pytest.fixture
def story() -> Story:
    return Story.begin(disk_count=1)


def synced(story: Story, xen: CountedSite, source: SiteName, target: SiteName) -> list[str]:
    """Sync between a simulated site and the one that is counted; returns the commands that were run there."""
    ours = story.context()

    def site(name: SiteName) -> Site:
        return xen.site if name == X else ours.site(name)

    context = Context(ours.repository, OpenSites(site), ours.ports)
    xen.words()
    perform(SYNC, context, SyncRequest(story.run_id(), WEB, source, target).facts(), Journal())
    return xen.words()


def test_a_changed_disk_is_brought_to_its_replica_by_eleven_commands(story: Story, xen: CountedSite) -> None:
    synced(story, xen, A, X)
    story.write()
    assert synced(story, xen, A, X) == [
        "twinhull-survey",  # look
        "twinhull-survey",  # the replica, before anything is done to it
        "twinhull-left",
        "twinhull-info",  # leftovers
        "twinhull-raise",  # dirty, at no known point
        "twinhull-survey",  # prepare
        "twinhull-raise",  # dirty, between two points
        "twinhull-missing",  # would it start?
        "twinhull-hold",
        "twinhull-nbd",
        "twinhull-raise",  # clean
    ]


def test_an_idle_machine_costs_its_replica_nine_commands(story: Story, xen: CountedSite) -> None:
    synced(story, xen, A, X)
    assert len(synced(story, xen, A, X)) == 9


def test_a_stopped_machine_is_synced_from_its_host_by_ten_commands(story: Story, xen: CountedSite) -> None:
    synced(story, xen, A, X)
    story.world.host(A).delete_machine(WEB)
    story.world.host(A).standings.clear()
    xen.site.standings.remove(WEB)
    xen.site.standings.write(Standing(WEB, Role.PRIMARY, 2))
    synced(story, xen, X, A)
    assert synced(story, xen, X, A) == [
        "twinhull-survey",  # look
        "twinhull-read",  # its standing's trackers
        "twinhull-left",
        "twinhull-info",  # leftovers
        "twinhull-hold",
        "twinhull-survey",
        "twinhull-track",
        "twinhull-nbd",
        "twinhull-survey",  # is it still there?
        "twinhull-untrack",
    ]
