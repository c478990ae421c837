"""The objects ``removal-…``: which points are on their way out.

They are written under tagged names, which prove themselves. Format 1.0 wrote plain names: such a removal is opened,
once in a process, before it counts.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime

from twinhull.model.machine import MachineId, PointId
from twinhull.model.ports import Clock
from twinhull.repository.errors import NotAuthentic, ObjectMissing, RepositoryDamaged
from twinhull.repository.format.documents import UNREADABLE, Document, Documents
from twinhull.repository.format.envelope import ObjectKind
from twinhull.repository.format.point_names import listed, object_name


@dataclass(frozen=True, slots=True)
class Removal:
    """A point on its way out. ``removed_at`` is the wall clock of the request, informational.

    ``mark`` tells it from every other removal of the same point; it is empty if the removal cannot be read.
    """

    point_id: PointId
    removed_at: datetime
    reason: str
    mark: str


@dataclass(frozen=True, slots=True)
class Removals:
    """The removals in a store."""

    documents: Documents
    clock: Clock
    _opened: set[PointId] = field(default_factory=set)
    """Points with a removal under its plain name that was opened."""

    def among(self, points: Collection[PointId] | None, machine_id: MachineId | None = None) -> set[PointId]:
        """The points, of some or of all (None), that are removed."""
        proven: set[PointId] = set()
        claimed: set[PointId] = set()
        for found, is_tagged in listed(self.documents, "removal", machine_id):
            (proven if is_tagged else claimed).add(found)
        looked_for = claimed - proven if points is None else (claimed - proven).intersection(points)
        return proven | {found for found in looked_for if self._is_claim_true(found)}

    def has(self, wanted: PointId) -> bool:
        """Whether the point is removed."""
        return self.documents.exists(self.documents.tagged(_name(wanted))) or self._is_claim_true(wanted)

    def is_there(self, wanted: PointId) -> bool:
        """Whether anything is named as a removal of the point, junk included."""
        return self.documents.is_there(_name(wanted))

    def create(self, wanted: PointId, reason: str) -> None:
        """Remove the point; no error if it is removed already."""
        self.documents.create(ObjectKind.REMOVAL, _name(wanted), self._content(reason))

    def keep_number(self, wanted: PointId) -> None:
        """Leave a trace that a Twinhull of format 1.0 sees, too, so that it gives the number to no other point."""
        content = self._content("its number is not reused")
        self.documents.create_plain(ObjectKind.REMOVAL, _name(wanted), content)

    def drop(self, wanted: PointId) -> None:
        """Forget the removal of a point."""
        self.documents.delete(_name(wanted))
        self._opened.discard(wanted)

    def read(self, wanted: PointId) -> Removal | None:
        """A point's removal, None if it was taken back since the listing."""
        try:
            return _parsed(wanted, self.documents.read(ObjectKind.REMOVAL, _name(wanted)))
        except ObjectMissing:
            return None
        except UNREADABLE as error:
            hint = f"Take the removal back with 'twinhull points take-back {wanted}', then remove the point again."
            return Removal(wanted, datetime.fromtimestamp(0, UTC), f"{error.message} {hint}", mark="")

    def _is_claim_true(self, wanted: PointId) -> bool:
        if wanted in self._opened and self.documents.exists(_name(wanted)):
            return True
        try:
            self.documents.open(ObjectKind.REMOVAL, _name(wanted))
        except (ObjectMissing, NotAuthentic):
            self._opened.discard(wanted)
            return False
        except UNREADABLE:
            return True
        self._opened.add(wanted)
        return True

    def _content(self, reason: str) -> bytes:
        return json.dumps({"removed_at": self.clock.now().astimezone(UTC).isoformat(), "reason": reason}).encode()


def _name(wanted: PointId) -> str:
    return object_name("removal", wanted)


def _parsed(wanted: PointId, found: Document) -> Removal:
    try:
        raw = json.loads(found.content)
        removed_at = datetime.fromisoformat(raw["removed_at"]).astimezone(UTC)
        return Removal(wanted, removed_at, str(raw["reason"]), found.mark)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RepositoryDamaged(f"The object '{found.name}' holds no removal: {error!r}.") from error
