"""What a run would do, in lines, before anybody is asked to agree to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twinhull.actions.requests import (
    FailoverRequest,
    Request,
    RestoreRequest,
    RollbackRequest,
    SyncRequest,
)
from twinhull.cluster.situation import Side
from twinhull.manager.catalog.records import RunRecord
from twinhull.manager.repository.collecting import CollectRequest, plan_collect
from twinhull.manager.runs.orders import Desk
from twinhull.manager.runs.wants import Want, unfinished_before
from twinhull.manager.sites.pool import SitePool
from twinhull.model.errors import TwinhullError
from twinhull.model.machine import PointId, RunId
from twinhull.model.ports import Clock
from twinhull.model.steps import Facts
from twinhull.recovery.before_stop import objections
from twinhull.recovery.failover.looking import asked_by_failover
from twinhull.recovery.previews import plan_failover, plan_restore, plan_rollback, plan_sync
from twinhull.repository import Repository

_NOBODY = RunId("preview")


@dataclass(frozen=True, slots=True)
class Preview:
    """What a run would do, in lines, and what it would be asked for; None where that depends on another run's end."""

    lines: list[str]
    request: Facts | None = None


@dataclass(frozen=True, slots=True)
class Previewer:
    """Looks at the situation as the run would, and changes nothing."""

    desk: Desk
    pool: SitePool
    clock: Clock
    repository: Callable[[], Repository]
    is_at_work: Callable[[RunRecord], bool]

    def preview(self, want: Want) -> Preview:
        """What it would do, in order; raises what would keep the run from beginning, unless another one is first."""
        unfinished = unfinished_before(self.desk.catalog, want)
        lines = [self._first(run) for run in unfinished]
        if any(want.is_same(run) for run in unfinished):
            return Preview(lines)  # its end is what is wanted, however far it has come
        if not all(map(self.is_at_work, unfinished)):
            return Preview([*lines, f"Then the {want.kind}, which depends on how that ends: ask again after it."])
        facts: Facts | None = None
        try:
            request = want.make(_NOBODY)
            planned, facts = self._planned(want, request), request.facts()
        except TwinhullError as error:
            if not unfinished:
                raise
            planned = [f"As things are before that, the {want.kind} would be refused: {error.message}"]
        asked = {name: fact for name, fact in facts.items() if name != "run_id"} if facts else None
        return Preview([*lines, *self.desk.damages.of(want.machine.machine_id), *planned], asked)

    def _first(self, run: RunRecord) -> str:
        if self.is_at_work(run):
            return f"Wait for {run.run_id}, which {run.origin} has running."
        return f"First finish {run.run_id}, which was interrupted: twinhull runs resume"

    def _planned(self, want: Want, request: Request) -> list[str]:
        if isinstance(request, RestoreRequest):
            return plan_restore(request, self.repository().point(PointId(request.point_id)), self.clock.now())
        if isinstance(request, CollectRequest):
            return plan_collect(self.repository(), is_now=request.is_now)
        _, situation, points = self.desk.look(want.machine, is_without_repository=want.is_without_repository)
        match request:
            case SyncRequest():
                return plan_sync(request, situation, points)
            case FailoverRequest():
                obstacles: Sequence[str] = [
                    *self._before_stop(request, situation.side(request.source)),
                    *self._obstacles(situation.side(request.target)),
                ]
                return plan_failover(request, situation, points, self.clock.now(), obstacles, word=want.kind)
            case RollbackRequest():
                obstacles = self._obstacles(situation.side(request.site))
                return plan_rollback(request, situation, points, self.clock.now(), obstacles)
        raise TypeError(f"{type(request).__name__} has no preview")

    def _before_stop(self, request: FailoverRequest, source: Side) -> Sequence[str]:
        """What a planned failover would be refused for, before anything is stopped."""
        if not request.is_planned or source.status is None:
            return ()
        with self.pool.lease() as door:
            sites = door(request.source), door(request.target)
            return objections(asked_by_failover(request, source.status.spec, *sites))

    def _obstacles(self, side: Side) -> Sequence[str]:
        if side.status is None:
            return ()
        with self.pool.lease(is_looking=True) as door:
            return door(side.site).power.obstacles(side.status.spec.machine_id)
