from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

import pytest

from twinhull.manager.catalog.catalog import Catalog
from twinhull.manager.catalog.records import WEEK_SECONDS, Plan, RunRecord, RunState, StepRecord, StepState
from twinhull.model.errors import NotFound, StateError, UsageError
from twinhull.model.machine import MachineId, PlanName, RunId, SiteName
from twinhull.platforms.contract import SiteSettings
from twinhull.repository import RetentionRules

NOW = datetime(2026, 1, 1, tzinfo=UTC)
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
RUN = RunRecord(RunId("sync-1"), "sync", MachineId("a"), "web1", "test", {"x": [1, None]}, RunState.RUNNING, NOW)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with closing(Catalog(tmp_path / "catalog.db")) as catalog:
        yield catalog


def test_what_is_written_is_read_again(catalog: Catalog, tmp_path: Path) -> None:
    catalog.add_site(SITE)
    catalog.add_plan(PLAN)
    catalog.add_run(RUN)
    with closing(Catalog(tmp_path / "catalog.db")) as again:
        assert again.sites() == (SITE,)
        assert again.plan("shop") == PLAN
        assert again.run("sync-1") == RUN


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


def test_runs_come_in_the_order_in_which_they_began_whatever_the_clock_said(catalog: Catalog) -> None:
    for number, year in enumerate((2026, 2030, 2001)):
        catalog.add_run(replace(RUN, run_id=RunId(f"r{number}"), started_at=NOW.replace(year=year)))
    catalog.update_run(RunId("r0"), lambda run: replace(run, state=RunState.DONE))
    assert [run.run_id for run in catalog.runs()] == ["r2", "r1", "r0"]
    assert [run.run_id for run in catalog.unfinished_runs()] == ["r1", "r2"]


def test_a_run_is_found_by_how_it_begins_if_it_alone_does(catalog: Catalog) -> None:
    for name in ("sync-1", "sync-12", "failover-1"):
        catalog.add_run(replace(RUN, run_id=RunId(name)))
    assert catalog.run("fail").run_id == "failover-1"
    assert catalog.run("sync-1").run_id == "sync-1"
    with pytest.raises(UsageError, match="Several runs begin with 'sync'"):
        catalog.run("sync")
    with pytest.raises(NotFound):
        catalog.run("%")


def test_a_step_that_begins_again_counts_its_attempts(catalog: Catalog) -> None:
    step = StepRecord(0, "look", is_undo=False, state=StepState.RUNNING, started_at=NOW)
    for _ in range(3):
        catalog.write_step(RUN.run_id, step)
    catalog.write_step(RUN.run_id, replace(step, state=StepState.DONE, seconds=0.5))
    assert catalog.steps(RUN.run_id) == (replace(step, state=StepState.DONE, seconds=0.5, attempt_count=3),)


def test_many_threads_write_at_once(catalog: Catalog) -> None:
    catalog.add_run(RUN)

    def count() -> None:
        for _ in range(10):
            catalog.update_run(RUN.run_id, lambda run: replace(run, reasons=(*run.reasons, "one more")))

    threads = [Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(catalog.run("sync-1").reasons) == 40


def test_a_disk_that_is_full_is_said(catalog: Catalog) -> None:
    with catalog._engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        connection.commit()
    big = replace(RUN, error="x" * 1_000_000)
    with pytest.raises(StateError, match="database or disk is full"):
        catalog.add_run(big)
    assert catalog.runs() == ()
