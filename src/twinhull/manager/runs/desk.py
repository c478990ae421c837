"""What a run's request is made from: plans, points, and what the sites say at that moment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from twinhull.cluster.epochs import primary
from twinhull.cluster.situation import Side, Situation
from twinhull.manager.catalog.catalog import Catalog
from twinhull.manager.catalog.records import Plan
from twinhull.manager.record.history import RunHistory
from twinhull.manager.repository.damages import Damages, point_by_name
from twinhull.manager.sites.names import Named
from twinhull.manager.sites.overview import Lookout
from twinhull.model.errors import NotFound, SiteUnreachable
from twinhull.model.machine import PointId, SiteName
from twinhull.model.ports import Clock
from twinhull.replication.bases import latest_epoch
from twinhull.repository import Point, Repository


@dataclass(frozen=True)
class Desk:
    """What the kinds of runs ask.

    ``repository`` is opened at its first use, ``damages`` hears of points that cannot be read.
    """

    catalog: Catalog
    history: RunHistory
    lookout: Lookout
    repository: Callable[[], Repository]
    clock: Clock
    damages: Damages = field(default_factory=Damages)

    def plan_of(self, machine: Named) -> Plan:
        """The machine's plan; raises NotFound."""
        plan = self.catalog.plan_of(machine.machine_id)
        if not plan:
            raise NotFound(
                f"{machine.name} is in no plan, so it is not said where its replica lives.",
                hint=f"Make one: twinhull plan create NAME --machine {machine.name} --from SITE --to SITE --rpo 15m",
            )
        return plan

    def point_id(self, machine: Named, text: str) -> PointId:
        """Found once for a command: ``N-1`` is another one when a sync has come in between."""
        return point_by_name(self.repository(), machine.machine_id, text, self.clock.now()).id

    def look(self, machine: Named, *, is_without_repository: bool = False) -> tuple[Plan, Situation, Sequence[Point]]:
        """The machine's plan, what its two sites say of it right now, and its points (without damaged ones)."""
        plan = self.plan_of(machine)
        sites = (plan.source, plan.target)
        points = () if is_without_repository else self.repository().points(machine.machine_id, self.damages.note)
        overview = self.lookout.look(sites)
        return plan, overview.situation(machine.machine_id, sites, *latest_epoch(points)), points


def running_side(plan: Plan, situation: Situation) -> SiteName:
    """Where the machine is at work: its primary side, or its home where it was never synced."""
    holder = primary(situation)
    return holder.site if holder else plan.source


def other_site(plan: Plan, site: SiteName) -> SiteName:
    """The plan's other site."""
    return plan.target if site == plan.source else plan.source


def networks_from(plan: Plan, source: SiteName) -> dict[str, str]:
    """The plan's network mapping, turned round on the way home."""
    if source == plan.source:
        return dict(plan.networks)
    return {target: home for home, target in plan.networks.items()}


def boot_mode_from(plan: Plan, source: SiteName) -> str | None:
    """How the replica boots: as the plan says on its target, and as it always did at home."""
    return plan.boot_mode if source == plan.source else None


def require_answer(side: Side, machine: Named, so: str) -> None:
    """Refuse a side that does not answer; raises SiteUnreachable."""
    if not side.is_reachable:
        raise SiteUnreachable(
            f"{side.site}, where {machine.name} runs, does not answer, {so}: {side.reason}",
            hint="Its points and its replica are as they were. "
            f"To start the replica: twinhull failover {machine.name} --unplanned",
        )
