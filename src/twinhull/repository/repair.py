"""Bringing back what is damaged from another copy of the repository, and saying exactly what is lost."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from twinhull.model.machine import PointId
from twinhull.repository.copying import is_same_capture, write_from
from twinhull.repository.errors import ChunkLost, ObjectMissing, RepositoryDamaged
from twinhull.repository.ids import PackId
from twinhull.repository.index_table import Place
from twinhull.repository.points import Point
from twinhull.repository.repository import Repository
from twinhull.repository.verify import VerifyReport
from twinhull.repository.writer import Writer


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What a repair brought back and what it could not; ``after`` is the verification at its end."""

    repaired: tuple[PointId, ...]
    lost: tuple[PointId, ...]
    reasons: tuple[str, ...]
    after: VerifyReport


def repair(repository: Repository, other: Repository) -> RepairReport:
    """Write damaged content anew from the same points in another repository, reading all of this one twice.

    Nothing that can still be read is given up: a damaged pack goes only when everything it held has a good copy
    elsewhere in the repository.
    """
    before = repository.verify(read_data=True)
    bad = {
        PackId(bytes.fromhex(found.object_name[5:])) for found in before.findings if found.object_name[:5] == "pack-"
    }
    reasons: list[str] = []
    if bad:
        with repository.repairer(bad) as writer:
            points = {point.id: point for point in repository.points(on_damage=lambda _id, _error: None)}
            lost = [points[point_id] for point_id in before.lost_points if point_id in points]
            reasons += [_rewrite(point, other, writer) for point in lost]
            _keep_the_rest(repository, bad, writer)
            writer.flush()
        repository.drop_packs([pack_id for pack_id in bad if _is_superfluous(repository, pack_id, bad)])
    after = repository.verify(read_data=True)
    repaired = tuple(point_id for point_id in before.lost_points if point_id not in after.lost_points)
    return RepairReport(repaired, after.lost_points, tuple(reasons), after)


def _rewrite(point: Point, other: Repository, writer: Writer) -> str:
    """Store every chunk of a point that is missing, read from the other repository's point of the same id."""
    twin = next((found for found in other.points(point.machine_id) if found.id == point.id), None)
    if not twin or not is_same_capture(point, twin):
        return f"The other repository has no copy of the point {point.id}."
    for disk, there in zip(point.document.disks, twin.document.disks, strict=True):
        try:
            root = write_from(other, there.root, other.diff(None, there.root), writer, None)
        except ChunkLost as error:
            return f"The other repository's copy of the point {point.id} is damaged as well: {error.message}"
        if root != disk.root:
            return f"The other repository's copy of the point {point.id} holds another disk '{disk.key}'."
    return f"The point {point.id} was read from the other repository."


def _keep_the_rest(repository: Repository, bad: Collection[PackId], writer: Writer) -> None:
    """Copy what is still good out of the damaged packs."""
    for place in _places(repository, bad):
        try:
            content = repository.chunks.fetch(place)
        except (RepositoryDamaged, ObjectMissing):
            continue
        writer.keep(place.pack.kind, place.entry.chunk_id, content)


def _is_superfluous(repository: Repository, pack_id: PackId, bad: Collection[PackId]) -> bool:
    places = list(_places(repository, [pack_id]))
    return bool(places) and all(repository.index.find_outside(place.entry.chunk_id, bad) for place in places)


def _places(repository: Repository, pack_ids: Collection[PackId]) -> Iterator[Place]:
    for table in repository.index.tables:
        if any(pack.pack_id in pack_ids for pack in table.packs):
            yield from (place for place in table.places() if place.pack.pack_id in pack_ids)
