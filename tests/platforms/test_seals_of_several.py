"""Seals where several managers, repositories and hosts meet: each seals its own, and a seal holds on its host only."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.platforms.file_sites import FilePlatform, home_of, manager_at, repository_at, settings_of
from twinhull.hosts.host import LocalHost
from twinhull.manager.catalog.records import Plan
from twinhull.manager.manager import Manager
from twinhull.manager.sites.editing import remember_identity, remembered_identity
from twinhull.manager.sites.standing_keys import remember_keys
from twinhull.model.errors import DataError
from twinhull.model.machine import MachineId, PlanName, PointId, Role, SiteName, Standing
from twinhull.model.ports import system_ports
from twinhull.model.sealing import Form, StandingKeys
from twinhull.platforms import simulated
from twinhull.platforms.contract import SiteIdentity
from twinhull.platforms.guard.standings import StandingFiles

OURS = MachineId("11111111-2222-4333-8444-555555555555")
THEIRS = MachineId("22222222-2222-4333-8444-555555555555")
A, B = SiteName("alpha"), SiteName("beta")


def standing(machine_id: MachineId, epoch: int = 5, role: Role = Role.REPLICA) -> Standing:
    return Standing(machine_id, role, epoch, PointId(f"{machine_id}/00000001"), claim="run-1")


def plan(*machines: MachineId) -> Plan:
    return Plan(PlanName("p"), machines, A, B, 60.0)


class World:
    """Two hosts, and managers with a repository each."""

    def __init__(self, path: Path, closing: ExitStack) -> None:
        self._path = path
        self._closing = closing

    def manager(self, name: str, *planned: MachineId, repository: str = "") -> Manager:
        """A manager of its own repository, or of another one's, that knows both sites."""
        where = self._path / f"points of {repository or name}"
        if not where.exists():
            repository_at(where, seed=name)
        manager = self._closing.enter_context(manager_at(self._path / name, where))
        for site in (A, B):
            manager.catalog.add_site(settings_of(site))
        if planned:
            manager.catalog.add_plan(plan(*planned))
        assert manager.repository
        return manager

    def path(self, machine_id: MachineId, site: SiteName = A) -> Path:
        return self._path / "hosts" / site / "standings" / f"{machine_id}.json"

    def older(self, written: Standing, manager: Manager | None = None, site: SiteName = A) -> None:
        """Write a standing as an older version did: without a seal, or with one by that manager that names no host."""
        keys = manager._keys_of(site)().keys if manager else ()
        where = str(self.path(written.machine_id, site).parent.parent)
        StandingFiles(LocalHost(system_ports()), where, keys=lambda: StandingKeys(keys)).write(written)

    def forge(self, machine_id: MachineId, forgery: Callable[[dict[str, Any]], object]) -> None:
        raw = json.loads(self.path(machine_id).read_text())
        forgery(raw)
        self.path(machine_id).write_text(json.dumps(raw, sort_keys=True))


def read(manager: Manager, machine_id: MachineId, site: SiteName = A, *, is_looking: bool = False) -> Standing | None:
    with manager.pool.lease(is_looking=is_looking) as door:
        return door(site).standings.read(machine_id)


def refused(manager: Manager, machine_id: MachineId, reason: str, site: SiteName = A) -> None:
    with pytest.raises(DataError, match=reason):
        read(manager, machine_id, site)


def stripped(raw: dict[str, Any]) -> None:
    del raw["seal"]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(simulated, "PLATFORM", FilePlatform(tmp_path / "hosts"))
    with ExitStack() as closing:
        yield World(tmp_path, closing)


def test_two_repositories_on_one_host_seal_their_own_machines_and_need_no_trust(world: World) -> None:
    for machine_id in (OURS, THEIRS):
        world.older(standing(machine_id))
    untouched = world.path(THEIRS).read_bytes()
    one, two = world.manager("one", OURS), world.manager("two", THEIRS)
    assert read(one, OURS) == standing(OURS)
    assert world.path(THEIRS).read_bytes() == untouched, "who comes first leaves the other's as they are"
    assert read(one, THEIRS) == standing(THEIRS)
    assert read(two, THEIRS) == standing(THEIRS)
    refused(one, THEIRS, "its seal is not from this repository's keys")
    refused(two, OURS, "its seal is not from this repository's keys")
    assert (read(one, OURS), read(two, THEIRS)) == (standing(OURS), standing(THEIRS)), "also on the second day"
    for manager, machine_id in ((one, OURS), (two, THEIRS)):
        world.forge(machine_id, stripped)
        refused(manager, machine_id, "has no seal")


def test_what_is_invented_after_the_first_contact_is_not_believed_whosever_machine_it_is(world: World) -> None:
    world.older(standing(OURS))
    one = world.manager("one", OURS)
    assert read(one, OURS)
    world.older(standing(THEIRS, epoch=100))
    refused(one, THEIRS, "has no seal")


