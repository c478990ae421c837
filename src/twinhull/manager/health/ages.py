"""How old each machine's latest point is, by a clock that cannot jump.

The wall clock is asked once for each point, when it is first seen (there is nothing else to ask for a point of an
earlier process); from then on the age grows with the monotonic clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from twinhull.manager.catalog.records import LatestPoint
from twinhull.manager.clockwatch import Reading
from twinhull.model.machine import MachineId, PointId


@dataclass(frozen=True, slots=True)
class Aged:
    """A point whose age was ``age_seconds`` when the monotonic clock showed ``monotonic``."""

    point_id: PointId
    age_seconds: float
    monotonic: float

    def age_at(self, now: Reading) -> float:
        """Its age."""
        return self.age_seconds + now.monotonic - self.monotonic


Ages = Mapping[MachineId, Aged]


def observe(ages: Ages, latest: Mapping[MachineId, LatestPoint], now: Reading) -> dict[MachineId, Aged]:
    """The ages with what is seen now; a point that is known already keeps its age."""
    return {machine_id: _observe(ages.get(machine_id), point, now) for machine_id, point in latest.items()}


def _observe(known: Aged | None, point: LatestPoint, now: Reading) -> Aged:
    if known and known.point_id == point.point_id:
        return known
    age = (now.wall - point.captured_at).total_seconds()
    if known:
        # A newer point than the one we knew was made while we looked: it is no older than our knowledge of that one.
        age = min(age, known.age_at(now))
    # A point from the future: the clock went back, at least so far, and who knows when. Better too early than too late.
    return Aged(point.point_id, abs(age), now.monotonic)
