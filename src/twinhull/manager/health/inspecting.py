"""One machine on all sites, in full."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twinhull.inspection import Finding, Surroundings
from twinhull.inspection.naming import keeps_slots, surroundings
from twinhull.inspection.readiness import finding_to_json
from twinhull.manager.catalog.catalog import Catalog
from twinhull.manager.catalog.records import Plan
from twinhull.manager.health.inside import inspect_machine, inspect_point
from twinhull.manager.health.readiness import judge, lacking
from twinhull.manager.sites.names import Named
from twinhull.manager.sites.overview import Overview, SiteView
from twinhull.manager.sites.pool import SitePool
from twinhull.model.codec import spec_from_json, spec_to_json, standing_to_json
from twinhull.model.errors import NotFound, TwinhullError
from twinhull.model.lacks import Consequence
from twinhull.model.machine import BootMode, MachineId, MachineSpec, MachineStatus, SiteName, Standing
from twinhull.model.ports import Ports
from twinhull.platforms.contract import Site
from twinhull.recovery.starting import REMEDY
from twinhull.repository import Point, Repository, latest_point

_AGAIN = "Ask again after a sync, or with --look-inside, which captures it for a moment."


@dataclass(frozen=True, slots=True)
class Place:
    """The machine on one site, its agent asked."""

    site: SiteName
    status: MachineStatus
    standing: Standing | None


@dataclass(frozen=True, slots=True)
class Inspected:
    """The machine wherever it is, and what may keep it from booting on the plan's other site."""

    places: Sequence[Place]
    readiness: Sequence[Finding]

    def shape(self) -> dict[str, object]:
        """As data."""
        return {
            "sites": [
                {
                    **spec_to_json(place.status.spec),
                    "site": place.site,
                    "power": place.status.power.value,
                    "has_agent": place.status.has_agent,
                    "agent_answers": place.status.agent_answers,
                    "standing": standing_to_json(place.standing) if place.standing else None,
                    "warnings": list(place.status.warnings),
                }
                for place in self.places
            ],
            "readiness": [finding_to_json(found) for found in self.readiness],
        }


@dataclass(frozen=True, slots=True)
class _Way:
    """From where the machine runs to where its replica would take over."""

    here: Place
    platform: str
    there: SiteView
    replica: MachineStatus | None
    plan: Plan | None

    @property
    def is_homewards(self) -> bool:
        """Whether it goes to the site that the plan calls the source."""
        return self.plan is not None and self.there.settings.name == self.plan.source

    @property
    def boot_mode(self) -> BootMode | None:
        """How the plan wants it to boot there."""
        wanted = self.plan.boot_mode if self.plan and not self.is_homewards else None
        return BootMode(wanted) if wanted else None

    def surroundings(self, spec: MachineSpec) -> Surroundings:
        """The machine's hardware on both sites."""
        return surroundings(
            spec,
            here=self.platform,
            there=self.there.settings.platform,
            boot_mode=self.boot_mode,
            keeps_card_slots=keeps_slots("card", self.here.status, self.replica),
            keeps_disk_slots=keeps_slots("disk", self.here.status, self.replica),
        )


@dataclass(frozen=True, slots=True)
class Inspector:
    """Looks at one machine. ``points`` are its restore points, ``label`` names what is opened on a site for it."""

    catalog: Catalog
    pool: SitePool
    points: Callable[[MachineId], Sequence[Point]]
    repository: Callable[[], Repository]
    label: str
    ports: Ports

    def inspect(self, named: Named, overview: Overview, *, is_looking_inside: bool) -> Inspected:
        """Ask each site that has it; raises NotFound where none does."""
        holders = [name for name, view in overview.sites.items() if view.machine(named.machine_id)]
        if not holders:
            raise NotFound(f"No site that answers has the machine {named.name}.", hint="'twinhull status' tells more.")
        with self.pool.lease(is_looking=not is_looking_inside) as door:
            places = [
                Place(
                    name,
                    door(name).inventory.machine(named.machine_id),
                    overview.sites[name].standings.get(named.machine_id),
                )
                for name in holders
            ]
            here = next((place for place in places if place.standing and place.standing.may_start), places[0])
            plan = self.catalog.plan_of(named.machine_id)
            there = _other_side(plan, here.site, overview)
            if not there:
                reason = "Connect the other site, and make a plan."
                return Inspected(places, [Finding("It is not known where the machine's replica shall live.", reason)])
            if not there.is_reachable:
                finding = Finding(f"{there.settings.name} cannot be asked: {there.reason}", "See to that site first.")
                return Inspected(places, [finding])
            replica = next((place.status for place in places if place.site == there.settings.name), None)
            way = _Way(here, overview.sites[here.site].settings.platform, there, replica, plan)
            inside = self._live(way, door(here.site)) if is_looking_inside else self._latest_point(way)
            return Inspected(places, [*_described(way, door(there.settings.name)), *inside])

    def _live(self, way: _Way, site: Site) -> list[Finding]:
        """By the machine's own disks."""
        status = way.here.status
        return inspect_machine(site, status, self.label, way.surroundings(status.spec), self.ports)

    def _latest_point(self, way: _Way) -> list[Finding]:
        """By the latest restore point: nothing on a site is touched."""
        try:
            latest = latest_point(self.points(way.here.status.spec.machine_id))
            if latest:
                around = way.surroundings(spec_from_json(latest.document.spec))
                return inspect_point(self.repository(), latest, around, self.ports)
        except TwinhullError as error:
            return [Finding(f"Its files were not inspected: {error.message}", error.hint or _AGAIN)]
        return [Finding("It has no restore point yet, so its files were not inspected.", _AGAIN)]


def _described(way: _Way, there: Site) -> list[Finding]:
    """What the other site says of the replica, and what the machine's description and its plan say."""
    found = []
    if way.replica:
        found = [
            Finding(f"It would not start there: {obstacle}", f"{REMEDY}.", Consequence.WILL_NOT_BOOT)
            for obstacle in there.power.obstacles(way.replica.spec.machine_id)
        ]
    if way.plan:
        found += judge(way.here.status, way.plan, there.capabilities(), is_homewards=way.is_homewards)
    if way.plan and not way.is_homewards:
        found += lacking(there, way.here.status.spec, way.plan, way.boot_mode)
    return found


def _other_side(plan: Plan | None, here: SiteName, overview: Overview) -> SiteView | None:
    """The plan's other site; without a plan the only other one, or the only one of another platform."""
    if plan:
        return overview.sites.get(plan.source if here == plan.target else plan.target)
    others = [view for name, view in overview.sites.items() if name != here]
    strangers = [view for view in others if view.settings.platform != overview.sites[here].settings.platform]
    return others[0] if len(others) == 1 else strangers[0] if len(strangers) == 1 else None
