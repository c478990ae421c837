"""What the preview of a run may look at: all as the run itself would find it, and nothing is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from twinhull.cluster.situation import Side, Situation
from twinhull.manager.runs.desk import Desk
from twinhull.manager.runs.wants import Want
from twinhull.manager.sites.names import Named
from twinhull.manager.sites.pool import SitePool
from twinhull.model.machine import SiteName
from twinhull.platforms.contract import Site
from twinhull.repository import Point, Repository


@dataclass(frozen=True, slots=True)
class Outlook:
    """For the preview of one wanted run; ``open_repository`` opens the repository at its first use."""

    want: Want
    desk: Desk
    pool: SitePool
    open_repository: Callable[[], Repository]

    @property
    def repository(self) -> Repository:
        """The repository."""
        return self.open_repository()

    @property
    def now(self) -> datetime:
        """The wall clock, for ages that people read."""
        return self.desk.clock.now()

    def sides(self) -> tuple[Situation, Sequence[Point]]:
        """What the sites say of the wanted run's machine right now, and its points."""
        machine = Named.of(self.want.subject)
        _, situation, points = self.desk.look(machine, is_without_repository=self.want.is_without_repository)
        return situation, points

    @contextmanager
    def sites(self) -> Iterator[Callable[[SiteName], Site]]:
        """The sites, opened by their names."""
        with self.pool.lease() as door:
            yield door

    def obstacles(self, side: Side) -> Sequence[str]:
        """What would keep the machine from starting on that side as it is now."""
        if side.status is None:
            return ()
        with self.pool.lease(is_looking=True) as door:
            return door(side.site).power.obstacles(side.status.spec.machine_id)
