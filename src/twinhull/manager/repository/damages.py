"""Points whose documents cannot be read: passed over and told, so that one of them does not hold up its machine.

Never where points are let go, nor where they are counted: one that cannot be read is not one that is gone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from twinhull.actions.context import tell_damage
from twinhull.actions.points_by_name import is_counted, resolve_point
from twinhull.model.errors import NotFound
from twinhull.model.machine import MachineId, PointId
from twinhull.repository import NotAuthentic, Point, Repository, RepositoryDamaged, RepositoryError, parse_point_id


@dataclass(frozen=True, slots=True)
class Damages:
    """Every point that was found damaged, with the sentence that tells it."""

    found: dict[PointId, str] = field(default_factory=dict)

    def note(self, point_id: PointId, error: RepositoryError) -> None:
        """Remember that the point cannot be read; may be called from any thread, and again."""
        self.found.setdefault(point_id, tell_damage(point_id, error))

    def of(self, machine_id: MachineId) -> list[str]:
        """What is told of the machine's points."""
        found = dict(self.found)
        return [found[point_id] for point_id in sorted(found) if parse_point_id(point_id)[0] == machine_id]

    def newest(self) -> int:
        """The highest number of a damaged point, 0 if there is none; of points of one machine."""
        return max((parse_point_id(point_id)[1] for point_id in self.found), default=0)

    def cannot_be_counted(self, machine_id: MachineId, text: str) -> RepositoryDamaged:
        """Why counting back to a point of the machine is refused."""
        return RepositoryDamaged(
            f"'{text}' cannot be counted: {' '.join(self.of(machine_id))} Nothing was done.",
            hint="Name the point by its number: twinhull points list",
        )


def point_by_name(repository: Repository, machine_id: MachineId, text: str, now: datetime) -> Point:
    """The machine's point of that name; raises UsageError, NotFound.

    Raises RepositoryDamaged if it is to be counted back to, or found by its time, over a point that cannot be read:
    that one may count, or be divergent, so another one than the one that is meant could be found. Damage that is older
    than it does not matter.
    """
    damages = Damages()

    def note(point_id: PointId, error: RepositoryError) -> None:
        if not isinstance(error, NotAuthentic):  # what no holder of the keys wrote was never a point
            damages.note(point_id, error)

    points = repository.points(machine_id, note)
    try:
        found = resolve_point(points, text, now)
    except NotFound:
        if is_counted(text) and damages.found:
            raise damages.cannot_be_counted(machine_id, text) from None
        raise
    if is_counted(text) and damages.newest() > found.sequence:
        raise damages.cannot_be_counted(machine_id, text)
    return found
