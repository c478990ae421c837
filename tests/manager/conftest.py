"""Both databases of runs: tests that take ``runs_at`` are run on each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from tests.manager.postgres import Postgres, postgres
from twinhull.manager.record.location import DATABASE_VARIABLE


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    with postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def runs_at(request: pytest.FixtureRequest) -> Mapping[str, str]:
    """The environment that names the database of runs: the state directory's own, or a new one on a server."""
    if request.param == "sqlite":
        return {}
    server: Postgres = request.getfixturevalue("postgres_server")
    return {DATABASE_VARIABLE: server.database()}
