"""Every kind of run, each with the world in which it starts and what must be true when it has ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

from tests.story import (
    DISK_BYTES,
    WEB,
    A,
    B,
    Story,
    check_as_found,
    check_epochs,
    check_promises,
    made_once,
    named,
)
from twinhull.actions.context import Context
from twinhull.actions.requests import Request, RestoreRequest, RollbackRequest
from twinhull.model.machine import MachineId, PointId, PowerState, Role, SiteName
from twinhull.model.steps import Action, JsonValue
from twinhull.model.units import KIB
from twinhull.recovery.failover.action import FAILBACK, FAILOVER
from twinhull.recovery.restore.action import RESTORE
from twinhull.recovery.rollback import ROLLBACK
from twinhull.replication.sync import SYNC

Facts = dict[str, JsonValue]
NEW = MachineId("6f5a3f0e-0000-4000-8000-00000000000f")


@dataclass(frozen=True)
class Scenario:
    """``begin`` makes the world, ``request`` asks, ``check`` looks at the end, when it runs at ``runs_at``."""

    name: str
    action: Action[Context]
    begin: Callable[[], Story]
    request: Callable[[Story], Request]
    runs_at: SiteName | None
    check: Callable[[Story, Facts], None]
    is_tracked: bool = False
    """Whether the last capture must have used the trackers, wherever an earlier try was killed."""


def check_end(scenario: Scenario, story: Story, facts: Facts) -> None:
    """What must be true after every run that has ended well."""
    check_promises(story)
    check_as_found(story)
    check_epochs(story)
    running = [host.name for host in story.world.hosts.values() if WEB in host.machines and is_on(story, host.name)]
    assert running == ([scenario.runs_at] if scenario.runs_at else [])
    scenario.check(story, facts)
    if scenario.is_tracked:
        assert facts["was_full_compare"] is False


def is_on(story: Story, site: str) -> bool:
    return story.machine(site).power is PowerState.RUNNING


def synced(count: int = 1) -> Story:
    return _synced(count).copy()


@cache
def _synced(count: int) -> Story:
    story = Story.begin(disk_count=1)
    for _ in range(count):
        story.write(2)
        story.sync()
    story.write(2)
    return story


def failed_over(*, is_planned: bool = True) -> Story:
    story = synced()
    if not is_planned:
        story.world.host(A).crash()
    story.run(FAILOVER, story.failover_request(A, B, is_planned=is_planned))
    story.world.host(A).return_()
    story.write(2, B)
    return story


def split(*, is_running: bool = False) -> Story:
    """The source was cut off, went on writing, and is back while the target is the primary."""
    story = synced()
    story.world.host(A).isolate()
    story.run(FAILOVER, story.failover_request(A, B, is_planned=False))
    story.write(3)
    story.left_behind = {key: story.machine().content(key) for key in story.machine().disks}
    story.write(2, B)
    if not is_running:
        story.machine().crash()
    story.world.host(A).return_()
    return story


def reshaped() -> Story:
    story = synced()
    story.machine().grow_disk("vda", 2 * DISK_BYTES)
    story.machine().add_disk("vdb", DISK_BYTES)
    story.machine().rename("web-2")
    story.machine().write("vda", DISK_BYTES + 5, b"behind the old end")
    story.machine().write("vdb", 64 * KIB, b"on the new disk")
    return story


def shrunk() -> Story:
    story = synced()
    story.machine().remove_disk("vda")
    story.machine().add_disk("vda", DISK_BYTES // 2)
    story.machine().write("vda", 0, b"another disk of the same name")
    return story


def replica_deleted() -> Story:
    story = synced()
    story.world.host(B).delete_machine(WEB)
    return story


def source_lost() -> Story:
    story = synced()
    story.world.host(A).crash()
    return story


def machine_dead() -> Story:
    story = synced()
    story.machine().crash()
    return story


def repository_away(begin: Callable[[], Story]) -> Callable[[], Story]:
    def begun() -> Story:
        story = begin()
        story.is_repository_away = True
        return story

    return begun


def failed_over_as_it_is() -> Story:
    story = repository_away(machine_dead)()
    story.run(FAILOVER, failover_as_it_is(story))
    story.is_repository_away = False
    story.write(2, B)
    return story


def sync(story: Story) -> Request:
    return story.sync_request()


def failover(*, is_planned: bool) -> Callable[[Story], Request]:
    return lambda story: story.failover_request(A, B, is_planned=is_planned)


def failover_as_it_is(story: Story) -> Request:
    point = story.points()[-1]
    return story.failover_request(
        A,
        B,
        is_planned=False,
        to_point_id=point.id,
        is_without_repository=True,
        captured_at=point.captured_at.isoformat(),
    )


def failback(story: Story) -> Request:
    return story.failover_request(B, A)


def rollback(story: Story) -> Request:
    return RollbackRequest(story.run_id(), WEB, A, story.points()[-3].id, other_sites=(B,))


def restore(story: Story) -> Request:
    point = story.points()[0].id
    return RestoreRequest(story.run_id(), WEB, point, to_site=B, new_machine_id=NEW, new_name="web-again")


def replica_is_at_its_point_on(site: SiteName) -> Callable[[Story, Facts], None]:
    def check(story: Story, facts: Facts) -> None:
        held = story.world.host(site).standings[WEB]
        assert (held.role, held.point_id, held.is_dirty) == (Role.REPLICA, facts["point_id"], False)

    return check


replica_is_at_its_point = replica_is_at_its_point_on(B)


def runs_from_its_point(site: SiteName, role_of_other: Role) -> Callable[[Story, Facts], None]:
    def check(story: Story, facts: Facts) -> None:
        point = story.witness().point(PointId(str(facts["point_id"])))
        machine = story.machine(site)
        for disk in point.document.disks:
            before = machine.history.content(disk.key, disk.root.size_bytes, 0)
            assert before == story.content(point, disk.key)
        other = story.world.host(B if site == A else A)
        assert other.standings[WEB].role is role_of_other

    return check


def nothing_is_lost(site: SiteName) -> Callable[[Story, Facts], None]:
    def check(story: Story, facts: Facts) -> None:
        runs_from_its_point(site, Role.REPLICA)(story, facts)
        other = B if site == A else A
        for key, disk in story.machine(other).disks.items():
            size = disk.size_bytes
            assert story.machine(other).content(key) == story.machine(site).history.content(key, size, 0)
        assert facts["rpo_seconds"] == 0

    return check


def is_kept_and(check: Callable[[Story, Facts], None]) -> Callable[[Story, Facts], None]:
    """What the returning source had written is a divergent point, held, and no point goes on from it."""

    def both(story: Story, facts: Facts) -> None:
        divergent = [point for point in story.points() if point.document.is_divergent]
        assert divergent, "what was written is kept"
        for point in divergent:
            assert {str(disk.key): story.content(point, disk.key) for disk in point.document.disks} == story.left_behind
            assert (point.document.source_site, point.document.epoch) == (A, 1)
        assert divergent[-1].id in story.witness().held_points()
        assert not named(story.points(), "N").document.is_divergent
        check(story, facts)

    return both


def sync_back(story: Story) -> Request:
    return story.sync_request(B, A)


def is_rolled_back(story: Story, facts: Facts) -> None:
    point = story.witness().point(PointId(str(facts["point_id"])))
    for disk in point.document.disks:
        before = story.machine(A).history.content(disk.key, disk.root.size_bytes, 0)
        assert before == story.content(point, disk.key)
    assert facts["present_point_id"] in {point.id for point in story.points()}


def is_restored(story: Story, _: Facts) -> None:
    new, point = story.world.host(B).machines[NEW], story.points()[0]
    assert NEW not in story.world.host(B).standings
    assert new.power is PowerState.OFF
    for disk in point.document.disks:
        assert new.content(disk.key) == story.content(point, disk.key)
    assert {nic.mac for nic in new.spec.nics}.isdisjoint({nic.mac for nic in story.machine(A).spec.nics})


_SCENARIOS = [
    Scenario("first sync", SYNC, lambda: Story.begin(disk_count=1), sync, A, replica_is_at_its_point),
    Scenario("second sync", SYNC, synced, sync, A, replica_is_at_its_point, is_tracked=True),
    Scenario("sync to a replica deleted by hand", SYNC, replica_deleted, sync, A, replica_is_at_its_point),
    Scenario("sync of a reshaped machine", SYNC, reshaped, sync, A, replica_is_at_its_point),
    Scenario("sync of a replaced disk", SYNC, shrunk, sync, A, replica_is_at_its_point),
    Scenario("planned failover", FAILOVER, synced, failover(is_planned=True), B, nothing_is_lost(B), is_tracked=True),
    Scenario(
        "unplanned failover, source silent",
        FAILOVER,
        source_lost,
        failover(is_planned=False),
        B,
        runs_from_its_point(B, Role.PRIMARY),
    ),
    Scenario(
        "unplanned failover, machine dead",
        FAILOVER,
        machine_dead,
        failover(is_planned=False),
        B,
        runs_from_its_point(B, Role.FENCED),
    ),
    Scenario(
        "failover without the repository, source silent",
        FAILOVER,
        repository_away(source_lost),
        failover_as_it_is,
        B,
        runs_from_its_point(B, Role.PRIMARY),
    ),
    Scenario(
        "failover without the repository, machine dead",
        FAILOVER,
        repository_away(machine_dead),
        failover_as_it_is,
        B,
        runs_from_its_point(B, Role.FENCED),
    ),
    Scenario(
        "failback after a failover without the repository",
        FAILBACK,
        failed_over_as_it_is,
        failback,
        A,
        nothing_is_lost(A),
        is_tracked=True,
    ),
    Scenario("failback", FAILBACK, failed_over, failback, A, nothing_is_lost(A), is_tracked=True),
    Scenario(
        "failback after the source was lost",
        FAILBACK,
        lambda: failed_over(is_planned=False),
        failback,
        A,
        nothing_is_lost(A),
    ),
    Scenario("failback after a split", FAILBACK, split, failback, A, is_kept_and(nothing_is_lost(A))),
    Scenario("sync after a split", SYNC, split, sync_back, B, is_kept_and(replica_is_at_its_point_on(A))),
    Scenario("rollback", ROLLBACK, lambda: synced(3), rollback, A, is_rolled_back),
    Scenario("restore to a site", RESTORE, synced, restore, A, is_restored),
]

SCENARIOS = [replace(scenario, begin=made_once(scenario.begin)) for scenario in _SCENARIOS]
