"""Points as people name them: ``N`` is the latest, ``N-2`` the second before it, ``12`` a number, or the whole id.

Divergent points are not counted; they are named by their numbers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from twinhull.model.errors import NotFound, UsageError
from twinhull.repository import Point, current_points

_BACK = re.compile(r"N(?:-(\d{1,8}))?", re.ASCII)
_NUMBER = re.compile(r"#?(\d{1,8})", re.ASCII)


def resolve_point(points: Sequence[Point], text: str) -> Point:
    """The point of that name among a machine's points, which are in order; raises UsageError, NotFound."""
    back = _BACK.fullmatch(text.strip())
    if back:
        return _counted_back(points, int(back[1] or 0), text)
    number = _NUMBER.fullmatch(text.strip())
    found = [point for point in points if (point.sequence == int(number[1]) if number else point.id == text)]
    if found:
        return found[0]
    if not number and "/" not in text:
        raise UsageError(f"'{text}' is no point.", hint="Write N for the latest, N-2 for the second before it, or 12.")
    raise NotFound(f"There is no point {text}.", hint="See 'twinhull points list'.")


def _counted_back(every: Sequence[Point], count: int, text: str) -> Point:
    points = current_points(every)
    if count >= len(points):
        raise NotFound(f"There is no point {text}: the machine has {len(points)}.", hint="See 'twinhull points list'.")
    return points[len(points) - 1 - count]
