"""What a collection must wait for: time that was credited, and the store's own locks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from twinhull.model.machine import PointId
from twinhull.model.units import format_duration
from twinhull.repository.format.collection_state import CollectionState
from twinhull.repository.format.ids import PackId
from twinhull.repository.store.contract import NEVER, Store


@dataclass(frozen=True, slots=True)
class Waits:
    """How long everything has waited by now, without belief in the clock."""

    last: CollectionState
    credit_seconds: float
    grace_seconds: float

    def removals(self, now: Mapping[PointId, str]) -> dict[PointId, float]:
        """Of the removals that there are now, with their marks: one that was undone and made anew begins anew."""
        old = {
            point: seconds + self.credit_seconds
            for point, seconds in self.last.removals.items()
            if self.last.marks.get(point) in (None, now.get(point))
        }
        return {point: old.get(point, 0.0) for point in sorted(now)}

    def packs(self, now: Collection[PackId]) -> dict[PackId, float]:
        """Of the packs that nothing needs now."""
        old = self.last.packs
        return {pack: old[pack] + self.credit_seconds if pack in old else 0.0 for pack in sorted(now)}

    def is_over(self, seconds: float) -> bool:
        """Whether what has waited that long may go."""
        return seconds >= self.grace_seconds

    def first(self, waited: Mapping[PointId, float] | Mapping[PackId, float]) -> str:
        """When the first of what still waits may go, for the end of a sentence."""
        longest = max((seconds for seconds in waited.values() if not self.is_over(seconds)), default=None)
        if longest is None:
            return ""
        return f"; the first can be freed in {format_duration(self.grace_seconds - longest)}"


@dataclass(slots=True)
class Locks:
    """What the store itself keeps from being deleted, and how long the longest of it."""

    store: Store
    count: int = 0
    latest: datetime | None = None

    def holds(self, name: str) -> bool:
        """Whether an object is locked; it is counted then."""
        until = self.store.locked_until(name)
        if until:
            self.count += 1
            self.latest = max(until, self.latest or until)
        return until is not None

    def reasons(self) -> list[str]:
        """What is said of all of them."""
        if not self.count:
            return []
        end = (
            "for good, by a legal hold,"
            if self.latest == NEVER
            else f"until {self.latest:%Y-%m-%d %H:%M} UTC at the latest"
        )
        return [f"The store's object lock keeps {self.count} objects {end} that would be deleted otherwise."]
