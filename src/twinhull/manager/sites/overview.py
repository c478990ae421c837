"""What all sites say right now, each asked in a thread of its own, so that one that hangs holds up nobody else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

from twinhull.actions.patience import PATIENCE_SECONDS
from twinhull.cluster.situation import Side, Situation
from twinhull.manager.catalog.catalog import Catalog
from twinhull.manager.catalog.records import SeenMachine
from twinhull.manager.sites.guards import known_guard
from twinhull.manager.sites.pool import SitePool
from twinhull.model.errors import TwinhullError
from twinhull.model.machine import MachineId, MachineStatus, SiteName, Standing
from twinhull.model.ports import Clock
from twinhull.platforms.contract import GuardGrade, SiteSettings
from twinhull.runs import failures


@dataclass(frozen=True, slots=True)
class SiteView:
    """One site. Where it does not answer, ``reason`` says why and the rest is empty."""

    settings: SiteSettings
    is_reachable: bool
    reason: str = ""
    hint: str = ""
    machines: tuple[MachineStatus, ...] = ()
    standings: Mapping[MachineId, Standing] = field(default_factory=dict)
    guard: GuardGrade | None = None

    def machine(self, machine_id: MachineId) -> MachineStatus | None:
        """The machine, if it is there."""
        return next((status for status in self.machines if status.spec.machine_id == machine_id), None)

    def side(self, machine_id: MachineId) -> Side:
        """The machine as this site tells it."""
        standing = self.standings.get(machine_id)
        return Side(self.settings.name, self.is_reachable, standing, self.machine(machine_id), self.reason, self.guard)


@dataclass(frozen=True, slots=True)
class Overview:
    """All sites that were asked, by name."""

    sites: Mapping[SiteName, SiteView]

    def machine_ids(self) -> list[MachineId]:
        """Every machine on any site, by name."""
        names: dict[MachineId, str] = {}
        for status in self._statuses():
            names.setdefault(status.spec.machine_id, status.spec.name)
        return sorted(names, key=lambda machine_id: (names[machine_id], machine_id))

    def situation(
        self,
        machine_id: MachineId,
        sites: Iterable[SiteName],
        known_epoch: int = 0,
        known_primary: SiteName | None = None,
    ) -> Situation:
        """One machine on those of the sites that were asked; what is known otherwise: see ``Situation``."""
        sides = [self.sites[site].side(machine_id) for site in sites if site in self.sites]
        return Situation(machine_id, sides, known_epoch, known_primary)

    def _statuses(self) -> Iterator[MachineStatus]:
        for view in self.sites.values():
            yield from view.machines


def _view(settings: SiteSettings, answer: Future[SiteView]) -> SiteView:
    if answer.done():
        return answer.result()
    return SiteView(settings, is_reachable=False, reason=f"it has not answered for {PATIENCE_SECONDS:.0f} s.")


class Lookout:
    """Looks around, and remembers in the catalog what it saw."""

    def __init__(self, catalog: Catalog, pool: SitePool, clock: Clock) -> None:
        self._catalog = catalog
        self._pool = pool
        self._clock = clock

    def look_at(self, site: SiteName) -> SiteView:
        """Ask one site, however long it takes; a site that fails is told, not raised."""
        return self._ask(self._catalog.site(site))

    def look(self, sites: Iterable[SiteName] | None = None) -> Overview:
        """Ask these sites (None: all) at the same time; a site that fails, or hangs for long, is told, not raised."""
        asked = [self._catalog.site(name) for name in dict.fromkeys(sites)] if sites else list(self._catalog.sites())
        if not asked:
            return Overview({})
        threads = ThreadPoolExecutor(max_workers=len(asked), thread_name_prefix="look")
        asking = {settings.name: (settings, threads.submit(self._ask, settings)) for settings in asked}
        threads.shutdown(wait=False)
        wait((answer for _, answer in asking.values()), timeout=PATIENCE_SECONDS)
        return Overview({name: _view(settings, answer) for name, (settings, answer) in asking.items()})

    def _ask(self, settings: SiteSettings) -> SiteView:
        try:
            with self._pool.lease(is_looking=True) as door:
                site = door(settings.name)
                machines = tuple(site.inventory.machines())
                held = site.parts.standings.read_all() if site.parts.standings else ()
                standings = {standing.machine_id: standing for standing in held}
                guard = known_guard(self._catalog, site)
        except TwinhullError as error:
            return SiteView(settings, is_reachable=False, reason=error.message, hint=error.hint)
        except Exception as error:  # noqa: BLE001 - whatever one site makes of it, the others are to be heard
            return SiteView(
                settings, is_reachable=False, reason=f"it answers oddly: {failures.encode(error)['message']}."
            )
        self._remember(settings.name, machines)
        return SiteView(settings, is_reachable=True, machines=machines, standings=standings, guard=guard)

    def _remember(self, site: SiteName, machines: Sequence[MachineStatus]) -> None:
        now = self._clock.now()
        seen = [
            SeenMachine(status.spec.machine_id, site, status.spec.name, status.power.value, now) for status in machines
        ]
        self._catalog.see_site(site, seen)
