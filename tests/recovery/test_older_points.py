"""Points of older versions, which tell neither read-only disks nor what a guest sees of a disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.recovery.scenarios import failed_over, synced
from tests.story import WEB, A, B, Story, check_as_found, check_epochs, check_promises
from twinhull.actions.requests import RollbackRequest
from twinhull.model.hardware import DiskTraits
from twinhull.model.machine import DiskKey, SiteName
from twinhull.recovery.failover.action import FAILBACK
from twinhull.recovery.rollback import ROLLBACK
from twinhull.replication.sync import SYNC

READ_ONLY, SEEN = DiskTraits(is_read_only=True), DiskTraits(serial="OS-1", wwn="5000c50015ea71aa", boot_order=1)


def describe_as_today(story: Story, site: str) -> None:
    """Let a site tell what an older version did not ask for: a read-only disk, and the traits of the others."""
    machine = story.machine(site)
    machine.add_disk("vdz", 64 * 1024)
    machine.put(DiskKey("vdz"), 0, b"the owner's")
    traits = {"vda": SEEN, "vdz": READ_ONLY}
    disks = tuple(replace(disk, traits=traits[disk.key]) for disk in machine.spec.disks)
    machine.spec = replace(machine.spec, disks=disks)


def check_as_today(story: Story, site: str) -> None:
    machine = story.machine(site)
    assert machine.content("vdz")[:11] == b"the owner's"
    assert {disk.key: disk.traits for disk in machine.spec.disks} == {"vda": SEEN, "vdz": READ_ONLY}


@pytest.mark.parametrize("is_keeping_present", [True, False])
@pytest.mark.parametrize(("begin", "site", "other"), [(synced, A, B), (failed_over, B, A)])
def test_a_rollback_to_an_older_version_s_point_keeps_what_that_point_does_not_tell(
    begin: Callable[[], Story],
    site: SiteName,
    other: SiteName,
    is_keeping_present: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    story = begin()
    describe_as_today(story, site)
    wanted = story.points()[0]
    request = RollbackRequest(
        story.run_id(), WEB, site, wanted.id, other_sites=(other,), is_keeping_present=is_keeping_present
    )
    story.run(ROLLBACK, request)
    check_as_today(story, site)
    assert story.machine(site).content("vda") == story.content(wanted, "vda")
    story.run(SYNC, story.sync_request(site, other))
    check_as_today(story, site)
    check_as_today(story, other)
    check_promises(story)
    check_as_found(story)
    check_epochs(story)


def test_a_rollback_to_a_point_that_tells_traits_takes_them_from_there() -> None:
    story = Story.begin(disk_count=1)
    describe_as_today(story, A)
    story.sync()
    wanted, machine = story.points()[0], story.machine()
    machine.spec = replace(machine.spec, disks=tuple(replace(disk, traits=READ_ONLY) for disk in machine.spec.disks))
    story.run(ROLLBACK, RollbackRequest(story.run_id(), WEB, A, wanted.id, other_sites=(B,)))
    check_as_today(story, A)


def test_the_way_home_leaves_the_owner_s_read_only_disk_that_no_point_knows() -> None:
    story = failed_over()
    describe_as_today(story, A)
    story.run(FAILBACK, story.failover_request(B, A))
    assert story.machine(A).content("vdz")[:11] == b"the owner's"
    assert [disk.key for disk in story.machine(A).spec.disks if disk.traits.is_read_only] == ["vdz"]
    story.sync()
    assert story.machine(B).content("vdz")[:11] == b"the owner's"
    check_promises(story)
    check_as_found(story)
    check_epochs(story)
