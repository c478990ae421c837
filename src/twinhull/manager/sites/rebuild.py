"""Reading the catalog back from what holds the truth: sites hold standings, the repository holds points."""

from __future__ import annotations

from dataclasses import dataclass

from twinhull.manager.catalog.catalog import Catalog
from twinhull.manager.catalog.records import LatestPoint
from twinhull.manager.sites.overview import Overview
from twinhull.model.machine import MachineId, Role, SiteName
from twinhull.repository import Repository, current_points


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was found. ``proposed_plans`` are commands for machines that have a replica and no plan."""

    site_count: int
    machine_count: int
    point_count: int
    proposed_plans: tuple[str, ...]
    silent_sites: tuple[SiteName, ...]

    def shape(self) -> dict[str, object]:
        """As data."""
        return {
            "site_count": self.site_count,
            "machine_count": self.machine_count,
            "point_count": self.point_count,
            "proposed_plans": list(self.proposed_plans),
            "silent_sites": list(self.silent_sites),
        }


def rebuild(catalog: Catalog, overview: Overview, repository: Repository) -> Rebuilt:
    """Looking around has remembered the machines already; the points are read here."""
    points = repository.points()
    for point in current_points(points):
        # In order of sequence, so the latest is written last.
        catalog.see_point(LatestPoint(point.machine_id, point.id, point.captured_at))
    return Rebuilt(
        site_count=sum(view.is_reachable for view in overview.sites.values()),
        machine_count=len(overview.machine_ids()),
        point_count=len(points),
        proposed_plans=tuple(_proposals(catalog, overview)),
        silent_sites=tuple(name for name, view in overview.sites.items() if not view.is_reachable),
    )


def _proposals(catalog: Catalog, overview: Overview) -> list[str]:
    found = []
    for machine_id in overview.machine_ids():
        if catalog.plan_of(machine_id):
            continue
        source, target = _held_as(overview, machine_id, Role.PRIMARY), _held_as(overview, machine_id, Role.REPLICA)
        if source and target:
            found.append(
                f"twinhull plan create plan-{machine_id[:8]} --machine {machine_id} --from {source} --to {target}"
            )
    return found


def _held_as(overview: Overview, machine_id: MachineId, role: Role) -> SiteName | None:
    for name, view in overview.sites.items():
        standing = view.standings.get(machine_id)
        if standing and standing.role is role:
            return name
    return None
