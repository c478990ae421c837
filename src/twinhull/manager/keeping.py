"""What happens to a machine's points after a sync: the latest is remembered, and the plan's retention is applied."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twinhull.manager.catalog import Catalog
from twinhull.manager.records import LatestPoint
from twinhull.manager.retention import Dated, judge
from twinhull.model.machine import MachineId
from twinhull.model.steps import Facts, JsonValue
from twinhull.repository import Repository


@dataclass(frozen=True, slots=True)
class Keeper:
    """``jump`` tells how the wall clock jumped since the run began, as a sentence; empty where it did not."""

    catalog: Catalog
    repository: Repository
    jump: Callable[[], str]

    def after_sync(self, machine_id: MachineId, _: Facts) -> Facts:
        """Facts: ``removed_points``, and ``retention`` (the reason) where there is something to say."""
        points = self.repository.points(machine_id)
        if not points:
            return {}
        self.catalog.see_point(LatestPoint(machine_id, points[-1].id, points[-1].captured_at))
        plan = self.catalog.plan_of(machine_id)
        if not plan:
            return {}
        dated = [Dated(point.id, point.captured_at) for point in points]
        verdict = judge(dated, plan.retention, self.repository.held_points(), self.jump())
        for point_id in verdict.removable:
            self.repository.remove_point(point_id, f"retention of the plan {plan.name}")
        removed: list[JsonValue] = [str(point_id) for point_id in verdict.removable]
        return {"removed_points": removed, "retention": verdict.reason} if verdict.reason else {}
