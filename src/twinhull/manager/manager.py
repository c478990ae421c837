"""The hand that holds the manager's parts, each opened at its first use and closed with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from threading import Event
from types import TracebackType
from typing import TYPE_CHECKING, Self

from twinhull.actions.patience import in_time
from twinhull.actions.points_by_name import split_point
from twinhull.manager import clockwatch
from twinhull.manager.catalog.catalog import Catalog
from twinhull.manager.catalog.records import RunRecord, RunState
from twinhull.manager.catalog.state import StateDirectory
from twinhull.manager.health.health import Health
from twinhull.manager.health.status import Gatherer, Status, Watched
from twinhull.manager.record.claims import Claims
from twinhull.manager.record.database import RunsDatabase
from twinhull.manager.record.history import RunHistory
from twinhull.manager.record.location import locate
from twinhull.manager.repository.damages import Damages, point_by_name
from twinhull.manager.repository.soundness import Soundness, soundness
from twinhull.manager.repository.vault import Vault
from twinhull.manager.runs.kinds.registry import KINDS
from twinhull.manager.runs.unfinished import claim_of
from twinhull.manager.sites.editing import (
    forget_identity,
    remember_identity,
    remembered_identity,
    require_same_host,
)
from twinhull.manager.sites.guards import note_guard
from twinhull.manager.sites.identities import identities, require_another
from twinhull.manager.sites.names import Named, Names
from twinhull.manager.sites.overview import Lookout
from twinhull.manager.sites.pool import SitePool, platform
from twinhull.manager.sites.rebuild import Rebuilt, rebuild
from twinhull.manager.sites.standing_keys import forget_contact, keys_of, remember_keys
from twinhull.model.errors import AlreadyExists, MachineBusy, NotFound, SiteError, TwinhullError
from twinhull.model.machine import MachineId, PointId, SiteName, Standing
from twinhull.model.ports import Ports
from twinhull.model.sealing import FindKeys, StandingKeys
from twinhull.platforms.contract import Site, SiteIdentity, SiteSettings, checked_options, require_fixed
from twinhull.repository import Point, Repository

if TYPE_CHECKING:
    from twinhull.manager.catalog.records import Plan
    from twinhull.manager.health.inspecting import Inspected
    from twinhull.manager.runs.desk import Desk
    from twinhull.manager.runs.dispatch import Dispatcher
    from twinhull.manager.runs.previews import Previewer
    from twinhull.manager.runs.pruning import Pruner
    from twinhull.manager.sites.checking import SiteCheck
    from twinhull.manager.sites.unprotecting import TakenOff


_REPOSITORY_PATIENCE_SECONDS = 20.0
"""How long a status waits for a repository whose store hangs, before it shows what was last seen."""


class Manager:
    """Everything a command needs. Use it as a context manager."""

    def __init__(
        self,
        state: StateDirectory,
        ports: Ports,
        environment: Mapping[str, str],
        *,
        repository_url: str | None = None,
        passphrase_file: Path | None = None,
        origin: str = "command line",
    ) -> None:
        self.state = state
        self.ports = ports
        self.origin = origin
        self._environment = environment
        self._repository_url = repository_url
        self._passphrase_file = passphrase_file
        self._closing = ExitStack()
        self.stopping = Event()

    def __enter__(self) -> Self:
        """Make the state directory where it is missing."""
        self.state.make()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close what was opened, the latest first."""
        self._closing.close()

    @cached_property
    def catalog(self) -> Catalog:
        """What is remembered."""
        catalog = Catalog(self.state.catalog)
        self._closing.callback(catalog.close)
        return catalog

    @cached_property
    def vault(self) -> Vault:
        """Where the repository is."""
        said = self._repository_url, self._passphrase_file
        return Vault(self.state, self.catalog, self._environment, self.ports, *said)

    @cached_property
    def repository(self) -> Repository:
        """The repository, opened."""
        repository = self.vault.open()
        self._closing.callback(repository.close)
        remember_keys(self.state, repository)
        repository.keys.on_growth = lambda: remember_keys(self.state, repository)
        return repository

    @cached_property
    def pool(self) -> SitePool:
        """Sites, opened and shared."""
        return SitePool(self.catalog.site, self.ports, self._keys_of)

    def _keys_of(self, site: SiteName) -> FindKeys:
        """The keys of the site's standings as they are whenever they are asked for."""

        def renew() -> StandingKeys:
            # Only an open repository is asked, and one that cannot be asked has told of no key.
            if "repository" in self.__dict__:
                with suppress(TwinhullError):
                    self.repository.look_for_keys()
            return keys_of(self.state, self.catalog, site)

        return lambda: replace(keys_of(self.state, self.catalog, site), renew=renew)

    def trust(self, name: SiteName, *, is_dry_run: bool) -> Sequence[Standing]:
        """Believe what a site's host says of our machines, as at its first contact; returns what was taken over.

        Ours are those that are planned here, and those that have points in the repository.
        """
        remember_keys(self.state, self.repository)
        ours = {point.machine_id for point in self.repository.points(on_damage=self.damages.note)}
        ours |= {machine_id for plan in self.catalog.plans() for machine_id in plan.machines}
        settings, others = self.catalog.site(name), identities(self.catalog, self.pool, name)
        home = ""

        def keys() -> StandingKeys:
            return replace(self._keys_of(name)(), home=home, is_own=ours.__contains__)

        with closing(platform(settings.platform).open(settings, self.ports, keys=keys, is_looking=True)) as site:
            identity = site.identity()
            require_another(name, identity, others)
            home = identity.directory
            taken = site.standings.trust(is_dry_run=is_dry_run)
        if not is_dry_run:
            remember_identity(self.catalog, name, identity)
            self.lookout.look([name])
        return taken

    @cached_property
    def lookout(self) -> Lookout:
        """Looks at all sites."""
        return Lookout(self.catalog, self.pool, self.ports.clock)

    @cached_property
    def names(self) -> Names:
        """From words to machines."""
        return Names(self.catalog, self.lookout)

    @cached_property
    def runs_database(self) -> RunsDatabase:
        """Where the engine records runs, and managers their claims."""
        database = RunsDatabase(locate(self.state, self._environment))
        self._closing.callback(database.close)
        if self.catalog.has_older_runs():
            from twinhull.manager.runs.older import adopt  # noqa: PLC0415 - needs the engine, once

            adopt(self.catalog, database, self.ports)
        return database

    @cached_property
    def history(self) -> RunHistory:
        """The runs that were and are."""
        return RunHistory(self.runs_database)

    @cached_property
    def claims(self) -> Claims:
        """Who works on what."""
        claims = Claims(self.runs_database, self.ports)
        self._closing.callback(claims.close)
        return claims

    @cached_property
    def damages(self) -> Damages:
        """The points that this process found damaged."""
        return Damages()

    @cached_property
    def desk(self) -> Desk:
        """Builds requests."""
        from twinhull.manager.runs.desk import Desk  # noqa: PLC0415 - see dispatcher

        return Desk(self.catalog, self.history, self.lookout, lambda: self.repository, self.ports.clock, self.damages)

    @cached_property
    def dispatcher(self) -> Dispatcher:
        """Carries runs out."""
        # The engine takes a third of a second to load, and most commands run nothing.
        from twinhull.manager.runs.dispatch import Dispatcher  # noqa: PLC0415
        from twinhull.manager.runs.engine import Engine  # noqa: PLC0415

        engine = Engine(self.runs_database, self.claims, KINDS.actions, self.ports)
        self._closing.callback(engine.close)
        return Dispatcher(
            catalog=self.catalog,
            history=self.history,
            claims=self.claims,
            engine=engine,
            pool=self.pool,
            ports=self.ports,
            repository=lambda: self.repository,
            origin=self.origin,
            is_stopping=self.stopping,
        )

    @cached_property
    def previewer(self) -> Previewer:
        """What a run would do."""
        from twinhull.manager.runs.previews import Previewer  # noqa: PLC0415 - see dispatcher

        return Previewer(self.desk, self.pool, self.ports.clock, lambda: self.repository, self.is_at_work)

    @cached_property
    def pruner(self) -> Pruner:
        """Retention by hand."""
        from twinhull.manager.runs.pruning import Pruner  # noqa: PLC0415 - loaded for this alone

        began = clockwatch.read(self.ports.clock)
        return Pruner(
            catalog=self.catalog,
            history=self.history,
            names=self.names,
            owner=self.machine_of_points,
            repository=self.repository,
            clock=self.ports.clock,
            began=began,
            is_at_work=self.is_at_work,
        )

    def connect(self, settings: SiteSettings) -> int:
        """Remember a site once it has answered; returns how many machines it has. Raises AlreadyExists, SiteError."""
        if any(known.name == settings.name for known in self.catalog.sites()):
            raise AlreadyExists(
                f"There is a site '{settings.name}' already.",
                hint=f"Choose another name, or 'twinhull site remove {settings.name}' first.",
            )
        kind = platform(settings.platform)
        settings = replace(settings, options=checked_options(kind.options, settings))
        forget_contact(self.catalog, settings.name)
        forget_identity(self.catalog, settings.name)
        keys = self._keys_of(settings.name)
        site = kind.open(settings, self.ports, keys=keys, is_looking=True)
        try:
            # Before anything is changed there.
            others = identities(self.catalog, self.pool, settings.name)
            require_another(settings.name, site.identity(), others)
            site.prepare()
            remember_identity(self.catalog, settings.name, site.identity())
            note_guard(self.catalog, site)
            machine_count = len(site.inventory.machines())
        finally:
            site.close()
        self.catalog.add_site(settings)
        self.lookout.look([settings.name])
        return machine_count

    def reconnect(self, settings: SiteSettings, *, is_same_host: bool, is_dry_run: bool) -> None:
        """Let a site be reached as the settings say, once its host has proved to be the same; raises SafetyError.

        ``is_same_host``: a person says so, where nothing else can. With ``is_dry_run`` nothing is remembered.
        """
        kind = platform(settings.platform)
        checked_options(kind.options, settings)
        require_fixed(kind.options, self.catalog.site(settings.name), settings)
        known = remembered_identity(self.catalog, settings.name) or self._identity_there(settings.name)
        keys = self._keys_of(settings.name)
        site = kind.open(settings, self.ports, keys=keys, is_looking=True)
        try:
            identity = site.identity()
            if known or not is_same_host:
                require_same_host(settings.name, known, identity)
            require_another(settings.name, identity, identities(self.catalog, self.pool, settings.name))
        finally:
            site.close()
        if not is_dry_run:
            self.catalog.replace_site(settings)
            remember_identity(self.catalog, settings.name, identity)
            self.lookout.look([settings.name])

    def _identity_there(self, name: SiteName) -> SiteIdentity | None:
        """Which host answers at the address that is known; None where none does."""
        try:
            with self.pool.lease(is_looking=True) as door:
                return in_time(name, lambda: door(name).identity())
        except SiteError:
            return None

    def disconnect(self, name: SiteName, *, is_touching_host: bool) -> list[str]:
        """Forget a site; where its host may be touched, the guard is taken away there that no machine needs any more.

        Returns what was left on the host, or why that is not known. Raises NotFound, UsageError where a plan names it.
        """
        self.catalog.require_unused(name)
        left = self._withdraw(name) if is_touching_host else []
        self.catalog.remove_site(name)
        return left

    def _take_off(self, site: Site) -> list[str]:
        """Take the trackers off all machines of a site; returns what was left."""
        from twinhull.manager.sites.unprotecting import Unprotector  # noqa: PLC0415 - loaded for this alone

        unprotector = Unprotector(self.claims, self.pool)
        seen = [Named(status.spec.machine_id, status.spec.name) for status in site.inventory.machines()]
        left: list[str] = []
        for named in seen:
            try:
                left += unprotector.unprotect(named, [site.settings.name], is_removing_replica=False).left
            except MachineBusy as error:
                left.append(error.message)
        return left

    def unprotect(self, named: Named, *, is_removing_replica: bool = False, is_dry: bool = False) -> TakenOff:
        """Take a machine out of its plan, and off it what we left on all sites; raises MachineBusy."""
        from twinhull.manager.sites.unprotecting import Unprotector  # noqa: PLC0415 - loaded for this alone

        sites = [site.name for site in self.catalog.sites()]
        unprotector = Unprotector(self.claims, self.pool, is_dry=is_dry, leave_plan=self.catalog.leave_plan)
        return unprotector.unprotect(named, sites, is_removing_replica=is_removing_replica)

    def remove_plan(self, plan: Plan) -> TakenOff:
        """Forget a plan, and take the trackers off its machines."""
        from twinhull.manager.sites.unprotecting import TakenOff  # noqa: PLC0415 - loaded for this alone

        self.catalog.remove_plan(plan.name)
        found = TakenOff()
        for machine_id in plan.machines:
            named = self.names.name(machine_id)
            try:
                found += self.unprotect(named)
            except MachineBusy as error:
                found += TakenOff(left=(error.message,))
        return found

    def _withdraw(self, name: SiteName) -> list[str]:
        try:
            with self.pool.lease(is_looking=True) as door:
                site = door(name)
                left = site.parts.guard.withdraw() if site.parts.guard else ()
                return [*self._take_off(site), *left]
        except SiteError as error:
            return [f"The host of '{name}' was left as it is: {error.message}"]

    def check_site(self, name: SiteName, *, is_looking_only: bool) -> SiteCheck:
        """Try what the site can do."""
        from twinhull.manager.sites.checking import check_site  # noqa: PLC0415 - the kit is loaded for this alone

        with self.pool.lease(is_looking=is_looking_only) as door:
            others = identities(self.catalog, self.pool, name)
            if not is_looking_only:
                note_guard(self.catalog, door(name))
            return check_site(door(name), self.ports, others, is_looking_only=is_looking_only)

    def inspect(self, named: Named, *, is_looking_inside: bool = False) -> Inspected:
        """The machine on all sites, and what may keep it from booting on the other one."""
        from twinhull.manager.health.inspecting import Inspector  # noqa: PLC0415 - loaded for this alone

        inspector = Inspector(
            self.catalog,
            self.pool,
            lambda machine_id: self.repository.points(machine_id, self.damages.note) if self.vault.is_known() else (),
            lambda: self.repository,
            f"look-{self.ports.randomness.token(4).hex()}",
            self.ports,
        )
        return inspector.inspect(named, self.lookout.look(), is_looking_inside=is_looking_inside)

    def status(self) -> Status:
        """All planned machines as the sites tell them right now."""
        found = self._status()
        if any(report.health is Health.RUNS_TWICE for report in found.reports):
            # The sites do not answer at the same instant, and a failover may have come in between: look once more.
            found = self._status()
        return found

    def _status(self) -> Status:
        """The sites first: a replica may be at a point that is newer than any list of points made before."""
        working = [run.run_id for run in self.history.unfinished_runs() if self.is_at_work(run)]
        watched = Watched(self.ports.clock.now(), frozenset(working))
        overview = self.lookout.look()
        damages, trouble, sound = Damages(), "", Soundness()
        points: Mapping[MachineId, Sequence[Point]] | None = {}
        try:
            if self.vault.is_known():
                points = in_time("its store", lambda: self._points(damages), _REPOSITORY_PATIENCE_SECONDS)
                sound = soundness(self.history, self.repository.id, points.values())
        except TwinhullError as error:
            points, trouble = None, error.message
        now = self.ports.clock.now()
        gatherer = Gatherer(self.catalog, self.history, overview, points, watched, self.is_at_work, now)
        names = {
            machine_id: self.names.name(machine_id) for plan in self.catalog.plans() for machine_id in plan.machines
        }
        return Status(overview, gatherer.reports(names), damages, now, sound, trouble)

    def _points(self, damages: Damages) -> dict[MachineId, Sequence[Point]]:
        """The planned machines' points; raises what keeps the repository from being asked."""
        planned = [machine_id for plan in self.catalog.plans() for machine_id in plan.machines]
        return {machine_id: self.repository.points(machine_id, damages.note) for machine_id in planned}

    def point(self, word: str) -> Point:
        """The point that ``MACHINE:N-2``, ``MACHINE:20:15`` or a whole id names; raises NotFound, UsageError."""
        machine, name = split_point(word)
        if not machine:
            return self.repository.point(PointId(name))
        return point_by_name(self.repository, self.machine_of_points(machine), name, self.ports.clock.now())

    def machine_of_points(self, word: str) -> MachineId:
        """The machine of that name; one that is on no site any more is found by its points."""
        try:
            return self.names.machine(word).machine_id
        except NotFound:
            owners = {
                point.machine_id
                for point in self.repository.points(on_damage=self.damages.note)
                if word in (point.machine_id, point.document.spec.get("name"))
            }
            if len(owners) != 1:
                raise
            return owners.pop()

    def is_at_work(self, run: RunRecord) -> bool:
        """Whether some process holds the run's lock now, and so works on it, if it is unfinished."""
        return run.state is RunState.RUNNING and not self.claims.is_free(claim_of(run.kind, run.subject, run.run_id))

    def abandon(self, run: RunRecord) -> RunRecord:
        """Give an unfinished run up; raises MachineBusy while somebody works on it."""
        return self.dispatcher.abandon(run)

    def rebuild(self) -> Rebuilt:
        """Read the catalog back from sites and points."""
        return rebuild(self.catalog, self.lookout.look(), self.repository)
