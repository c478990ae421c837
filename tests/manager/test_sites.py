from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Event, Thread

import pytest

from tests.manager.world import HERE, THERE, make_setup
from twinhull.manager.sites import overview
from twinhull.manager.sites import pool as sites
from twinhull.model.errors import SiteUnreachable
from twinhull.model.machine import MachineStatus
from twinhull.platforms.simulated import SimulatedInventory, SimulatedSite

SOURCES = Path(sites.__file__).parents[1]


def test_an_open_site_is_shared_and_closed_with_its_last_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = make_setup(tmp_path, monkeypatch)
    closed: list[object] = []
    monkeypatch.setattr(SimulatedSite, "close", lambda self: closed.append(self))  # noqa: PLW0108 - it must bind
    with setup.manager() as manager:
        with manager.pool.lease() as first:
            site = first(HERE)
            with manager.pool.lease() as second:
                assert second(HERE) is site
            assert closed == []
        assert closed == [site]
        with manager.pool.lease() as third:
            assert third(HERE) is not site


def test_a_site_that_cannot_be_opened_is_tried_anew_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = make_setup(tmp_path, monkeypatch)
    setup.world.host(HERE).isolate()
    with setup.manager() as manager, manager.pool.lease() as door:
        with pytest.raises(SiteUnreachable):
            door(HERE)
        setup.world.host(HERE).return_()
        assert door(HERE).inventory.machines()


def test_many_threads_open_a_site_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    setup = make_setup(tmp_path, monkeypatch)
    found: list[object] = []
    with setup.manager() as manager, manager.pool.lease() as keeper:
        keeper(HERE)

        def use() -> None:
            with manager.pool.lease() as door:
                found.append(door(HERE))

        threads = [Thread(target=use) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(map(id, found)) == {id(keeper(HERE))}


def test_a_site_that_hangs_is_told_and_holds_up_no_look_at_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = make_setup(tmp_path, monkeypatch)
    monkeypatch.setattr(overview, "PATIENCE_SECONDS", 0.3)
    is_over = Event()
    machines = SimulatedInventory.machines

    def hang(site: SimulatedInventory) -> Sequence[MachineStatus]:
        if site.host.name == THERE:
            is_over.wait(60)
        return machines(site)

    monkeypatch.setattr(SimulatedInventory, "machines", hang)
    with setup.manager() as manager:
        report = manager.status().reports[0]
        assert [side.is_reachable for side in report.situation.sides] == [True, False]
        assert report.situation.side(THERE).reason == "it has not answered for 0 s."
        is_over.set()


def test_the_platform_is_guessed_from_the_uri() -> None:
    assert sites.guess_platform("qemu:///embed?root=/srv") == "qemu"
    assert sites.guess_platform("qemu+unix:///system?socket=/run/s") == "qemu"
    assert sites.guess_platform("xen+ssh://root@xen1/") == "xen"
    assert sites.with_known_hosts("xen+ssh://x/", "/a b") == "xen+ssh://x/?known_hosts=/a%20b"
    assert sites.with_known_hosts("xen+ssh://x/?keyfile=/k", "/h") == "xen+ssh://x/?keyfile=/k&known_hosts=/h"
    assert sites.with_known_hosts("qemu:///system", None) == "qemu:///system"


def test_the_engine_is_met_in_two_modules() -> None:
    users = {path.name for path in SOURCES.rglob("*.py") if "from dbos" in path.read_text()}
    assert users == {"engine.py", "record.py"}
