"""The points of a repository: listing, publishing, removing with a way back.

Objects, by machine and sequence number: ``point-…`` (the point) and ``removal-…`` (it is on its way out, and can be
taken back). What holds points is in ``holds``. An object counts here only if a holder of the keys wrote it
(``documents``): junk neither hides a point, nor takes a number, nor stands in the way of a removal.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cached_property

from twinhull.model.errors import NotFound, SafetyError, UsageError
from twinhull.model.machine import MachineId, PointId
from twinhull.model.ports import Ports
from twinhull.repository.errors import (
    NotAuthentic,
    ObjectMissing,
    PointConflict,
    RepositoryDamaged,
    RepositoryError,
)
from twinhull.repository.format.collection_state import latest_state, points_of_last_collection
from twinhull.repository.format.documents import UNREADABLE, Documents
from twinhull.repository.format.envelope import HEADER, TAG_BYTES, ObjectKind
from twinhull.repository.format.ids import MAX_SEQUENCE, checked_machine_id, parse_point_id, point_id
from twinhull.repository.format.keyring import Keys
from twinhull.repository.format.point_names import listed, misnamed, object_name
from twinhull.repository.format.points import DiskRoot, Point, PointDocument, decode_point, encode_point
from twinhull.repository.format.removals import Removal, Removals
from twinhull.repository.store.contract import Store

OnDamage = Callable[[PointId, RepositoryError], None]
"""Called for each point whose document cannot be read. The error is NotAuthentic if no holder of the keys wrote it.

Without it, the first document that a holder of the keys wrote and that cannot be read ends the listing.
"""
_Number = tuple[int, ObjectKind, bool]
"""A point's number, the kind of object that says so, and whether its name proves it."""
PLAIN_ATTEMPTS = 8
"""How often a point tries the next free number. After that it takes a name that only a holder of the keys can guess."""


@dataclass(frozen=True, slots=True)
class Numbering:
    """Which number a point gets: the next one, the next one if it is ``expected``, or ``exact`` (for a copy)."""

    expected: int | None = None
    exact: int | None = None


@dataclass(frozen=True)
class _Evidence:
    """What is known of objects that do not open, read once for a whole listing, and only if there is such an object."""

    documents: Documents

    @cached_property
    def points(self) -> frozenset[PointId]:
        """The points that were whole when the last collection ran."""
        return points_of_last_collection(self.documents)


