"""Points by number, by counting back, and by time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from twinhull.actions.points_by_name import is_point_name, resolve_point, split_point
from twinhull.actions.points_by_time import is_time, parse_time
from twinhull.actions.telling import called, lost, told
from twinhull.model.errors import NotFound, UsageError
from twinhull.model.machine import Consistency, MachineId, SiteName
from twinhull.repository import Point, PointDocument

MACHINE = MachineId("11111111-1111-4111-8111-111111111111")
NOW = datetime(2026, 11, 26, 20, 24, 38, tzinfo=UTC)


def point(sequence: int, captured_at: datetime, *, is_divergent: bool = False) -> Point:
    document = PointDocument(
        machine_id=MACHINE,
        captured_at=captured_at,
        consistency=Consistency.CRASH,
        source_site=SiteName("alpha"),
        epoch=1,
        spec={"name": "db"},
        disks=(),
        is_divergent=is_divergent,
    )
    return Point(sequence, document)


@pytest.fixture(params=["UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Kiritimati"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """This machine's own time zone."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("20:15", "2026-11-26 20:15:00"),
        ("9:05", "2026-11-26 09:05:00"),
        ("20:24:38", "2026-11-26 20:24:38"),
        ("20:24:39", "2026-11-25 20:24:39"),
        ("23:59", "2026-11-25 23:59:00"),
        ("20:15Z", "2026-11-26 20:15:00"),
        ("20:15 UTC", "2026-11-26 20:15:00"),
        ("21:15+01:00", "2026-11-26 20:15:00"),
        ("01:00+0530", "2026-11-26 19:30:00"),
        ("15:45 -0430", "2026-11-26 20:15:00"),
        ("2026-11-26 20:15", "2026-11-26 20:15:00"),
        ("2026-11-26T20:15:30", "2026-11-26 20:15:30"),
        ("2025-01-02 00:00+02:00", "2025-01-01 22:00:00"),
        ("10m ago", "2026-11-26 20:14:38"),
        ("1h30m ago", "2026-11-26 18:54:38"),
        ("2d ago", "2026-11-24 20:24:38"),
    ],
)
def test_a_time_without_a_zone_is_utc_wherever_this_machine_is(text: str, moment: str) -> None:
    assert is_time(text)
    assert parse_time(text, NOW) == utc(moment)


def test_local_is_this_machines_own_zone(zone: str) -> None:
    moment = parse_time("2026-11-26 20:15 local", NOW)
    assert moment.astimezone().strftime("%F %R") == "2026-11-26 20:15"
    assert (moment == utc("2026-11-26 20:15")) is (zone == "UTC")


def test_a_local_time_that_comes_twice_is_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        assert parse_time("2026-10-25 02:30 local", NOW) == utc("2026-10-25 00:30")
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("text", ["25:00", "20:61", "2026-13-01 10:00", "2026-02-30 10:00", "0001-01-01 00:00+14:00"])
def test_an_impossible_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a time"):
        parse_time(text, NOW)
    with pytest.raises(UsageError, match="not a duration"):
        parse_time("soon ago", NOW)


@given(st.text(max_size=40))
def test_no_text_ends_in_another_error(text: str) -> None:
    for parse in (lambda: resolve_point([point(1, NOW)], text, NOW), lambda: split_point(text)):
        try:
            parse()
        except UsageError as error:
            assert error.hint  # noqa: PT017 - it is one of two good ends


@given(st.lists(st.integers(0, 5000), min_size=1, max_size=12), st.integers(0, 6000))
def test_a_time_finds_the_latest_point_that_was_made_by_then(ages: list[int], wanted: int) -> None:
    points = [point(number + 1, NOW - timedelta(minutes=age)) for number, age in enumerate(ages)]
    made = [p for p in points if p.captured_at <= NOW - timedelta(minutes=wanted)]
    if not made:
        with pytest.raises(NotFound, match="the earliest is db:1"):
            resolve_point(points, f"{wanted}m ago", NOW)
        return
    assert resolve_point(points, f"{wanted}m ago", NOW) == made[-1]


def test_divergent_points_are_counted_for_nothing() -> None:
    old, new = point(1, NOW - timedelta(hours=2)), point(3, NOW - timedelta(minutes=5))
    aside = point(2, NOW - timedelta(hours=1), is_divergent=True)
    points = [old, aside, new]
    assert resolve_point(points, "N", NOW) == new
    assert resolve_point(points, "N-1", NOW) == resolve_point(points, "30m ago", NOW) == old
    assert resolve_point(points, "2", NOW) == aside


@pytest.mark.parametrize(
    ("word", "machine", "name"),
    [
        ("db:N", "db", "N"),
        ("db:N-12", "db", "N-12"),
        ("db:12", "db", "12"),
        ("db:20:15", "db", "20:15"),
        ("db:20:15:30Z", "db", "20:15:30Z"),
        ("db:2026-11-26 20:15", "db", "2026-11-26 20:15"),
        ("db:10m ago", "db", "10m ago"),
        ("a:b:N-1", "a:b", "N-1"),
        (f"{MACHINE}/00000012", "", f"{MACHINE}/00000012"),
    ],
)
def test_a_word_is_a_machine_and_its_point(word: str, machine: str, name: str) -> None:
    assert split_point(word) == (machine, name)
    assert not machine or is_point_name(name)


def test_points_are_told_with_their_time_and_without_their_id() -> None:
    latest = point(12, NOW - timedelta(seconds=50))
    assert called(latest) == "db:12"
    assert told(latest, NOW) == "db:12 (26 Nov 20:23:48 UTC, 50 s ago)"
    assert told(point(3, NOW - timedelta(days=400)), NOW) == "db:3 (22 Oct 2025 20:24:38 UTC, 400 d 0 h ago)"
    assert told(point(4, NOW + timedelta(minutes=3)), NOW).endswith("3 min 0 s ahead of the clock)")


def test_a_loss_is_told_by_when_it_begins() -> None:
    assert lost("db", NOW - timedelta(seconds=65), NOW) == "Lost: what db wrote after 20:23:33 UTC (65 s)."
    assert lost("db", NOW - timedelta(days=2), NOW) == "Lost: what db wrote after 24 Nov 20:24:38 UTC (2 d 0 h)."
    assert "is not known here" in lost("db", None, NOW)
