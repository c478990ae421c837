"""One machine on all sites, in full."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twinhull.manager.catalog import Catalog
from twinhull.manager.names import Named
from twinhull.manager.overview import Overview, SiteView
from twinhull.manager.readiness import judge
from twinhull.manager.records import Plan
from twinhull.manager.sites import SitePool
from twinhull.model.codec import spec_to_json, standing_to_json
from twinhull.model.errors import NotFound
from twinhull.model.machine import BootMode, MachineId, MachineStatus, SiteName, Standing
from twinhull.platforms.contract import Site
from twinhull.platforms.inspection import Finding, inspect_disk, inspect_machine
from twinhull.recovery.starting import REMEDY
from twinhull.repository import Point, Repository, RepositoryError, latest_point
from twinhull.repository.disk import PointDiskReader

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
            "readiness": [{"finding": found.finding, "remedy": found.remedy} for found in self.readiness],
        }


@dataclass(frozen=True, slots=True)
class Inspector:
    """Looks at one machine. ``points`` are its restore points, ``label`` names what is opened on a site for it."""

    catalog: Catalog
    pool: SitePool
    points: Callable[[MachineId], Sequence[Point]]
    repository: Callable[[], Repository]
    label: str

    def inspect(self, named: Named, overview: Overview, *, is_looking_inside: bool) -> Inspected:
        """Ask each site that has it; raises NotFound where none does."""
        holders = [name for name, view in overview.sites.items() if view.machine(named.machine_id)]
        if not holders:
            raise NotFound(f"No site that answers has the machine {named.name}.", hint="'twinhull status' tells more.")
        with self.pool.lease() as door:
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
            inside = self._inside(
                here, door(here.site), there.settings.platform, boot_mode, is_wanted=is_looking_inside
            )
            return Inspected(places, [*_obstacles(places, door, there.settings.name), *said, *inside])

    def _inside(
        self, here: Place, site: Site, platform: str, boot_mode: BootMode | None, *, is_wanted: bool
    ) -> list[Finding]:
        """From the latest point, which touches nothing; from the machine itself only where that is asked for."""
        machine_id = here.status.spec.machine_id
        if is_wanted:
            return inspect_machine(site, machine_id, self.label, platform, boot_mode)
        try:
            latest = latest_point(self.points(machine_id))
            if latest and latest.document.disks:
                disk = PointDiskReader(self.repository().reader(), latest.document.disks[0].root)
                return inspect_disk(disk, platform, boot_mode)
        except RepositoryError as error:
            return [Finding(f"Its files were not looked into: {error.message}", error.hint or _AGAIN)]
        return [
            Finding(
                "It has no restore point yet, so its files were not looked into.",
                _AGAIN,
            )
        ]


def _obstacles(places: Sequence[Place], door: Callable[[SiteName], Site], there: SiteName) -> list[Finding]:
    """What the other site says of the replica, where there is one."""
    return [
        Finding(f"It would not start there: {obstacle}", f"{REMEDY}.")
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
