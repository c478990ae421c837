"""Which database the runs of a state directory are recorded in."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.record import claims_of, opened
from twinhull.manager.catalog.state import StateDirectory
from twinhull.manager.record.location import DATABASE_VARIABLE, locate
from twinhull.manager.runs.engine import Engine
from twinhull.model.errors import StateError, UsageError
from twinhull.model.ports import system_ports

URL = "postgresql://twinhull:secret-word@db.example/runs"


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    found = StateDirectory(tmp_path / "state")
    found.make()
    return found


def test_it_is_a_private_file_in_the_state_directory_unless_another_is_named(state: StateDirectory) -> None:
    assert locate(state, {}).database == str(state.runs)
    assert state.runs.stat().st_mode & 0o077 == 0


def test_a_database_that_was_named_once_is_remembered_privately(state: StateDirectory) -> None:
    assert locate(state, {}).get_backend_name() == "sqlite"
    named = locate(state, {DATABASE_VARIABLE: URL})
    assert (named.drivername, named.host, named.password) == ("postgresql+psycopg", "db.example", "secret-word")
    assert locate(state, {}) == named
    assert locate(state, {DATABASE_VARIABLE: URL}) == named
    assert state.database.stat().st_mode & 0o077 == 0


def test_another_database_is_refused_from_then_on(state: StateDirectory) -> None:
    locate(state, {DATABASE_VARIABLE: URL})
    with pytest.raises(StateError, match="another database") as refused:
        locate(state, {DATABASE_VARIABLE: URL.replace("example", "elsewhere")})
    assert "secret-word" not in str(refused.value)


def test_a_state_directory_with_runs_of_its_own_keeps_them(state: StateDirectory) -> None:
    with opened(state) as database, claims_of(database) as claims:
        Engine(database, claims, {}, system_ports()).make_tables()
    with pytest.raises(StateError, match="its own record of runs"):
        locate(state, {DATABASE_VARIABLE: URL})
    assert locate(state, {}).get_backend_name() == "sqlite"
    assert not state.database.exists()


def test_the_url_may_lie_in_a_file(state: StateDirectory, tmp_path: Path) -> None:
    (tmp_path / "url").write_text(URL + "\n")
    named = {DATABASE_VARIABLE: f"file:{tmp_path / 'url'}"}
    assert locate(state, named).password == "secret-word"  # noqa: S105 - of no database
    assert "secret-word" not in state.database.read_text()
    (tmp_path / "url").write_text(URL.replace("secret-word", "changed") + "\n")
    assert locate(state, {}).password == "changed"  # noqa: S105 - as above


@pytest.mark.parametrize(
    "wrong", ["mysql://root:secret-word@db/runs", "secret-word", "postgresql://u:secret-word@h:x/"]
)
def test_what_is_no_postgresql_url_is_refused_without_being_shown(state: StateDirectory, wrong: str) -> None:
    with pytest.raises(UsageError, match="not named by a PostgreSQL URL") as refused:
        locate(state, {DATABASE_VARIABLE: wrong})
    assert "secret-word" not in str(refused.value)
    assert not state.database.exists()
