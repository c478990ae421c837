"""What happens to a machine's points in a run: the latest is remembered, the plan's retention is applied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twinhull.manager.catalog.catalog import Catalog
from twinhull.manager.catalog.records import LatestPoint, RunState
from twinhull.manager.record.history import RunHistory
from twinhull.manager.runs.kinds.registry import KINDS
from twinhull.model.machine import MachineId, PointId
from twinhull.model.steps import Facts, JsonValue
from twinhull.repository import Point, Repository, RepositoryDamaged, RepositoryVersionTooNew

_RUNS_LOOKED_AT = 1000
"""That many points made without the replica, and a full comparison is the smaller harm."""


@dataclass(frozen=True, slots=True)
class Keeper:
    """``jump`` tells how the wall clock jumped since the run began, as a sentence; empty where it did not."""

    catalog: Catalog
    history: RunHistory
    repository: Repository
    jump: Callable[[], str]

    def note(self, point: Point) -> None:
        """Remember the machine's latest point; a divergent one is none of its own."""
        if point.document.is_divergent:
            return
        self.catalog.see_point(LatestPoint(point.machine_id, point.id, point.captured_at))

    def after_sync(self, machine_id: MachineId, facts: Facts) -> Facts:
        """Facts: ``removed_points``, and ``retention``, a sentence.

        No point is removed while one cannot be read: it is not known then which ones are the latest. Where the replica
        was left as it is, its point stays: without it, the way to the next one would be a full comparison.
        """
        plan = self.catalog.plan_of(machine_id)
        if not plan:
            return {}
        jump = self.jump()
        kept = None if facts.get("target") else self._last_brought(machine_id)
        try:
            verdicts = self.repository.retain(machine_id, plan.retention, replica_at=kept, clock_jumped=bool(jump))
        except (RepositoryDamaged, RepositoryVersionTooNew) as error:
            return {"removed_points": [], "retention": f"No point was removed: {error.message}"}
        removed: list[JsonValue] = [str(verdict.point.id) for verdict in verdicts if not verdict.stays]
        return {"removed_points": removed, "retention": _tell(len(removed), len(verdicts), jump)}

    def _last_brought(self, machine_id: MachineId) -> PointId | None:
        """The point that the replica was brought to, as far as the latest runs tell."""
        for run in self.history.runs(machine_id=machine_id, last=_RUNS_LOOKED_AT):
            kind = KINDS.of(run)
            if run.state is RunState.DONE and kind.brings(kind.request_of(run)):
                return PointId(str(run.result.get("point_id")))
        return None


def _tell(removed_count: int, point_count: int, jump: str) -> str:
    if jump:
        return f"No point was removed: {jump}"
    return f"{removed_count} of {point_count} points removed" if removed_count else f"all {point_count} kept"
