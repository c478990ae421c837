"""One machine on all sites, in full."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from twinhull.inspection import Finding, Surroundings
from twinhull.inspection.naming import keeps_slots, surroundings
from twinhull.inspection.readiness import finding_to_json
from twinhull.manager.catalog import Catalog
from twinhull.manager.inside import inspect_machine, inspect_point
from twinhull.manager.names import Named
from twinhull.manager.overview import Overview, SiteView
from twinhull.manager.readiness import judge, lacking
from twinhull.manager.records import Plan
from twinhull.manager.sites import SitePool
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
                Place(name, door(name).machine(named.machine_id), overview.sites[name].standings.get(named.machine_id))
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
            is_homewards = bool(plan) and there.settings.name == (plan.source if plan else "")
            boot_mode = BootMode(plan.boot_mode) if plan and plan.boot_mode and not is_homewards else None
            capabilities = door(there.settings.name).capabilities()
            said = judge(here.status, plan, capabilities, is_homewards=is_homewards) if plan else []
            if plan and not is_homewards:
                said += lacking(door(there.settings.name), here.status.spec, plan, boot_mode)
            replica = next((place.status for place in places if place.site == there.settings.name), None)
            surround = partial(
                surroundings,
                here=overview.sites[here.site].settings.platform,
                there=there.settings.platform,
                boot_mode=boot_mode,
                keeps_card_slots=keeps_slots("card", here.status, replica),
                keeps_disk_slots=keeps_slots("disk", here.status, replica),
            )
            inside = (
                inspect_machine(door(here.site), here.status, self.label, surround(here.status.spec), self.ports)
                if is_looking_inside
                else self._latest_point(here, surround)
            )
            return Inspected(places, [*_obstacles(places, door, there.settings.name), *said, *inside])

    def _latest_point(self, here: Place, surround: Callable[[MachineSpec], Surroundings]) -> list[Finding]:
        """By the latest restore point: nothing on a site is touched."""
        try:
            latest = latest_point(self.points(here.status.spec.machine_id))
            if latest:
                spec = spec_from_json(latest.document.spec)
                return inspect_point(self.repository(), latest, surround(spec), self.ports)
        except TwinhullError as error:
            return [Finding(f"Its files were not inspected: {error.message}", error.hint or _AGAIN)]
        return [Finding("It has no restore point yet, so its files were not inspected.", _AGAIN)]


def _obstacles(places: Sequence[Place], door: Callable[[SiteName], Site], there: SiteName) -> list[Finding]:
    """What the other site says of the replica, where there is one."""
    return [
        Finding(f"It would not start there: {obstacle}", f"{REMEDY}.", Consequence.WILL_NOT_BOOT)
        for place in places
        if place.site == there
        for obstacle in door(there).obstacles(place.status.spec.machine_id)
    ]


def _other_side(plan: Plan | None, here: SiteName, overview: Overview) -> SiteView | None:
    """The plan's other site; without a plan the only other one, or the only one of another platform."""
    if plan:
        return overview.sites.get(plan.source if here == plan.target else plan.target)
    others = [view for name, view in overview.sites.items() if name != here]
    strangers = [view for view in others if view.settings.platform != overview.sites[here].settings.platform]
    return others[0] if len(others) == 1 else strangers[0] if len(strangers) == 1 else None
