"""The database of runs: the engine's own tables, as far as they are read here, and the claims beside them.

It is an SQLite file in the state directory, or a PostgreSQL database that several managers share. This module and its
readers do not load the engine: listing runs is quick.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from twinhull.model.errors import StateError

_BUSY_SECONDS = 30.0
_ENGINE_SCHEMA, _OUR_SCHEMA = "dbos", "twinhull"
_NO_LONG_LOCKS = "idle_in_transaction_session_timeout=60s"
"""A process that is paused, or whose host is cut off, in a transaction must not keep its locks for ever."""
_INDEX = "twinhull_runs_of_machine"

metadata = sa.MetaData(schema=_OUR_SCHEMA)
_engine_metadata = sa.MetaData(schema=_ENGINE_SCHEMA)


def _of_engine(name: str, *columns: sa.Column[Any]) -> sa.Table:
    return sa.Table(name, _engine_metadata, *columns)


def _text(name: str, *, is_key: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text, primary_key=is_key)


def _number(name: str, *, is_key: bool = False) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, primary_key=is_key)


workflows = _of_engine(
    "workflow_status",
    _text("workflow_uuid", is_key=True),
    *(_text(name) for name in ("name", "status", "application_version", "application_id", "application_name")),
    *(_text(name) for name in ("owner_xid", "serialization")),
    *(_number(name) for name in ("created_at", "updated_at", "completed_at", "recovery_attempts", "priority")),
    sa.Column("attributes", sa.JSON().with_variant(JSONB(), "postgresql")),
)
inputs = _of_engine(
    "workflow_input", _text("workflow_uuid", is_key=True), _text("inputs"), _number("retention_timestamp")
)
outputs = _of_engine(
    "workflow_output", _text("workflow_uuid", is_key=True), _text("output"), _number("retention_timestamp")
)
operations = _of_engine(
    "operation_outputs",
    _text("workflow_uuid", is_key=True),
    _number("function_id", is_key=True),
    *(_text(name) for name in ("function_name", "output", "serialization", "application_name")),
    _number("retention_timestamp"),
)
processes = sa.Table(
    "processes",
    metadata,
    sa.Column("process", sa.String, primary_key=True),
    sa.Column("place", sa.JSON, nullable=False),
    sa.Column("beat_count", sa.BigInteger, nullable=False),
)
claims = sa.Table(
    "claims",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("token", sa.BigInteger, nullable=False),
    sa.Column("process", sa.String, nullable=False),
    sa.Column("holder", sa.String, nullable=False),
)
tokens = sa.Table("tokens", metadata, sa.Column("latest", sa.BigInteger, nullable=False))


class RunsDatabase:
    """One per manager, opened at its first use. May be used from several threads and by several processes at once."""

    def __init__(self, url: sa.URL) -> None:
        """Nothing is opened yet."""
        self.url = url
        self.is_shared = url.get_backend_name() != "sqlite"
        self._engine = _engine(url)
        self._reading = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        self._is_closed = False
        self._preparing = Lock()
        sa.event.listen(self._engine, "checkin", self._on_checkin)
        self._is_prepared = self._is_claimed = self._has_runs = False

    @property
    def name(self) -> str:
        """What to call it in a message: never with a password."""
        if not self.is_shared:
            return str(self.url.database)
        return self.url.set(drivername="postgresql").render_as_string(hide_password=True)

    def close(self) -> None:
        """Close every connection, and open none again; safe to repeat."""
        self._is_closed = True
        self._engine.dispose()

    def _on_checkin(self, connection: Any, _: object) -> None:  # noqa: ANN401 - the driver's own connection
        """A thread that used a connection while the database was closed gives it back: it is closed then."""
        if self._is_closed and connection is not None:
            connection.close()

    def _opened(self, engine: sa.Engine) -> sa.Engine:
        if self._is_closed:
            raise RuntimeError(f"The database of runs, {self.name}, is closed.")
        return engine

    def has_runs(self) -> bool:
        """Whether the engine has made its tables: before that, nothing was ever run."""
        if not self._has_runs:
            with self.reading() as connection:
                schema = _ENGINE_SCHEMA if self.is_shared else None
                self._has_runs = sa.inspect(connection).has_table(operations.name, schema=schema)
        return self._has_runs

    def has_claims(self) -> bool:
        """Whether a process has claimed anything in it before."""
        if not self._is_claimed:
            with self.reading() as connection:
                schema = _OUR_SCHEMA if self.is_shared else None
                self._is_claimed = sa.inspect(connection).has_table(tokens.name, schema=schema)
        return self._is_claimed

    @property
    def number(self) -> sa.ColumnElement[int]:
        """The number of a workflow's run: see ``document.py``."""
        return sa.literal_column(self._number_text, sa.BigInteger)

    def attribute(self, name: str) -> sa.ColumnElement[str]:
        """A text of a workflow's header."""
        return sa.literal_column(self._attribute_text(name), sa.String)

    def make_indexes(self) -> None:
        """Let the runs of one machine be found quickly, in their order; the engine has made its tables."""
        columns = f"{self._attribute_text('machine_id')}), ({self._number_text}"
        table = f"{_ENGINE_SCHEMA}.workflow_status" if self.is_shared else "workflow_status"
        with self.writing() as connection:
            if (
                self.is_shared
                and connection.exec_driver_sql(f"SELECT to_regclass('{_ENGINE_SCHEMA}.{_INDEX}')").scalar()
            ):
                return  # making it again would wait for everybody who writes
            connection.exec_driver_sql(f"CREATE INDEX IF NOT EXISTS {_INDEX} ON {table} (({columns}))")

    @property
    def _number_text(self) -> str:
        # Literally as in the index: a bound parameter would not be found in it.
        return "(attributes ->> 'number')::bigint" if self.is_shared else "json_extract(attributes, '$.number')"

    def _attribute_text(self, name: str) -> str:
        return f"attributes ->> '{name}'" if self.is_shared else f"json_extract(attributes, '$.{name}')"

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection for questions; raises StateError where the database cannot be worked with."""
        with self._reported(), self._opened(self._reading).connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """One transaction, which holds other writers off from its beginning; raises StateError."""
        self._prepare()
        with self._reported(), self._opened(self._engine).begin() as connection:
            yield connection

    def _prepare(self) -> None:
        """Make the tables of the claims where they are missing."""
        with self._preparing:
            if self._is_prepared:
                return
            with self._reported(), self._opened(self._engine).begin() as connection:
                if self.is_shared:
                    # Two managers that meet an empty database at once must not both make the schema.
                    connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7446)")
                    connection.execute(sa.schema.CreateSchema(_OUR_SCHEMA, if_not_exists=True))
                metadata.create_all(connection)
                if connection.execute(sa.select(tokens.c.latest)).first() is None:
                    connection.execute(sa.insert(tokens).values(latest=0))
            self._is_prepared = True

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.DBAPIError as error:
            raise StateError(
                f"The database of runs, {self.name}, does not work: {str(error.orig).strip()}.",
                hint="Check that it is reachable, writable and has free space, then try again.",
            ) from error


def _engine(url: sa.URL) -> sa.Engine:
    if url.get_backend_name() != "sqlite":
        arguments = {"connect_timeout": int(_BUSY_SECONDS), "options": f"-c {_NO_LONG_LOCKS}"}
        return sa.create_engine(url, pool_pre_ping=True, connect_args=arguments)
    engine = sa.create_engine(
        url,
        connect_args={"timeout": _BUSY_SECONDS},
        execution_options={"schema_translate_map": {_ENGINE_SCHEMA: None, _OUR_SCHEMA: None}},
    )
    sa.event.listen(engine, "connect", _on_connect)
    sa.event.listen(engine, "begin", _on_begin)
    return engine


def _on_connect(connection: Any, _: object) -> None:  # noqa: ANN401 - the driver's own connection
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def _on_begin(connection: sa.Connection) -> None:
    if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
