"""One machine on all sites, in full."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from twinhull.manager.catalog import Catalog
from twinhull.manager.inside.boot import Readiness
from twinhull.manager.names import Named
from twinhull.manager.overview import Overview
from twinhull.manager.readiness import judge
from twinhull.manager.sites import SitePool
from twinhull.model.codec import spec_to_json, standing_to_json
from twinhull.model.errors import NotFound
from twinhull.model.machine import MachineStatus, SiteName, Standing


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
    readiness: Sequence[Readiness]

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


def inspect(
    named: Named, overview: Overview, catalog: Catalog, pool: SitePool, inside: Sequence[Readiness]
) -> Inspected:
    """Ask each site that has it; raises NotFound where none does."""
    holders = [name for name, view in overview.sites.items() if view.machine(named.machine_id)]
    if not holders:
        raise NotFound(f"No site that answers has the machine {named.name}.", hint="'twinhull status' tells more.")
    with pool.lease() as door:
        places = [
            Place(name, door(name).machine(named.machine_id), overview.sites[name].standings.get(named.machine_id))
            for name in holders
        ]
        plan = catalog.plan_of(named.machine_id)
        if not plan:
            return Inspected(places, inside)
        here = next((place for place in places if place.standing and place.standing.may_start), places[0])
        there = plan.source if here.site == plan.target else plan.target
        view = overview.sites.get(there)
        if not view or not view.is_reachable:
            reason = view.reason if view else "it is not connected"
            return Inspected(places, (Readiness(f"{there} cannot be asked: {reason}", "See to that site first."),))
        is_homewards = there == plan.source
        found = judge(here.status, plan, door(there).capabilities(), is_homewards=is_homewards)
        return Inspected(places, [*found, *inside])
