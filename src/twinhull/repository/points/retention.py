"""Which points stay, and why: a pure function over one machine's points.

Everything counts from the latest point, never from the clock. Age is credited, not believed: between two neighbouring
points at most a day counts, and a clock that went back counts as no time at all, so a clock that leaps makes points
younger than they are, never older. Points are taken by sequence number; their wall-clock times only name the hour, day
or month they are kept for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

from twinhull.model.errors import UsageError
from twinhull.model.machine import PointId
from twinhull.model.units import format_duration
from twinhull.repository.format.points import Point, current_points

MAX_CREDITED_GAP_SECONDS = 86_400.0
"""How much time at most counts between two neighbouring points."""
DEFAULT_MINIMUM_COUNT = 3
"""How many of the latest points stay, unless somebody says another number."""


@dataclass(frozen=True, slots=True)
class RetentionRules:
    """How many points of each kind stay. With no rule at all, everything stays.

    ``keep_hourly`` and its like keep the latest point of each of the last so many hours (days …) *that have points*.
    Whatever the rules say, the ``minimum_count`` latest points stay.
    """

    keep_last: int = 0
    keep_hourly: int = 0
    keep_daily: int = 0
    keep_weekly: int = 0
    keep_monthly: int = 0
    keep_yearly: int = 0
    keep_within_seconds: float = 0.0
    minimum_count: int = DEFAULT_MINIMUM_COUNT

    def __post_init__(self) -> None:
        if min(self.counts) < 0 or self.keep_within_seconds < 0 or self.minimum_count < 1:
            raise UsageError("Retention counts cannot be negative, and the latest point always stays.")

    @property
    def counts(self) -> tuple[int, ...]:
        """The rules that count points."""
        calendar = self.keep_daily, self.keep_weekly, self.keep_monthly, self.keep_yearly
        return self.keep_last, self.keep_hourly, *calendar

    @property
    def is_empty(self) -> bool:
        """Whether there is no rule to go by."""
        return not any(self.counts) and not self.keep_within_seconds


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a point stays, and the sentence that says why."""

    point: Point
    stays: bool
    reason: str


def decide(
    points: Sequence[Point],
    rules: RetentionRules,
    held: Collection[PointId] = (),
    *,
    replica_at: PointId | None = None,
    clock_jumped: bool = False,
) -> list[Verdict]:
    """A verdict for each of one machine's points, latest first.

    ``replica_at`` is the point of a replica that was left behind: it goes on from there, or has to be compared in full.
    ``clock_jumped`` says that this run saw the clock jump: then nothing goes.
    """
    ordered = sorted(points, key=lambda point: point.sequence, reverse=True)
    if len({point.machine_id for point in ordered}) > 1:
        raise UsageError("Retention works on one machine at a time.")
    reasons: dict[PointId, list[str]] = {point.id: [] for point in ordered}
    for point_id, reason in _kept(ordered, rules, held, clock_jumped=clock_jumped):
        reasons[point_id].append(reason)
    if replica_at in reasons:
        reasons[replica_at].append("the replica is at it")
    return [
        Verdict(point, bool(why), f"stays: {'; '.join(why)}" if why else _gone(point))
        for point in ordered
        for why in [reasons[point.id]]
    ]


def _gone(point: Point) -> str:
    return "goes: it is divergent, and not held" if point.document.is_divergent else "goes: no rule keeps it"


def _kept(
    ordered: Sequence[Point], rules: RetentionRules, held: Collection[PointId], *, clock_jumped: bool
) -> Iterator[tuple[PointId, str]]:
    if clock_jumped:
        yield from ((point.id, "the clock jumped during this run, so all points stay") for point in ordered)
    if rules.is_empty:
        yield from ((point.id, "no rule removes points") for point in ordered)
    yield from ((point.id, "it is held") for point in ordered if point.id in held)
    ordered = current_points(ordered)  # of divergent ones none is the latest
    minimum = f"one of the {rules.minimum_count} latest, which always stay"
    yield from ((point.id, minimum) for point in ordered[: rules.minimum_count])
    yield from ((point.id, f"one of the last {rules.keep_last}") for point in ordered[: rules.keep_last])
    for count, word, period in _calendar(rules):
        yield from _latest_of_each(ordered, count, word, period)
    yield from _within(ordered, rules.keep_within_seconds)


def _calendar(rules: RetentionRules) -> list[tuple[int, str, Callable[[datetime], str]]]:
    return [
        (rules.keep_hourly, "hour", lambda at: f"{at:%Y-%m-%d %H:00}"),
        (rules.keep_daily, "day", lambda at: f"{at:%Y-%m-%d}"),
        (rules.keep_weekly, "week", lambda at: f"{at:%G-W%V}"),
        (rules.keep_monthly, "month", lambda at: f"{at:%Y-%m}"),
        (rules.keep_yearly, "year", lambda at: f"{at:%Y}"),
    ]


def _latest_of_each(
    ordered: Sequence[Point], count: int, word: str, period: Callable[[datetime], str]
) -> Iterator[tuple[PointId, str]]:
    seen: set[str] = set()
    for point in ordered:
        name = period(point.captured_at)
        if len(seen) < count and name not in seen:
            seen.add(name)
            yield point.id, f"latest of the {word} {name} ({len(seen)} of {count})"


def _within(ordered: Sequence[Point], within_seconds: float) -> Iterator[tuple[PointId, str]]:
    if not within_seconds or not ordered:
        return
    told = f"within {format_duration(within_seconds)} of the latest point"
    age = 0.0
    yield ordered[0].id, told
    for later, earlier in pairwise(ordered):
        gap = (later.captured_at - earlier.captured_at).total_seconds()
        age += min(max(gap, 0.0), MAX_CREDITED_GAP_SECONDS)
        if age > within_seconds:
            return
        yield earlier.id, told
