"""Which points are held: no retention and no removal takes them. Objects: ``hold-…``, by machine and number."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from twinhull.model.errors import NotFound
from twinhull.model.machine import PointId
from twinhull.repository.errors import NotAuthentic, ObjectMissing, RepositoryDamaged
from twinhull.repository.format.documents import UNREADABLE
from twinhull.repository.format.envelope import ObjectKind
from twinhull.repository.format.point_names import listed, object_name
from twinhull.repository.points.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Holds:
    """The holds of a repository's points."""

    catalog: Catalog
    _known: set[PointId] = field(default_factory=set)
    """Holds that were opened before, and are not opened again."""

    def hold(self, wanted: PointId, reason: str) -> None:
        """Keep a point from every retention and removal; no error if it is held already, for whatever reason.

        Raises NotFound, also if it was removed at the same moment: such a point stays, and can be taken back.
        """
        self.catalog.point(wanted)
        content = json.dumps({"reason": reason}).encode()
        self.catalog.documents.create(ObjectKind.HOLD, object_name("hold", wanted), content)
        self.catalog.point(wanted)

    def release(self, wanted: PointId) -> None:
        """Hold the point no more; raises NotFound if it is not held."""
        if not self.catalog.documents.is_there(object_name("hold", wanted)):
            raise NotFound(f"The point {wanted} is not held.")
        self.catalog.documents.delete(object_name("hold", wanted))
        self._known.discard(wanted)

    def reason(self, wanted: PointId) -> str | None:
        """Why the point is held, None if it is not; raises RepositoryDamaged if that cannot be read."""
        try:
            found = self.catalog.documents.read(ObjectKind.HOLD, object_name("hold", wanted))
        except (ObjectMissing, NotAuthentic):
            return None
        try:
            return str(json.loads(found.content)["reason"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise RepositoryDamaged(f"The object '{found.name}' holds no hold: {error!r}.") from error

    def is_held(self, wanted: PointId) -> bool:
        """Whether the point is held."""
        return self.catalog.documents.is_authentic(ObjectKind.HOLD, object_name("hold", wanted))

    def held(self) -> set[PointId]:
        """The points that are held."""
        found = set(listed(self.catalog.documents, "hold"))
        return {point for point, is_tagged in found if is_tagged or self._is_true(point)}

    def forget_traces(self) -> None:
        """Delete the holds of points that are gone. Junk stays, for a person to look at."""
        for wanted in self.held():
            if not self.catalog.documents.is_there(object_name("point", wanted)):
                self.catalog.documents.delete(object_name("hold", wanted))

    def _is_true(self, wanted: PointId) -> bool:
        if wanted not in self._known:
            try:
                self.catalog.documents.open(ObjectKind.HOLD, object_name("hold", wanted))
            except (ObjectMissing, NotAuthentic):
                return False
            except UNREADABLE:
                return True
            self._known.add(wanted)
        return True
