"""A time at which a point is wanted, as people write it: ``20:15``, ``2026-11-26 20:15``, ``10m ago``.

Times without a zone are UTC, as all times that are printed; ``20:15 local`` is this machine's own, ``20:15+02:00`` and
``20:15Z`` say theirs. A time of day is the latest such moment that is not in the future.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from twinhull.model.errors import UsageError
from twinhull.model.units import parse_duration

FORMS = "20:15, '2026-11-26 20:15', '10m ago'"
"""For hints."""

_AGO = re.compile(r"(?P<duration>\S.*\S|\S)\s+ago", re.ASCII | re.IGNORECASE)
_TIME = re.compile(
    r"(?:(?P<date>\d{4}-\d{2}-\d{2})[ T])?(?P<time>\d{1,2}:\d{2}(?::\d{2})?)"
    r"\s*(?P<zone>Z|UTC|local|[+-]\d{2}:?\d{2})?",
    re.ASCII | re.IGNORECASE,
)


def is_time(text: str) -> bool:
    """Whether the text is meant as a time."""
    return bool(_AGO.fullmatch(text.strip()) or _TIME.fullmatch(text.strip()))


def parse_time(text: str, now: datetime) -> datetime:
    """The moment that is meant, in UTC; raises UsageError."""
    ago = _AGO.fullmatch(text.strip())
    if ago:
        return now - timedelta(seconds=parse_duration(ago["duration"]))
    match = _TIME.fullmatch(text.strip())
    if not match:
        raise UsageError(f"'{text}' is not a time.", hint=f"Write it as {FORMS}.")
    try:
        return _moment(match["date"], match["time"], match["zone"] or "", now)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"'{text}' is not a time: {error}.", hint=f"Write it as {FORMS}.") from error


def _moment(date: str | None, time: str, zone: str, now: datetime) -> datetime:
    place = _zone(zone)
    clock = time if time.index(":") > 1 else f"0{time}"
    if date:
        return _in_utc(f"{date} {clock}", place)
    today = now.astimezone(place).date()
    moment = _in_utc(f"{today} {clock}", place)
    return moment if moment <= now else _in_utc(f"{today - timedelta(days=1)} {clock}", place)


def _in_utc(text: str, place: tzinfo | None) -> datetime:
    """Of a wall clock's time that comes twice (when summer time ends), the first is taken."""
    wall = datetime.fromisoformat(text)
    return (wall.replace(tzinfo=place) if place else wall.astimezone()).astimezone(UTC)


def _zone(text: str) -> tzinfo | None:
    """None is this machine's own."""
    if text.lower() == "local":
        return None
    if text.upper() in ("", "Z", "UTC"):
        return UTC
    sign, digits = (-1 if text[0] == "-" else 1), text[1:].replace(":", "")
    return timezone(sign * timedelta(hours=int(digits[:2]), minutes=int(digits[2:])))
