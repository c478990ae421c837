"""What a site's host can do to its standings: withhold them, or show older ones; never invent one."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.platforms.file_sites import FilePlatform, home_of, manager_at, repository_at, settings_of
from tests.repository.world import CHEAP, PASSPHRASE, made, opened, ports
from twinhull.hosts.host import LocalHost
from twinhull.manager.catalog.catalog import Catalog
from twinhull.manager.catalog.records import Plan
from twinhull.manager.catalog.state import StateDirectory
from twinhull.manager.sites.standing_keys import forget_contact, keys_of, remember_keys
from twinhull.model.errors import DataError, StateError
from twinhull.model.machine import DiskKey, MachineId, PlanName, PointId, Role, SiteName, Standing
from twinhull.model.ports import system_ports
from twinhull.model.sealing import Form, StandingKeys
from twinhull.platforms import simulated
from twinhull.platforms.contract import SiteSettings
from twinhull.platforms.guard.standings import StandingFiles
from twinhull.repository import MemoryStore

MACHINE = MachineId("11111111-2222-4333-8444-555555555555")
SITE = SiteName("alpha")
HOME = home_of(SITE)
PLAN = Plan(PlanName("p"), (MACHINE,), SITE, SiteName("beta"), 60.0)
KEY, OLD, OTHER = b"k" * 32, b"o" * 32, b"x" * 32
HELD = Standing(
    MACHINE,
    Role.REPLICA,
    5,
    PointId(f"{MACHINE}/00000001"),
    trackers={DiskKey("vda"): "twinhull-1"},
    claim="run-1",
    capture="sync-1",
    elsewhere="beta",
)

Forgery = Callable[[dict[str, Any]], None]


def _files(directory: Path, *keys: bytes, least: Form = Form.BOUND, home: str = HOME) -> StandingFiles:
    return StandingFiles(LocalHost(system_ports()), str(directory), keys=lambda: StandingKeys(keys, home, least))


def _forge(files: StandingFiles, forgery: Forgery) -> None:
    path = Path(files.path(MACHINE))
    raw = json.loads(path.read_text())
    forgery(raw)
    path.write_text(json.dumps(raw, sort_keys=True))


def test_what_was_written_is_read_by_every_manager_that_has_the_key(tmp_path: Path) -> None:
    _files(tmp_path, OLD).write(HELD)
    for keys in ((OLD,), (KEY, OLD)):
        assert _files(tmp_path, *keys).read(MACHINE) == HELD
    _files(tmp_path, KEY, OLD).write(HELD)
    assert _files(tmp_path, KEY).read(MACHINE) == HELD, "the newest key seals"


@pytest.mark.parametrize(
    "field", sorted(json.loads('{"role": 0, "epoch": 0, "claim": 0, "capture": 0, "point_id": 0}'))
)
def test_no_field_can_be_changed(tmp_path: Path, field: str) -> None:
    files = _files(tmp_path, KEY)
    files.write(HELD)
    changed = {"role": "primary", "epoch": 6, "claim": "evil", "capture": "evil", "point_id": f"{MACHINE}/00000002"}
    _forge(files, lambda raw: raw.update({field: changed[field]}))
    _refused(files, "its seal is not")


@pytest.mark.parametrize(
    ("forgery", "reason"),
    [
        (lambda raw: raw.pop("seal"), "has no seal"),
        (lambda raw: raw.update(seal=None), "has no seal"),
        (lambda raw: raw.update(seal=""), "its seal is not"),
        (lambda raw: raw.update(seal="é" * 64), "its seal is not"),
        (lambda raw: raw.update(seal=["a"]), "its seal is not"),
        (lambda raw: raw.update(more=1), "its seal is not"),
        (lambda raw: raw.update(epoch=10**19), "is not an epoch"),
        (lambda raw: raw.update(epoch=True), "is not an epoch"),
        (lambda raw: raw.update(epoch="5"), "is not an epoch"),
        (lambda raw: raw.update(is_dirty="false"), "true or false"),
        (lambda raw: raw.update(role="unreadable"), "cannot be read"),
        (lambda raw: raw.update(trackers={"../vda": "x"}), "disk's key"),
        (lambda raw: raw.update(trackers=["vda"]), "cannot be read"),
        (lambda raw: raw.update(point_id="../../etc"), "point id"),
        (lambda raw: raw.update(claim='x", "epoch": 1'), "plain word"),
        (lambda raw: raw.update(machine_id="x"), "machine id"),
    ],
)
def test_what_was_invented_is_not_believed(tmp_path: Path, forgery: Forgery, reason: str) -> None:
    files = _files(tmp_path, KEY)
    files.write(HELD)
    _forge(files, forgery)
    _refused(files, reason)


def _refused(files: StandingFiles, reason: str) -> None:
    assert files.read_all() == [Standing(MACHINE, Role.UNREADABLE, 0)]
    with pytest.raises(DataError, match=reason):
        files.read(MACHINE)


def test_a_standing_of_another_repository_s_manager_is_not_ours(tmp_path: Path) -> None:
    _files(tmp_path, OTHER).write(HELD)
    _refused(_files(tmp_path, KEY, least=Form.NONE), "its seal is not from this repository's keys")


def test_an_older_version_s_standings_are_taken_over_once(tmp_path: Path) -> None:
    _files(tmp_path).write(HELD)
    first = _files(tmp_path, KEY, least=Form.NONE)
    assert first.read(MACHINE) == HELD
    for _ in range(2):
        first.take_over()
    assert _files(tmp_path, KEY).read(MACHINE) == HELD
    _forge(first, lambda raw: raw.pop("seal"))
    _refused(_files(tmp_path, KEY), "has no seal")


def test_without_a_key_a_standing_is_taken_as_it_is(tmp_path: Path) -> None:
    """A manager that lost all it knew, on the day on which the repository is gone, too, still starts the replica."""
    _files(tmp_path, OTHER).write(HELD)
    assert _files(tmp_path).read(MACHINE) == HELD
    _files(tmp_path).take_over()
    assert _files(tmp_path, OTHER).read(MACHINE) == HELD, "it takes no seal away"


def test_files_that_are_called_like_no_machine_are_none_of_ours(tmp_path: Path) -> None:
    files = _files(tmp_path, KEY)
    files.write(HELD)
    for name in ("../x", "notes", MACHINE.replace("1", "A")):
        (tmp_path / "standings" / f"{Path(name).name}.json").write_text("{}")
    assert files.read_all() == [HELD]


def test_managers_of_one_repository_have_one_key_also_after_a_rotation_and_without_it(tmp_path: Path) -> None:
    repository = made(store := MemoryStore(), ports())
    states = [StateDirectory(tmp_path / name) for name in ("one", "two")]
    for state in states:
        state.make()
        with closing(opened(store)) as opened_again:
            remember_keys(state, opened_again)
            remember_keys(state, opened_again)
    with closing(Catalog(states[0].catalog)) as one, closing(Catalog(states[1].catalog)) as two:
        known = keys_of(states[0], one, SITE)
        assert len(known.keys) == 1
        assert keys_of(states[1], two, SITE) == known
        assert states[0].standing_keys.stat().st_mode & 0o777 == 0o600
        assert known.keys[0] not in repository.keys.ring
        other = made(MemoryStore(), ports(seed="other"))
        remember_keys(states[0], other)
        later = keys_of(states[0], one, SITE)
        assert later.keys[1:] == known.keys, "what a former repository's key sealed is still believed"
        assert (later.least, later.home) == (Form.NONE, "")
        later.settle(HOME, {MACHINE: Form.SEALED})
        settled = keys_of(states[0], one, SITE)
        assert (settled.least, settled.home, settled.left) == (Form.BOUND, HOME, {MACHINE: Form.SEALED})
        assert keys_of(states[0], one, SiteName("another")).least is Form.NONE
        forget_contact(one, SITE)
        assert keys_of(states[0], one, SITE) == later
        other.close()
    repository.close()


@pytest.mark.parametrize("content", ["zz", "00", "ff" * 33])
def test_damaged_keys_are_told_with_what_to_do(tmp_path: Path, content: str) -> None:
    state = StateDirectory(tmp_path / "state")
    state.make()
    state.standing_keys.write_text(content)
    with closing(Catalog(state.catalog)) as catalog, pytest.raises(StateError, match="standing-keys"):
        keys_of(state, catalog, SITE)


@pytest.fixture
def file_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SiteSettings:
    monkeypatch.setattr(simulated, "PLATFORM", FilePlatform(tmp_path / "hosts"))
    return settings_of(SITE)


@pytest.mark.parametrize("other", ["one", "two"], ids=["one state directory", "two state directories"])
def test_a_manager_that_holds_a_site_open_believes_what_is_sealed_by_rotated_keys(
    tmp_path: Path, file_site: SiteSettings, other: str
) -> None:
    repository = repository_at(tmp_path / "points", "made")
    with manager_at(tmp_path / "one", repository) as serving, manager_at(tmp_path / other, repository) as command:
        for manager in {serving.state.path: serving, command.state.path: command}.values():
            manager.catalog.add_site(file_site)
        assert serving.repository.keys.number == 1
        with serving.pool.lease() as door:
            door(SITE).standings.write(HELD)
            command.repository.rotate_keys(PASSPHRASE, PASSPHRASE, CHEAP)
            later = replace(HELD, epoch=6, claim="run-2")
            with command.pool.lease() as its:
                assert its(SITE).standings.read(MACHINE) == HELD
                its(SITE).standings.write(later)
            newest = keys_of(command.state, command.catalog, SITE).keys
            assert len(newest) == 2
            raw = json.loads((tmp_path / "hosts" / SITE / "standings" / f"{MACHINE}.json").read_text())
            assert not StandingKeys(newest[:1], HOME).doubt(MACHINE, raw), "it is sealed by the new key"
            assert door(SITE).standings.read(MACHINE) == later
            last = replace(later, epoch=7, claim="run-3")
            door(SITE).standings.write(last)
            raw = json.loads((tmp_path / "hosts" / SITE / "standings" / f"{MACHINE}.json").read_text())
            assert not StandingKeys(newest[:1], HOME).doubt(MACHINE, raw), "it seals by the new key, too"
            assert keys_of(serving.state, serving.catalog, SITE).keys == newest


def test_a_manager_with_a_copy_of_the_repository_takes_standings_over_when_a_person_says_so(
    tmp_path: Path, file_site: SiteSettings
) -> None:
    with (
        manager_at(tmp_path / "one", repository_at(tmp_path / "points", "made")) as first,
        manager_at(tmp_path / "two", repository_at(tmp_path / "copy", "copy")) as second,
    ):
        for manager in (first, second):
            assert manager.repository
            manager.catalog.add_site(file_site)
            manager.catalog.add_plan(PLAN)
        with first.pool.lease() as door:
            door(SITE).standings.write(HELD)
        (tmp_path / "hosts" / SITE / "standings" / "broken.json").write_text("{")
        path = tmp_path / "hosts" / SITE / "standings" / f"{MACHINE}.json"
        before = path.read_bytes()
        with second.pool.lease() as door:
            with pytest.raises(DataError, match="its seal is not from this repository's keys") as refused:
                door(SITE).standings.read(MACHINE)
            assert "twinhull site trust" in refused.value.hint
            assert "remove the file" not in refused.value.hint
            assert second.trust(SITE, is_dry_run=True) == [HELD]
            assert path.read_bytes() == before
            assert second.trust(SITE, is_dry_run=False) == [HELD]
            assert door(SITE).standings.read(MACHINE) == HELD
            assert second.trust(SITE, is_dry_run=True) == []
        with first.pool.lease() as door, pytest.raises(DataError, match="its seal is not from this repository's keys"):
            door(SITE).standings.read(MACHINE)


@pytest.mark.parametrize(
    "held",
    [
        replace(HELD, role=Role.PRIMARY),
        replace(HELD, is_dirty=True, applying_point_id=PointId(f"{MACHINE}/00000002")),
        replace(HELD, claim=""),
    ],
    ids=["primary", "dirty", "unclaimed"],
)
def test_every_kind_of_standing_can_be_taken_over_and_stays_what_it_was(tmp_path: Path, held: Standing) -> None:
    _files(tmp_path, OTHER).write(held)
    ours = _files(tmp_path, KEY)
    assert ours.take_over() == ()
    assert ours.take_over(is_trusting=True) == [held]
    assert ours.read(MACHINE) == held
