"""The catalog: what is remembered between commands, in one SQLite file. It is a cache of truth, see ``rebuild.py``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import disk_usage
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from twinhull.manager.catalog import rows, tables
from twinhull.manager.catalog.records import LatestPoint, Plan, SeenMachine
from twinhull.manager.catalog.state import make_private
from twinhull.model.errors import AlreadyExists, NotFound, StateError, StateTooNew, UsageError
from twinhull.model.machine import MachineId, PlanName, SiteName
from twinhull.platforms.contract import SiteSettings
from twinhull.repository.store.reserve import LOW_BYTES

Record = TypeVar("Record")

_BUSY_SECONDS = 30.0
_OLDER_TABLES = ("runs", "steps")


class Catalog:
    """May be used from several threads and by several processes at once."""

    def __init__(self, path: Path) -> None:
        """Open it, making it where it is missing; raises StateTooNew, and StateError where the file is no catalog."""
        self._path = path
        self._is_closed = False
        make_private(path)
        self._engine = sa.create_engine(f"sqlite:///{path}", connect_args={"timeout": _BUSY_SECONDS})
        sa.event.listen(self._engine, "connect", _on_connect)
        sa.event.listen(self._engine, "begin", _on_begin)
        sa.event.listen(self._engine, "checkin", self._on_checkin)
        self._reading = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        try:
            self._check_version()
        except (sa.exc.DatabaseError, StateError) as error:
            self.close()
            if isinstance(error, StateError):
                raise
            raise StateError(
                f"The catalog {path} cannot be read: {error.args[0]}.",
                hint=_hint(path),
            ) from error

    def close(self) -> None:
        """Close every connection, and open none again; safe to repeat."""
        self._is_closed = True
        self._engine.dispose()

    def _on_checkin(self, connection: Any, _: object) -> None:  # noqa: ANN401 - the driver's own connection
        """A thread that used a connection while the catalog was closed gives it back: it is closed then."""
        if self._is_closed and connection is not None:
            connection.close()

    def _opened(self, engine: sa.Engine) -> sa.Engine:
        """The engine, unless the catalog is closed: it would open connections that no one closes."""
        if self._is_closed:
            raise RuntimeError(f"The catalog {self._path} is closed.")
        return engine

    def _check_version(self) -> None:
        with self._engine.begin() as connection:
            version = int(connection.execute(sa.text("PRAGMA user_version")).scalar_one())
            if version > tables.SCHEMA_VERSION:
                raise StateTooNew(
                    f"The catalog {self._path} was written by a newer Twinhull (version {version}, "
                    f"this one knows {tables.SCHEMA_VERSION}); it was left as it is.",
                    hint="Use that Twinhull, or name another state directory with --state.",
                )
            if version == 0:
                tables.metadata.create_all(connection)
            else:
                for older in range(version, tables.SCHEMA_VERSION):
                    for statement in tables.MIGRATIONS[older]:
                        connection.execute(sa.text(statement))
            connection.execute(sa.text(f"PRAGMA user_version = {tables.SCHEMA_VERSION}"))

    @contextmanager
    def _write(self) -> Iterator[sa.Connection]:
        with self._told(), self._opened(self._engine).begin() as connection:
            yield connection

    def _rows(self, query: sa.Select[Any]) -> Sequence[sa.RowMapping]:
        with self._told(), self._opened(self._reading).connect() as connection:
            return connection.execute(query).mappings().all()

    def _read(self, kind: type[Record], query: sa.Select[Any]) -> tuple[Record, ...]:
        return tuple(rows.record(kind, row) for row in self._rows(query))

    @contextmanager
    def _told(self) -> Iterator[None]:
        """A full disk, or a file that others hold for too long, is a user's matter: say it as one."""
        try:
            yield
        except sa.exc.OperationalError as error:
            raise StateError(
                f"The catalog {self._path} cannot be worked with: {error.orig}.",
                hint="See that its disk has room and is writable, then try again; nothing half is left in it.",
            ) from error

    # Settings

    def setting(self, name: str) -> str | None:
        """What is set under that name."""
        found = self._rows(sa.select(tables.settings.c.value).where(tables.settings.c.name == name))
        return str(found[0]["value"]) if found else None

    def set(self, name: str, value: str) -> None:
        """Set it."""
        with self._write() as connection:
            connection.execute(_upsert(tables.settings, {"name": name, "value": value}))

    # Sites

    def sites(self) -> tuple[SiteSettings, ...]:
        """All sites by name."""
        return self._read(SiteSettings, sa.select(tables.sites).order_by(tables.sites.c.name))

    def site(self, name: SiteName) -> SiteSettings:
        """The site of that name; raises NotFound."""
        found = self._read(SiteSettings, sa.select(tables.sites).where(tables.sites.c.name == name))
        if not found:
            known = ", ".join(site.name for site in self.sites())
            raise NotFound(
                f"There is no site '{name}'.",
                hint=f"Known sites: {known}." if known else "Connect one: twinhull site add NAME URI",
            )
        return found[0]

    def add_site(self, site: SiteSettings) -> None:
        """Remember a site; raises AlreadyExists."""
        with self._write() as connection, _unique(f"There is a site '{site.name}' already."):
            connection.execute(sa.insert(tables.sites).values(rows.values(site)))

    def require_unused(self, name: SiteName) -> None:
        """Refuse to give up a site that is unknown (NotFound) or that a plan names (UsageError)."""
        self.site(name)
        users = [plan.name for plan in self.plans() if name in (plan.source, plan.target)]
        if users:
            raise UsageError(
                f"The site '{name}' is used by the plan '{users[0]}'.",
                hint=f"Remove the plan first: twinhull plan remove {users[0]}",
            )

    def remove_site(self, name: SiteName) -> None:
        """Forget a site; raises NotFound, and UsageError while a plan names it."""
        self.require_unused(name)
        with self._write() as connection:
            connection.execute(sa.delete(tables.sites).where(tables.sites.c.name == name))
            connection.execute(sa.delete(tables.machines).where(tables.machines.c.site == name))

    # Plans

    def plans(self) -> tuple[Plan, ...]:
        """All plans by name."""
        return self._read(Plan, sa.select(tables.plans).order_by(tables.plans.c.name))

    def plan(self, name: str) -> Plan:
        """The plan of that name; raises NotFound."""
        found = self._read(Plan, sa.select(tables.plans).where(tables.plans.c.name == name))
        if not found:
            raise NotFound(f"There is no plan '{name}'.", hint="'twinhull plan list' shows them.")
        return found[0]

    def plan_of(self, machine_id: MachineId) -> Plan | None:
        """The plan that names the machine: there is at most one."""
        return next((plan for plan in self.plans() if machine_id in plan.machines), None)

    def add_plan(self, plan: Plan) -> None:
        """Remember a plan; raises AlreadyExists where its name is taken or a machine has a plan."""
        with self._write() as connection, _unique(f"There is a plan '{plan.name}' already."):
            self._require_planned_once(connection, plan)
            connection.execute(sa.insert(tables.plans).values(rows.values(plan)))

    def replace_plan(self, plan: Plan) -> None:
        """Remember a plan as it is now; raises NotFound, AlreadyExists where a machine has another plan."""
        self.plan(plan.name)
        with self._write() as connection:
            self._require_planned_once(connection, plan)
            is_it = tables.plans.c.name == plan.name
            connection.execute(sa.update(tables.plans).where(is_it).values(rows.values(plan)))

    def _require_planned_once(self, connection: sa.Connection, plan: Plan) -> None:
        names = {seen.machine_id: seen.name for seen in self.machines()}
        for row in connection.execute(sa.select(tables.plans)).mappings():
            other = rows.record(Plan, row)
            twice = set(plan.machines) & set(other.machines) if other.name != plan.name else set()
            for machine_id in sorted(twice):
                raise AlreadyExists(
                    f"{names.get(machine_id, machine_id)} is in the plan '{other.name}' already.",
                    hint="A machine has one plan. To take it out there: "
                    f"twinhull plan edit {other.name} --remove {machine_id}",
                )

    def replace_site(self, site: SiteSettings) -> None:
        """Remember a site as it is now; raises NotFound."""
        self.site(site.name)
        with self._write() as connection:
            is_it = tables.sites.c.name == site.name
            connection.execute(sa.update(tables.sites).where(is_it).values(rows.values(site)))

    def pause_plan(self, name: str, *, is_paused: bool) -> None:
        """Let ``serve`` leave the plan's machines alone, or no longer; raises NotFound."""
        self.plan(name)
        with self._write() as connection:
            connection.execute(
                sa.update(tables.plans).where(tables.plans.c.name == name).values(is_paused=is_paused),
            )

    def map_networks(self, name: str, networks: Mapping[str, str]) -> None:
        """Let networks of the plan's source be called so on its target, others as before; raises NotFound."""
        changed = {**self.plan(name).networks, **networks}
        with self._write() as connection:
            connection.execute(sa.update(tables.plans).where(tables.plans.c.name == name).values(networks=changed))

    def remove_plan(self, name: PlanName) -> None:
        """Forget a plan; raises NotFound. Machines, replicas and points stay as they are."""
        self.plan(name)
        with self._write() as connection:
            connection.execute(sa.delete(tables.plans).where(tables.plans.c.name == name))

    def leave_plan(self, machine_id: MachineId) -> None:
        """Take a machine out of its plan, if it has one; a plan without machines goes with its last one."""
        plan = self.plan_of(machine_id)
        if plan is None:
            return
        others = [other for other in plan.machines if other != machine_id]
        if not others:
            self.remove_plan(plan.name)
            return
        with self._write() as connection:
            connection.execute(sa.update(tables.plans).where(tables.plans.c.name == plan.name).values(machines=others))

    # What was last seen

    def machines(self) -> tuple[SeenMachine, ...]:
        """Every machine on every site, as last seen, by name and site."""
        order = (tables.machines.c.name, tables.machines.c.site)
        return self._read(SeenMachine, sa.select(tables.machines).order_by(*order))

    def see_site(self, site: SiteName, machines: Sequence[SeenMachine]) -> None:
        """All machines that the site has now, in place of what was seen before."""
        with self._write() as connection:
            connection.execute(sa.delete(tables.machines).where(tables.machines.c.site == site))
            if machines:
                connection.execute(sa.insert(tables.machines), [rows.values(machine) for machine in machines])

    def latest_points(self) -> dict[MachineId, LatestPoint]:
        """The latest point of each machine, as far as known."""
        return {point.machine_id: point for point in self._read(LatestPoint, sa.select(tables.latest_points))}

    def see_point(self, point: LatestPoint) -> None:
        """Remember the machine's latest point."""
        with self._write() as connection:
            connection.execute(_upsert(tables.latest_points, rows.values(point)))

    # Runs of an older Twinhull, which kept them here

    def has_older_runs(self) -> bool:
        """Whether there are runs that the engine's record does not have yet."""
        with self._told(), self._opened(self._reading).connect() as connection:
            return sa.inspect(connection).has_table(_OLDER_TABLES[0])

    def older_runs(self) -> list[dict[str, Any]]:
        """Those runs as they were written, the earliest first, each with its ``steps``."""
        with self._told(), self._opened(self._reading).connect() as connection:
            runs, steps = (
                connection.exec_driver_sql(f"SELECT * FROM {table} ORDER BY rowid").mappings().all()  # noqa: S608 - names of ours
                for table in _OLDER_TABLES
            )
        return [{**run, "steps": [dict(step) for step in steps if step["run_id"] == run["run_id"]]} for run in runs]

    def forget_older_runs(self) -> None:
        """The engine's record has them now."""
        with self._write() as connection:
            for table in _OLDER_TABLES:
                connection.exec_driver_sql(f"DROP TABLE IF EXISTS {table}")


def _on_connect(connection: Any, _: Any) -> None:  # noqa: ANN401 - the driver's own connection
    # Readers do not wait for writers, nor the other way round; FULL, because a lost run record costs a user's trust.
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")


def _on_begin(connection: sa.Connection) -> None:
    # Whoever reads in order to write holds the others off from the beginning: two must not change the same row.
    if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _upsert(table: sa.Table, values: dict[str, Any]) -> sa.Insert:
    keys = [column.name for column in table.primary_key.columns]
    return insert(table).values(values).on_conflict_do_update(index_elements=keys, set_=values)


@contextmanager
def _unique(message: str) -> Iterator[None]:
    try:
        yield
    except sa.exc.IntegrityError as error:
        raise AlreadyExists(message, hint="Choose another name.") from error


def _hint(path: Path) -> str:
    """What to do about a catalog that cannot be read; one on a full disk is whole."""
    if disk_usage(path.parent).free < LOW_BYTES:
        return f"The disk that it is on is full: free some space there ({path.parent})."
    return "Move it away and run 'twinhull catalog rebuild': sites and points hold what matters."