@pytest.mark.parametrize("form", [Form.NONE, Form.SEALED])
def test_a_machine_that_becomes_ours_later_is_taken_over_then(world: World, form: Form) -> None:
    one = world.manager("one", OURS)
    world.older(standing(THEIRS), one if form is Form.SEALED else None)
    assert read(one, THEIRS) == standing(THEIRS)
    before = world.path(THEIRS).read_bytes()
    one.catalog.replace_plan(plan(OURS, THEIRS))
    assert read(one, THEIRS) == standing(THEIRS)
    world.path(THEIRS).write_bytes(before)
    refused(one, THEIRS, "names no host" if form is Form.SEALED else "has no seal")


def test_what_we_write_ourselves_is_sealed_for_good(world: World) -> None:
    world.older(standing(THEIRS))
    one = world.manager("one", OURS)
    with one.pool.lease() as door:
        door(A).standings.write(standing(THEIRS, epoch=6))
        world.forge(THEIRS, stripped)
        with pytest.raises(DataError, match="has no seal"):
            door(A).standings.read(THEIRS)


def test_a_copy_of_another_host_s_standing_is_not_believed(world: World) -> None:
    one = world.manager("one", OURS)
    with one.pool.lease() as door:
        door(A).standings.write(standing(OURS, 9, Role.PRIMARY))
        door(B).standings.write(standing(OURS))
    world.path(OURS, B).write_bytes(world.path(OURS, A).read_bytes())
    refused(one, OURS, "for this host", B)
    two = world.manager("two", OURS, repository="one")
    assert read(two, OURS) == standing(OURS, 9, Role.PRIMARY), "a second manager of the repository believes the first"
    refused(two, OURS, "for this host", B)


def test_older_seals_are_read_and_written_anew_and_not_believed_again(world: World) -> None:
    """What a host gains before the first command that works on it: it may show a copy, as with the older version."""
    one = world.manager("one", OURS)
    for site in (A, B):
        one.catalog.set(f"sealed-standings:{site}", "yes")  # as an older version noted it
    world.older(standing(OURS), one)
    world.older(standing(OURS, 9, Role.PRIMARY), one, B)
    copies = {site: world.path(OURS, site).read_bytes() for site in (A, B)}
    assert read(one, OURS, is_looking=True) == standing(OURS)
    assert world.path(OURS).read_bytes() == copies[A], "looking changes nothing"
    assert (read(one, OURS), read(one, OURS, B)) == (standing(OURS), standing(OURS, 9, Role.PRIMARY))
    for site, copy in ((A, A), (A, B), (B, A)):
        world.path(OURS, site).write_bytes(copies[copy])
        refused(one, OURS, "names no host", site)


def test_no_seal_is_believed_where_an_older_version_had_sealed_all(world: World) -> None:
    one = world.manager("one", OURS)
    one.catalog.set(f"sealed-standings:{A}", "yes")
    for machine_id in (OURS, THEIRS):
        world.older(standing(machine_id))
        refused(one, machine_id, "has no seal")


def test_trust_takes_over_our_own_machines_and_no_others(world: World) -> None:
    one, two = world.manager("one", OURS, THEIRS), world.manager("two", OURS)
    with one.pool.lease() as door:
        for machine_id in (OURS, THEIRS):
            door(A).standings.write(standing(machine_id))
    assert two.trust(A, is_dry_run=True) == [standing(OURS)]
    assert two.trust(A, is_dry_run=False) == [standing(OURS)]
    assert read(two, OURS) == standing(OURS)
    assert read(one, THEIRS) == standing(THEIRS)
    refused(one, OURS, "its seal is not from this repository's keys")


def test_trust_binds_seals_to_the_directory_that_is_there_now(world: World) -> None:
    one = world.manager("one", OURS)
    with one.pool.lease() as door:
        door(A).standings.write(standing(OURS))
    (world.path(OURS).parent.parent / "site-id").write_text(home_of("a host that was made anew"))
    assert read(one, OURS) == standing(OURS), "the catalog remembers the id, whatever the host calls itself"
    assert one.trust(A, is_dry_run=True) == [standing(OURS)]
    assert one.trust(A, is_dry_run=False) == [standing(OURS)]
    two = world.manager("two", OURS, repository="one")
    assert (read(one, OURS), read(two, OURS)) == (standing(OURS), standing(OURS))


def test_a_directory_that_is_not_mounted_is_not_forgotten(world: World) -> None:
    one = world.manager("one", OURS)
    remember_identity(one.catalog, A, SiteIdentity("host 1", home_of(A)))
    remember_identity(one.catalog, A, SiteIdentity("host 2", ""))
    assert remembered_identity(one.catalog, A) == SiteIdentity("host 2", home_of(A))


def test_a_site_that_is_connected_anew_is_met_anew(world: World) -> None:
    one = world.manager("one", OURS)
    with one.pool.lease() as door:
        door(A).standings.write(standing(OURS))
    one.catalog.remove_plan(PlanName("p"))
    one.catalog.remove_site(A)
    (world.path(OURS).parent.parent / "site-id").write_text(home_of("another host"))
    one.connect(settings_of(A))
    refused(one, OURS, "for this host")
    remember_keys(one.state, one.repository)
    assert remembered_identity(one.catalog, A) == SiteIdentity(f"host of {A}", home_of("another host"))
