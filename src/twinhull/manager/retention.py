"""Which points a plan no longer wants. Pure, and wary of the clock: a clock that jumps may be the very fault."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime

from twinhull.manager.records import Retention
from twinhull.model.machine import PointId


@dataclass(frozen=True, slots=True)
class Dated:
    """A point and its wall clock."""

    point_id: PointId
    captured_at: datetime


@dataclass(frozen=True, slots=True)
class Verdict:
    """What may go, and why that, or why nothing."""

    removable: tuple[PointId, ...]
    reason: str


def judge(points: Sequence[Dated], policy: Retention, held: AbstractSet[PointId], jump: str = "") -> Verdict:
    """``points`` are one machine's in order of sequence; ``jump`` says how the clock jumped in this run, if it did.

    The latest ``keep_last`` stay whatever the dates say; ages count from the latest point, not from now.
    """
    if jump:
        return Verdict((), f"No point was removed: {jump}")
    if any(later.captured_at < earlier.captured_at for earlier, later in itertools.pairwise(points)):
        return Verdict(
            (), "No point was removed: the points' times are not in order, so the clock jumped between them."
        )
    surplus = points[: max(len(points) - max(policy.keep_last, 1), 0)]
    old = tuple(point.point_id for point in surplus if not _is_young(point, points[-1], policy))
    removable = tuple(point_id for point_id in old if point_id not in held)
    return Verdict(removable, _tell(len(removable), len(points), policy))


def _is_young(point: Dated, latest: Dated, policy: Retention) -> bool:
    if policy.keep_seconds is None:
        return False
    return (latest.captured_at - point.captured_at).total_seconds() <= policy.keep_seconds


def _tell(removed_count: int, point_count: int, policy: Retention) -> str:
    if not removed_count:
        return ""
    return f"{removed_count} of {point_count} points were removed: the plan keeps the latest {policy.keep_last}."
