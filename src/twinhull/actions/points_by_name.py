"""Points as people name them: ``N`` is the latest, ``N-2`` the second before it, ``12`` a number, or the whole id.

A time (see :mod:`twinhull.actions.points_by_time`) names the latest point that was captured by then. Divergent points
are not counted, and found by no time; they are named by their numbers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from twinhull.actions.points_by_time import FORMS, is_time, parse_time
from twinhull.actions.telling import told
from twinhull.model.errors import NotFound, UsageError
from twinhull.repository import Point, current_points

_BACK = re.compile(r"N(?:-(\d{1,8}))?", re.ASCII)
_NUMBER = re.compile(r"#?(\d{1,8})", re.ASCII)


def is_counted(text: str) -> bool:
    """Whether the name is found by its place among the others, so that all of them must be known."""
    return bool(_BACK.fullmatch(text.strip())) or is_time(text)


def is_point_name(text: str) -> bool:
    """Whether the text names a point of a machine."""
    return is_counted(text) or bool(_NUMBER.fullmatch(text.strip()))


def split_point(word: str) -> tuple[str, str]:
    """``MACHINE:NAME`` as both; the machine is empty where the word is a whole id. Raises UsageError.

    A machine's name may have colons, and so has a time: the first colon that has a point's name behind it parts them.
    """
    if ":" not in word and "/" in word:
        return "", word
    parts = word.split(":")
    for count in range(1, len(parts)):
        machine, name = ":".join(parts[:count]), ":".join(parts[count:])
        if machine and is_point_name(name):
            return machine, name
    raise UsageError(
        f"'{word}' is no point.", hint=f"Write MACHINE:N for the latest, MACHINE:N-2, MACHINE:12, or a time: {FORMS}."
    )


def resolve_point(points: Sequence[Point], text: str, now: datetime) -> Point:
    """The point of that name among a machine's points, which are in order; raises UsageError, NotFound."""
    back = _BACK.fullmatch(text.strip())
    if back:
        return _counted_back(current_points(points), int(back[1] or 0), text)
    if is_time(text):
        return _latest_by(current_points(points), parse_time(text, now), text, now)
    number = _NUMBER.fullmatch(text.strip())
    found = [point for point in points if (point.sequence == int(number[1]) if number else point.id == text)]
    if found:
        return found[0]
    if not number and "/" not in text:
        raise UsageError(
            f"'{text}' is no point.", hint=f"Write N for the latest, N-2 for the second before it, 12, or {FORMS}."
        )
    raise NotFound(f"There is no point {text}.", hint=_those(points))


def _counted_back(points: Sequence[Point], count: int, text: str) -> Point:
    if count >= len(points):
        number = "1 point" if len(points) == 1 else f"{len(points)} points"
        raise NotFound(f"There is no point {text}: the machine has {number}.", hint=_those(points))
    return points[len(points) - 1 - count]


def _latest_by(points: Sequence[Point], moment: datetime, text: str, now: datetime) -> Point:
    """By the wall clock of the captures, which may have jumped: of several, the one that was made last."""
    found = [point for point in points if point.captured_at <= moment]
    if not found:
        earliest = f": the earliest is {told(points[0], now)}" if points else ""
        raise NotFound(f"There is no point of {text} ({moment:%F %T} UTC) or before{earliest}.", hint=_those(points))
    return found[-1]


def _those(points: Sequence[Point]) -> str:
    if not points:
        return "It was never captured, or its points are gone: 'twinhull points list' shows those of all machines."
    own = f"{points[0].sequence} to {points[-1].sequence}" if len(points) > 1 else str(points[0].sequence)
    return f"It has {own}: see 'twinhull points list {points[-1].document.spec.get('name', points[-1].machine_id)}'."