class Catalog:
    """The point documents in a store."""

    def __init__(self, store: Store, keys: Keys, ports: Ports) -> None:
        self._store = store
        self.documents = Documents(store, keys, ports.randomness)
        self._removals = Removals(self.documents, ports.clock)

    def points(self, machine_id: MachineId | None = None, on_damage: OnDamage | None = None) -> list[Point]:
        """The points that are not removed, by machine and sequence; see ``OnDamage``."""
        found = self._ids("point", machine_id)
        removed = self._removals.among(found, machine_id)
        return list(self._read_all([point for point in found if point not in removed], on_damage))

    def all_points(self, on_damage: OnDamage | None = None, without: Collection[PointId] = ()) -> list[Point]:
        """Every point whose content must stay, those on their way out included."""
        wanted = [point for point in self._ids("point", None) if point not in without]
        return list(self._read_all(wanted, on_damage))

    def point(self, wanted: PointId) -> Point:
        """One point; raises NotFound, also if it is removed."""
        parse_point_id(wanted)
        if self._removals.has(wanted):
            raise NotFound(
                f"The point {wanted} is removed.",
                hint="To see whether it can still be taken back: twinhull points list --removed",
            )
        return self._read(wanted)

    def publish(self, document: PointDocument, numbering: Numbering, bases: Collection[DiskRoot]) -> tuple[Point, int]:
        """Make the point visible under its number; also its size as an object. Raises PointConflict."""
        machine_id = checked_machine_id(document.machine_id)
        self._check_bases(machine_id, bases)
        for attempt in range(MAX_SEQUENCE):
            sequence = numbering.exact or self.next_sequence(machine_id)
            if numbering.expected not in (None, sequence):
                raise _conflict(machine_id, numbering.expected)
            point = Point(sequence, document)
            content = encode_point(point)
            is_plain = numbering.exact is None and attempt < PLAIN_ATTEMPTS
            create = self.documents.create_plain if is_plain else self.documents.create
            if create(ObjectKind.POINT, object_name("point", point.id), content):
                return point, HEADER.size + len(content) + TAG_BYTES
            if numbering.exact:
                break
        raise _conflict(machine_id, numbering.exact)

    def next_sequence(self, machine_id: MachineId) -> int:
        """The first number above all points and removals that the machine has or had, and that no junk has."""
        numbers = self._numbers(machine_id)
        taken = {sequence for sequence, kind, _ in numbers if kind is ObjectKind.POINT}
        sequence = self._highest(machine_id, numbers) + 1
        while sequence in taken:
            sequence += 1
        if sequence > MAX_SEQUENCE:
            raise UsageError(f"Machine {machine_id} has no sequence numbers left (at most {MAX_SEQUENCE}).")
        return sequence

    def highest_sequence(self, machine_id: MachineId) -> int:
        """The highest number that a point of the machine has or had, 0 if it never had any."""
        return self._highest(machine_id, self._numbers(machine_id))

    def machine_ids(self) -> set[MachineId]:
        """The machines that any object claims to be of."""
        return {parse_point_id(found)[0] for kind in ("point", "removal") for found in self._ids(kind, None)}

    def remove(self, wanted: PointId, reason: str, held: Callable[[PointId], bool]) -> None:
        """Put a point on its way out; raises NotFound, SafetyError for a held point.

        Junk that is named as a point can be removed like one.
        """
        if not self.documents.is_there(object_name("point", wanted)) or self._removals.has(wanted):
            raise NotFound(f"There is no point {wanted} in {self._store.url}.")
        if held(wanted):
            raise SafetyError(
                f"The point {wanted} is held. It was not removed.",
                hint=f"If it is no longer needed: twinhull points release {wanted}",
            )
        self._removals.create(wanted, reason)

    def take_back(self, wanted: PointId) -> Point:
        """Undo a removal; raises NotFound if the point is gone, or was not removed."""
        if not self._removals.is_there(wanted):
            raise NotFound(f"The point {wanted} is not removed.")
        point = self._read(wanted)
        self._refuse_final(wanted)
        self._removals.drop(wanted)
        self._refuse_final(wanted)  # a collection that began meanwhile looks for the removal after it has said so
        return point

    def forget(self, wanted: PointId) -> None:
        """Delete a point whose removal is final, unless that was taken back at the last moment."""
        if self._removals.has(wanted):
            self.documents.delete(object_name("point", wanted))

    def forget_traces(self) -> None:
        """Delete the removals of points that are gone, but keep the removal of a machine's highest number."""
        gone = self.removed_ids() - set(self._ids("point", None))
        highest = {machine_id: self.highest_sequence(machine_id) for machine_id in map(_machine_of, gone)}
        for found in sorted(gone):
            if parse_point_id(found)[1] < highest[_machine_of(found)]:
                self._removals.drop(found)
            else:
                self._removals.keep_number(found)

    def removals(self) -> list[Removal]:
        """The points on their way out."""
        there = (
            wanted for wanted in sorted(self.removed_ids()) if self.documents.is_there(object_name("point", wanted))
        )
        return [removal for wanted in there if (removal := self._removals.read(wanted))]

    def removed_ids(self) -> set[PointId]:
        """Every point with a removal, also if the point itself is gone."""
        return self._removals.among(None)

    def stored_name(self, wanted: PointId) -> str:
        """The name that the point's object has in the store."""
        plain = object_name("point", wanted)
        tagged = self.documents.tagged(plain)
        return tagged if self.documents.exists(tagged) else plain

    def misnamed(self) -> list[str]:
        """Objects among the points that are named as nothing of a repository is."""
        return misnamed(self.documents)

    def _ids(self, kind: str, machine_id: MachineId | None) -> list[PointId]:
        return sorted({found for found, _ in listed(self.documents, kind, machine_id)})

    def _numbers(self, machine_id: MachineId) -> set[_Number]:
        """Every number that objects say the machine's points have or had."""
        return {
            (parse_point_id(point)[1], kind, is_tagged)
            for kind in (ObjectKind.POINT, ObjectKind.REMOVAL)
            for point, is_tagged in listed(self.documents, kind.purpose, machine_id)
        }

    def _highest(self, machine_id: MachineId, numbers: Collection[_Number]) -> int:
        for sequence, kind, is_tagged in sorted(numbers, reverse=True):
            name = object_name(kind.purpose, point_id(machine_id, sequence))
            if is_tagged or self.documents.is_authentic(kind, name):
                return sequence
        return 0

    def _read_all(self, wanted: Collection[PointId], on_damage: OnDamage | None) -> Iterator[Point]:
        evidence = _Evidence(self.documents)
        for one in wanted:
            try:
                yield self._read(one, evidence)
            except UNREADABLE as error:
                if on_damage:
                    on_damage(one, error)
                elif not isinstance(error, NotAuthentic):
                    raise
            except NotFound:  # removed for good since the listing
                continue

    def _read(self, wanted: PointId, evidence: _Evidence | None = None) -> Point:
        plain = object_name("point", wanted)
        try:
            found = self.documents.read(ObjectKind.POINT, plain)
        except ObjectMissing:
            raise NotFound(f"There is no point {wanted} in {self._store.url}.") from None
        except NotAuthentic as error:
            if wanted not in (evidence or _Evidence(self.documents)).points:
                raise
            raise _rotten(wanted, plain) from error
        point = decode_point(found.content, found.name)
        if point.id != wanted:
            raise RepositoryDamaged(f"The object '{found.name}' holds another point: {point.id}.")
        return point

    def _check_bases(self, machine_id: MachineId, bases: Collection[DiskRoot]) -> None:
        """What a disk was built on must be in a point that stays: then nothing below it can have been collected.

        A point on its way out is not enough: its removal could become final between this look and the publishing.
        """
        missing = {base for base in bases if base.node is not None}
        for near in (True, False):
            if not missing:
                return
            for point in self.points(machine_id if near else None, on_damage=lambda _id, _error: None):
                missing -= {disk.root for disk in point.document.disks}
        if missing:
            raise NotFound(
                "The point that this capture builds on is gone from the repository. No new point was made.",
                hint="Repeat the sync, which builds on the latest existing point: twinhull sync MACHINE",
            )

    def _refuse_final(self, wanted: PointId) -> None:
        try:
            state = latest_state(self.documents)
        except RepositoryDamaged:  # then the next collection lets everything wait anew
            return
        if state and wanted in state.final:
            raise SafetyError(
                f"The removal of the point {wanted} can no longer be taken back: its grace is over.",
                hint="To see whether it is still listed: twinhull points list --removed",
            )


def _rotten(wanted: PointId, name: str) -> RepositoryDamaged:
    return RepositoryDamaged(
        f"The point {wanted} was whole when the last collection ran, and its object '{name}' does not open now.",
        hint=f"Put the object back from a copy of the store, or give the point up: twinhull points remove {wanted}",
    )


def _machine_of(wanted: PointId) -> MachineId:
    return parse_point_id(wanted)[0]


def _conflict(machine_id: MachineId, number: int | None) -> PointConflict:
    return PointConflict(
        f"The point of machine {machine_id} was to become number {number}, but another run published that number "
        "first. No point was made.",
        hint="Another capture of this machine was faster. Repeat the sync.",
    )
