from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from twinhull.manager.catalog.catalog import Catalog
from twinhull.manager.catalog.records import WEEK_SECONDS, Plan
from twinhull.model.errors import StateError
from twinhull.model.machine import MachineId, PlanName, SiteName
from twinhull.platforms.contract import SiteSettings
from twinhull.repository import RetentionRules

SITE = SiteSettings(SiteName("here"), "qemu", "qemu:///system", {"directory": "/d", "accelerator": "tcg"})
PLAN = Plan(
    PlanName("shop"),
    (MachineId("b"), MachineId("a")),
    SiteName("here"),
    SiteName("there"),
    90.5,
    RetentionRules(keep_last=3, keep_daily=7),
    {"lan": "br0"},
    "pv",
    10,
    is_freezing=False,
    is_paused=True,
)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with closing(Catalog(tmp_path / "catalog.db")) as catalog:
        yield catalog


def test_what_is_written_is_read_again(catalog: Catalog, tmp_path: Path) -> None:
    catalog.add_site(SITE)
    catalog.add_plan(PLAN)
    with closing(Catalog(tmp_path / "catalog.db")) as again:
        assert again.sites() == (SITE,)
        assert again.plan("shop") == PLAN


def test_a_closed_catalog_opens_nothing_again(catalog: Catalog) -> None:
    catalog.close()
    with pytest.raises(RuntimeError, match="closed"):
        catalog.sites()
    with pytest.raises(RuntimeError, match="closed"):
        catalog.add_site(SITE)


def test_a_connection_that_a_thread_uses_while_the_catalog_closes_is_closed_when_it_ends(catalog: Catalog) -> None:
    with catalog._reading.connect() as used:
        connection = used.connection.driver_connection
        catalog.close()
        assert connection is not None
        connection.execute("SELECT 1").close()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")


def test_a_catalog_of_the_first_version_is_brought_to_this_one(tmp_path: Path) -> None:
    first = Catalog(tmp_path / "catalog.db")
    first.add_plan(PLAN)
    first.close()
    with closing(sqlite3.connect(tmp_path / "catalog.db")) as connection, connection:
        connection.execute("ALTER TABLE plans DROP COLUMN full_compare_seconds")
        connection.execute("ALTER TABLE plans ADD COLUMN full_compare_every INTEGER NOT NULL DEFAULT 5")
        _as_in_version_2(connection)
        connection.execute("PRAGMA user_version = 1")
    for _ in range(2):
        with closing(Catalog(tmp_path / "catalog.db")) as catalog:
            assert catalog.plans() == (replace(PLAN, full_compare_seconds=WEEK_SECONDS),)


def _as_in_version_2(connection: sqlite3.Connection) -> None:
    for name, default in (("directory", "/d"), ("hooks_directory", "/h")):
        connection.execute(f"ALTER TABLE sites ADD COLUMN {name} VARCHAR NOT NULL DEFAULT '{default}'")


def test_the_directories_of_an_older_catalog_become_options_of_the_platforms_that_have_them(tmp_path: Path) -> None:
    with closing(Catalog(tmp_path / "catalog.db")) as catalog:
        catalog.add_site(replace(SITE, options={"accelerator": "tcg"}))
        catalog.add_site(SiteSettings(SiteName("toy"), "simulated", "simulated:toy"))
    with closing(sqlite3.connect(tmp_path / "catalog.db")) as connection, connection:
        _as_in_version_2(connection)
        connection.execute("PRAGMA user_version = 2")
    with closing(Catalog(tmp_path / "catalog.db")) as catalog:
        here, toy = catalog.sites()
        assert here.options == {"accelerator": "tcg", "directory": "/d", "hooks_directory": "/h"}
        assert toy.options == {}


def test_a_disk_that_is_full_is_said(catalog: Catalog) -> None:
    with catalog._engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        connection.commit()
    with pytest.raises(StateError, match="database or disk is full"):
        catalog.set("big", "x" * 1_000_000)
    assert catalog.setting("big") is None
