"""The names of the objects that are about points: ``point-…``, ``removal-…`` and ``hold-…``, by machine and number."""

from __future__ import annotations

from collections.abc import Iterator

from twinhull.model.errors import UsageError
from twinhull.model.machine import MachineId, PointId
from twinhull.repository.format.documents import Documents
from twinhull.repository.format.ids import parse_point_id, point_id

KINDS = ("point", "removal", "hold")


def object_name(kind: str, wanted: PointId) -> str:
    """The plain name of a point's object of some kind: ``point``, ``removal``, ``hold``."""
    machine_id, sequence = parse_point_id(wanted)
    return f"{kind}-{machine_id}-{sequence:08d}"


def named(name: str, kind: str) -> PointId | None:
    """The point that an object is about, or None if its name is none of ours."""
    machine_id, _, sequence = name.removeprefix(f"{kind}-").rpartition("-")
    try:
        return point_id(*parse_point_id(f"{machine_id}/{sequence}"))
    except UsageError:
        return None


def listed(documents: Documents, kind: str, machine_id: MachineId | None = None) -> Iterator[tuple[PointId, bool]]:
    """The points, of one machine or all, that there are such objects of, and whether the name proves that."""
    prefix = f"{kind}-{machine_id}-" if machine_id else f"{kind}-"
    for plain, is_tagged in documents.listed(prefix):
        if found := named(plain, kind):
            yield found, is_tagged


def misnamed(documents: Documents) -> list[str]:
    """Objects among those of points that are named as nothing of a repository is."""
    return [plain for kind in KINDS for plain, _ in documents.listed(f"{kind}-") if not named(plain, kind)]
