"""Noticing that the wall clock jumped: it is compared with the monotonic clock, which cannot."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from twinhull.model.ports import Clock
from twinhull.model.units import format_duration

_TOLERANCE_SECONDS = 5.0
_TOLERANCE_SHARE = 0.01
"""A clock that is being slewed gains or loses up to half a percent; that is no jump."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Both clocks at one moment."""

    wall: datetime
    monotonic: float


def read(clock: Clock) -> Reading:
    """Both clocks, now."""
    return Reading(clock.now(), clock.monotonic())


def jump_seconds(before: Reading, after: Reading) -> float:
    """How far the wall clock jumped between the readings; 0 where it went as it should."""
    elapsed = after.monotonic - before.monotonic
    drift = (after.wall - before.wall).total_seconds() - elapsed
    return drift if abs(drift) > _TOLERANCE_SECONDS + elapsed * _TOLERANCE_SHARE else 0.0


def tell(seconds: float) -> str:
    """The jump as a reason; empty where there was none."""
    if not seconds:
        return ""
    direction = "forward" if seconds > 0 else "back"
    return f"the wall clock jumped {direction} by {format_duration(abs(seconds))}."


def since(before: Reading, clock: Clock) -> str:
    """How the wall clock has jumped since then, as a reason; empty where it did not."""
    return tell(jump_seconds(before, read(clock)))
