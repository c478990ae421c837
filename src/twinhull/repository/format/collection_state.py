"""What collection is waiting for, from one run to the next: a numbered document in the store."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from twinhull.model.machine import PointId
from twinhull.repository.errors import RepositoryDamaged
from twinhull.repository.format.documents import Documents
from twinhull.repository.format.envelope import ObjectKind
from twinhull.repository.format.ids import PackId, parse_point_id
from twinhull.repository.format.numbered import Numbered

GRACE_SECONDS = 7 * 86_400.0
"""How long a removal can be taken back, and how long a pack stays after nothing seems to use it any more."""


@dataclass(frozen=True, slots=True)
class CollectionState:
    """What one run of collection has decided. ``packs`` and ``removals`` carry the seconds credited to each so far.

    ``marks`` say which removal of a point it was that has waited. ``expired`` are the packs that the run deletes, or an
    earlier one still may: no point relies on them any more. ``points`` are those that the run has read and leaves.
    """

    number: int
    observed_at: datetime
    packs: Mapping[PackId, float] = field(default_factory=dict)
    removals: Mapping[PointId, float] = field(default_factory=dict)
    final: tuple[PointId, ...] = ()
    marks: Mapping[PointId, str] = field(default_factory=dict)
    expired: frozenset[PackId] = frozenset()
    points: frozenset[PointId] = frozenset()


class EveryPack(Container[object]):
    """Stands for all packs, where it is not known which ones are condemned."""

    def __contains__(self, _: object) -> bool:
        return True


def states(documents: Documents) -> Numbered:
    """Where the decisions of all runs are."""
    return Numbered(documents, ObjectKind.COLLECTION)


def store_state(documents: Documents, state: CollectionState) -> bool:
    """Write a run's decisions; whether they are in force, or another run was faster."""
    content = {
        "observed_at": state.observed_at.isoformat(),
        "packs": {pack_id.hex(): seconds for pack_id, seconds in state.packs.items()},
        "removals": dict(state.removals),
        "final": list(state.final),
        "marks": dict(state.marks),
        "expired": sorted(pack_id.hex() for pack_id in state.expired),
        "points": sorted(state.points),
    }
    return states(documents).create(state.number, json.dumps(content).encode())


def latest_state(documents: Documents) -> CollectionState | None:
    """What the last run has decided, None if none ever ran; raises RepositoryDamaged."""
    found = states(documents).latest()
    return _decoded(*found) if found else None


def condemned_packs(documents: Documents) -> Container[object]:
    """The packs that no new point may build on. Where that cannot be read, it is all of them: storing twice is safe."""
    try:
        state = latest_state(documents)
    except RepositoryDamaged:
        return EveryPack()
    return frozenset(state.packs) if state else frozenset()


def points_of_last_collection(documents: Documents) -> frozenset[PointId]:
    """The points that the last collection read and left: an object of such a name that does not open is damaged.

    That needs no belief in names: only a collection deletes points, and whoever may only add objects replaces none.
    """
    try:
        state = latest_state(documents)
    except RepositoryDamaged:
        return frozenset()
    return state.points if state else frozenset()


def _decoded(number: int, content: bytes) -> CollectionState:
    try:
        raw = json.loads(content)
        points = raw.get("points", [])  # an older Twinhull does not say which ones it left
        for point_id in [*raw["removals"], *raw["final"], *points]:
            parse_point_id(point_id)
        packs = {PackId(bytes.fromhex(pack)): float(seconds) for pack, seconds in raw["packs"].items()}
        # An older Twinhull does not list what it deletes: it is all that has waited for the grace.
        expired = raw.get("expired", [pack.hex() for pack, seconds in packs.items() if seconds >= GRACE_SECONDS])
        return CollectionState(
            number=number,
            observed_at=datetime.fromisoformat(raw["observed_at"]).astimezone(UTC),
            packs=packs,
            removals={PointId(point): float(seconds) for point, seconds in raw["removals"].items()},
            final=tuple(PointId(point) for point in raw["final"]),
            marks={PointId(point): str(mark) for point, mark in raw.get("marks", {}).items()},
            expired=frozenset(PackId(bytes.fromhex(pack)) for pack in expired),
            points=frozenset(PointId(point) for point in points),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RepositoryDamaged(f"The note of collection {number} holds no collection: {error!r}.") from error
