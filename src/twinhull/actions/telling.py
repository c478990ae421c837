"""How points, times and losses are told to people: short, with the time, and the id left to ``--json``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from twinhull.model.machine import PointId
from twinhull.model.units import format_duration
from twinhull.repository import Point

_DAY = timedelta(days=1)
_LONG_AGO = timedelta(days=300)


def called(point: Point) -> str:
    """``db:12``, as a command takes it."""
    return called_by_id(str(point.document.spec.get("name", point.machine_id)), point.id)


def called_by_id(machine_name: str, point_id: PointId | str) -> str:
    """The same of a point of which the id is known."""
    return f"{machine_name}:{int(point_id.rpartition('/')[2])}"


def told(point: Point, now: datetime) -> str:
    """``db:12 (26 Nov 20:23:48 UTC, 50 s ago)``."""
    return f"{called(point)} ({moment(point.captured_at, now)})"


def moment(then: datetime, now: datetime) -> str:
    """``26 Nov 20:23:48 UTC, 50 s ago``; by the wall clock, which may have jumped."""
    age = (now - then).total_seconds()
    ago = f"{format_duration(age)} ago" if age >= 0 else f"{format_duration(-age)} ahead of the clock"
    return f"{_date(then, now)} {then.astimezone(UTC):%H:%M:%S} UTC, {ago}"


def lost(machine_name: str, captured_at: datetime | None, now: datetime) -> str:
    """What a machine loses that goes on from a point of that time."""
    if captured_at is None:
        return f"Lost: what {machine_name} wrote after its replica's point; when that was captured is not known here."
    age = max((now - captured_at).total_seconds(), 0.0)
    date = f"{_date(captured_at, now)} " if abs(now - captured_at) > _DAY else ""
    time = f"{captured_at.astimezone(UTC):%H:%M:%S}"
    return f"Lost: what {machine_name} wrote after {date}{time} UTC ({format_duration(age)})."


def _date(then: datetime, now: datetime) -> str:
    then = then.astimezone(UTC)
    return f"{then:%d %b %Y}" if abs(now - then) > _LONG_AGO else f"{then:%d %b}"


def number_of(point_id: str) -> str:
    """A point's number."""
    tail = point_id.rpartition("/")[2]
    return str(int(tail)) if tail.isdecimal() else point_id
