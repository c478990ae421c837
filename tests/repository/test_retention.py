"""What stays and what goes, each with its reason."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinhull.model.errors import UsageError
from twinhull.model.machine import PointId
from twinhull.repository import MemoryStore, Point, RetentionRules, decide_retention

from .world import CHUNK, DATABASE, capture, document, made, noise

START = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def _points(times: Sequence[datetime]) -> list[Point]:
    return [Point(number, document({}, captured_at=at)) for number, at in enumerate(times, 1)]


def _kept(points: Sequence[Point], rules: RetentionRules, held: Collection[PointId] = ()) -> list[int]:
    return sorted(verdict.point.sequence for verdict in decide_retention(points, rules, held) if verdict.stays)


def test_without_rules_everything_stays() -> None:
    assert _kept(_points([START + n * DAY for n in range(9)]), RetentionRules()) == list(range(1, 10))


def test_the_last_ones_stay() -> None:
    points = _points([START + n * HOUR for n in range(9)])
    assert _kept(points, RetentionRules(keep_last=4, minimum_count=1)) == [6, 7, 8, 9]
    assert _kept(points, RetentionRules(keep_last=1, minimum_count=3)) == [7, 8, 9]


def test_the_latest_of_each_day_stays() -> None:
    points = _points([START + n * 8 * HOUR for n in range(12)])  # 12:00, 20:00, 04:00 …
    assert _kept(points, RetentionRules(keep_daily=3, minimum_count=1)) == [8, 11, 12]


def test_every_kind_of_period() -> None:
    points = _points([START + n * DAY for n in range(800)])
    for rules, distance in [
        (RetentionRules(keep_weekly=3, minimum_count=1), 7),
        (RetentionRules(keep_monthly=3, minimum_count=1), 30),
        (RetentionRules(keep_yearly=3, minimum_count=1), 366),
        (RetentionRules(keep_hourly=3, minimum_count=1), 1),
    ]:
        kept = _kept(points, rules)
        assert kept[-1] == 800
        assert len(kept) == max(rules.counts)
        assert 800 - kept[0] >= distance


def test_within_counts_from_the_latest_point_and_not_from_now() -> None:
    old = datetime(2001, 1, 1, tzinfo=UTC)
    points = _points([old + n * HOUR for n in range(10)])
    rules = RetentionRules(keep_within_seconds=3 * 3600, minimum_count=1)
    assert _kept(points, rules) == [7, 8, 9, 10]


@pytest.mark.parametrize("leap", [timedelta(days=3652), timedelta(days=-3652)])
def test_a_leap_of_ten_years_lets_nothing_go(leap: timedelta) -> None:
    """The latest point was captured with a clock that is ten years off."""
    times = [START + n * HOUR for n in range(20)]
    rules = RetentionRules(keep_within_seconds=14 * 86_400, minimum_count=1)
    assert _kept(_points([*times, times[-1] + leap]), rules) == list(range(1, 22))


def test_a_run_that_saw_the_clock_jump_lets_nothing_go() -> None:
    points = _points([START + n * HOUR for n in range(9)])
    verdicts = decide_retention(points, RetentionRules(keep_last=1), clock_jumped=True)
    assert all(verdict.stays for verdict in verdicts)
    assert "clock jumped" in verdicts[-1].reason


def test_held_points_stay() -> None:
    points = _points([START + n * HOUR for n in range(9)])
    assert _kept(points, RetentionRules(keep_last=1, minimum_count=1), held={points[2].id}) == [3, 9]


def test_every_verdict_has_its_reason() -> None:
    points = _points([START + n * HOUR for n in range(5)])
    verdicts = decide_retention(points, RetentionRules(keep_last=1, keep_daily=2, minimum_count=2))
    assert [verdict.reason for verdict in verdicts] == [
        "stays: one of the 2 latest, which always stay; one of the last 1; latest of the day 2026-11-21 (1 of 2)",
        "stays: one of the 2 latest, which always stay",
        *["goes: no rule keeps it"] * 3,
    ]


def test_nonsense_is_refused() -> None:
    with pytest.raises(UsageError):
        RetentionRules(keep_last=-1)
    with pytest.raises(UsageError):
        RetentionRules(minimum_count=0)
    mixed = [*_points([START]), Point(2, document({}, DATABASE))]
    with pytest.raises(UsageError, match="one machine"):
        decide_retention(mixed, RetentionRules(keep_last=1))


@given(
    st.lists(st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1)), min_size=1, max_size=30),  # noqa: DTZ001
    st.integers(1, 5),
    st.integers(0, 5),
    st.integers(0, 5),
)
def test_whatever_the_clock_says_the_latest_stay(times: list[datetime], minimum: int, last: int, daily: int) -> None:
    points = _points([at.replace(tzinfo=UTC) for at in times])
    kept = _kept(points, RetentionRules(keep_last=last, keep_daily=daily, minimum_count=minimum))
    assert kept[-minimum:] == [point.sequence for point in points][-minimum:]


def test_a_repository_lets_go_what_the_rules_let_go() -> None:
    repository = made(MemoryStore())
    points = [capture(repository, noise(number, CHUNK)) for number in range(6)]
    repository.hold_point(points[0].id, "evidence")
    rules = RetentionRules(keep_last=2, minimum_count=1)
    planned = repository.retain(points[0].machine_id, rules, is_dry_run=True)
    assert repository.points() == points
    assert repository.retain(points[0].machine_id, rules) == planned
    assert repository.points() == [points[0], *points[4:]]
    assert [removal.reason for removal in repository.removed_points()] == ["goes: no rule keeps it"] * 3
