"""Where the runs are recorded: an SQLite file in the state directory, or a PostgreSQL database that managers share.

The database is named once, by a variable or a file; the state directory remembers it. Two records of the same machines
would let two runs work on one machine, so another name is refused from then on.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa

from twinhull.manager.catalog.state import StateDirectory, make_private, read_secret, write_private
from twinhull.manager.record.database import RunsDatabase
from twinhull.model.errors import StateError, UsageError
from twinhull.model.redaction import note_secret

DATABASE_VARIABLE = "TWINHULL_DATABASE"
"""A URL, or ``file:PATH`` of a file whose first line is one."""
_DRIVER = "postgresql+psycopg"


def locate(state: StateDirectory, environment: Mapping[str, str]) -> sa.URL:
    """The database of the state directory's runs; raises UsageError, StateError."""
    wanted, known = environment.get(DATABASE_VARIABLE, ""), _remembered(state)
    if wanted and known and wanted != known:
        raise StateError(
            f"{DATABASE_VARIABLE} names another database than the one that {state.path} uses.",
            hint=f"Unset {DATABASE_VARIABLE}, or use another state directory.",
        )
    if wanted and not known:
        url = _parse(wanted)
        _remember(state, wanted)
        return url
    if known:
        return _parse(known)
    make_private(state.runs)
    return _own(state)


def _remembered(state: StateDirectory) -> str:
    return read_secret(state.database) if state.database.exists() else ""


def _has_own_runs(state: StateDirectory) -> bool:
    if not state.runs.exists():
        return False
    with closing(RunsDatabase(_own(state))) as database:
        return database.has_runs()


def _own(state: StateDirectory) -> sa.URL:
    return sa.URL.create("sqlite", database=str(state.runs))


def _remember(state: StateDirectory, wanted: str) -> None:
    if _has_own_runs(state):
        raise StateError(
            f"{state.path} has its own record of runs already, so it cannot use another database.",
            hint=f"Unset {DATABASE_VARIABLE}, or use a new state directory: twinhull --state DIRECTORY status",
        )
    write_private(state.database, wanted.encode() + b"\n")


def _parse(reference: str) -> sa.URL:
    """The URL that a reference names. No message shows it: it may hold a password."""
    text = read_secret(Path(reference.removeprefix("file:"))) if reference.startswith("file:") else reference
    try:
        url = sa.make_url(text)
    except (sa.exc.ArgumentError, ValueError):
        url = None
    if url is None or url.drivername not in ("postgresql", "postgres", _DRIVER):
        raise UsageError(
            "The database of runs is not named by a PostgreSQL URL.",
            hint=f"Set {DATABASE_VARIABLE} to postgresql://USER@HOST/NAME, or to file:PATH of a file that holds it.",
        )
    note_secret(url.password or "")
    return url.set(drivername=_DRIVER)
