"""Points whose documents cannot be read: passed over and told, so that one of them does not hold up its machine.

Never where points are let go, nor where they are counted: one that cannot be read is not one that is gone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from twinhull.model.machine import MachineId, PointId
from twinhull.recovery.points_by_name import resolve_point
from twinhull.replication.context import tell_damage
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


def point_by_name(repository: Repository, machine_id: MachineId, text: str) -> Point:
    """The machine's point of that name; raises UsageError, NotFound.

    Raises RepositoryDamaged where it is to be counted back to over points that cannot all be read: another one than the
    one that is meant would be found.
    """
    damages = Damages()

    def note(point_id: PointId, error: RepositoryError) -> None:
        if not isinstance(error, NotAuthentic):  # what no holder of the keys wrote was never a point
            damages.note(point_id, error)

    points = repository.points(machine_id, note)
    if text.strip().startswith("N") and damages.found:
        raise RepositoryDamaged(
            f"'{text}' cannot be counted: {' '.join(damages.of(machine_id))} Nothing was done.",
            hint="Name the point by its number: twinhull points list",
        )
    return resolve_point(points, text)
