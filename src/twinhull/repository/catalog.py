"""The points of a repository: listing, publishing, removing with a way back, holding.

Objects, by machine and sequence number: ``point-…`` (the point), ``removal-…`` (it is on its way out, and can be
taken back) and ``hold-…`` (no retention may let it go).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from twinhull.model.errors import NotFound, SafetyError, UsageError
from twinhull.model.machine import MachineId, PointId
from twinhull.model.ports import Ports
from twinhull.repository.collection_state import latest_state
from twinhull.repository.envelope import HEADER, SALT_BYTES, ObjectKind, seal, unseal
from twinhull.repository.errors import (
    ObjectExists,
    ObjectMissing,
    PointConflict,
    RepositoryDamaged,
    RepositoryError,
    RepositoryVersionTooNew,
)
from twinhull.repository.ids import MAX_SEQUENCE, checked_machine_id, parse_point_id, point_id
from twinhull.repository.keys import Keys
from twinhull.repository.points import DiskRoot, Point, PointDocument, decode_point, encode_point
from twinhull.repository.store.contract import Store

OnDamage = Callable[[PointId, RepositoryError], None]
"""Told of each point whose document cannot be read; without it, the first such document ends the listing."""


@dataclass(frozen=True, slots=True)
class Numbering:
    """Which number a point gets: the next one, the next one if it is ``expected``, or ``exact`` (for a copy)."""

    expected: int | None = None
    exact: int | None = None


@dataclass(frozen=True, slots=True)
class Removal:
    """A point on its way out. ``removed_at`` is the wall clock of the request, informational.

    ``mark`` tells it from every other removal of the same point.
    """

    point_id: PointId
    removed_at: datetime
    reason: str
    mark: str


class Catalog:
    """The point documents in a store."""

    def __init__(self, store: Store, keys: Keys, ports: Ports) -> None:
        self._store = store
        self._keys = keys
        self._ports = ports

    def points(self, machine_id: MachineId | None = None, on_damage: OnDamage | None = None) -> list[Point]:
        """The points that are not removed, by machine and sequence; see ``OnDamage``."""
        removed = set(self._ids("removal", machine_id))
        wanted = [point for point in self._ids("point", machine_id) if point not in removed]
        return list(self._read_all(wanted, on_damage))

    def all_points(self, on_damage: OnDamage | None = None, without: Collection[PointId] = ()) -> list[Point]:
        """Every point whose content must stay, those on their way out included."""
        wanted = [point for point in self._ids("point", None) if point not in without]
        return list(self._read_all(wanted, on_damage))

    def point(self, wanted: PointId) -> Point:
        """One point; raises NotFound, also where it is removed."""
        parse_point_id(wanted)
        if self._exists("removal", wanted):
            raise NotFound(f"The point {wanted} is removed.", hint="It may still be possible to take the removal back.")
        return self._read(wanted)

    def publish(self, document: PointDocument, numbering: Numbering, bases: Collection[DiskRoot]) -> tuple[Point, int]:
        """Make the point visible under its number; also its size as an object. Raises PointConflict."""
        machine_id = checked_machine_id(document.machine_id)
        self._check_bases(machine_id, bases)
        while True:
            sequence = numbering.exact or self.next_sequence(machine_id)
            if numbering.expected not in (None, sequence):
                raise _conflict(machine_id, numbering.expected)
            point = Point(sequence, document)
            sealed = self._sealed(ObjectKind.POINT, object_name("point", point.id), encode_point(point))
            if self._create(object_name("point", point.id), sealed):
                return point, len(sealed)
            if numbering.exact:
                raise _conflict(machine_id, numbering.exact)

    def next_sequence(self, machine_id: MachineId) -> int:
        """One more than the highest number that the machine's points and removals have."""
        taken = [parse_point_id(found)[1] for kind in ("point", "removal") for found in self._ids(kind, machine_id)]
        sequence = max(taken, default=0) + 1
        if sequence > MAX_SEQUENCE:
            raise UsageError(f"Machine {machine_id} has used up its {MAX_SEQUENCE} sequence numbers.")
        return sequence

    def remove(self, wanted: PointId, reason: str) -> None:
        """Put a point on its way out; raises NotFound, SafetyError for a held point."""
        if not self._exists("point", wanted) or self._exists("removal", wanted):
            raise NotFound(f"There is no point {wanted} in {self._store.url}.")
        if self._exists("hold", wanted):
            raise SafetyError(
                f"The point {wanted} is held, and was not removed.",
                hint=f"Where nobody needs it any more: twinhull points release {wanted}",
            )
        content = {"removed_at": self._ports.clock.now().astimezone(UTC).isoformat(), "reason": reason}
        name = object_name("removal", wanted)
        self._create(name, self._sealed(ObjectKind.REMOVAL, name, json.dumps(content).encode()))

    def take_back(self, wanted: PointId) -> Point:
        """Undo a removal; raises NotFound where the point is gone, or was not removed."""
        parse_point_id(wanted)
        if not self._exists("removal", wanted):
            raise NotFound(f"The point {wanted} is not on its way out.")
        point = self._read(wanted)
        self._refuse_final(wanted)
        self._store.delete(object_name("removal", wanted))
        self._refuse_final(wanted)  # a collection that began meanwhile looks for the removal after it has said so
        return point

    def forget(self, wanted: PointId) -> None:
        """Delete a point whose removal is final, unless that was taken back at the last moment."""
        if self._exists("removal", wanted):
            self._store.delete(object_name("point", wanted))

    def forget_traces(self) -> None:
        """Delete the removals and holds of points that are gone, but keep the removal of a machine's highest number."""
        points = set(self._ids("point", None))
        gone = [found for found in self._ids("removal", None) if found not in points]
        for found in gone:
            machine_id, sequence = parse_point_id(found)
            if sequence < self.next_sequence(machine_id) - 1:
                self._store.delete(object_name("removal", found))
        for found in self._ids("hold", None):
            if found not in points:
                self._store.delete(object_name("hold", found))

    def removals(self) -> list[Removal]:
        """The points on their way out."""
        return [removal for wanted in self._ids("removal", None) if (removal := self._removal(wanted))]

    def removed_ids(self) -> set[PointId]:
        """Whatever has a removal, also where the point itself is gone."""
        return set(self._ids("removal", None))

    def hold(self, wanted: PointId, reason: str) -> None:
        """Keep a point from every retention and removal; no error where it is held already, for whatever reason.

        Raises NotFound, also where it was removed at the same moment: such a point stays, and can be taken back.
        """
        self.point(wanted)
        name = object_name("hold", wanted)
        self._create(name, self._sealed(ObjectKind.HOLD, name, json.dumps({"reason": reason}).encode()))
        self.point(wanted)

    def release(self, wanted: PointId) -> None:
        """Hold the point no more; raises NotFound where it is not held."""
        if not self._exists("hold", wanted):
            raise NotFound(f"The point {wanted} is not held.")
        self._store.delete(object_name("hold", wanted))

    def hold_reason(self, wanted: PointId) -> str | None:
        """Why the point is held, None where it is not; raises RepositoryDamaged where that cannot be read."""
        name = object_name("hold", wanted)
        try:
            content = unseal(self._keys, ObjectKind.HOLD, name, self._store.read(name))
        except ObjectMissing:
            return None
        try:
            return str(json.loads(content)["reason"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise RepositoryDamaged(f"The object '{name}' holds no hold: {error!r}.") from error

    def held(self) -> set[PointId]:
        """The points that are held."""
        return set(self._ids("hold", None))

    def _ids(self, kind: str, machine_id: MachineId | None) -> list[PointId]:
        prefix = f"{kind}-{machine_id}-" if machine_id else f"{kind}-"
        named = (_named(info.name, kind) for info in self._store.list(prefix))
        return [found for found in named if found]

    def misnamed(self) -> list[str]:
        """Objects among the points that are named as nothing of a repository is."""
        kinds = ("point", "removal", "hold")
        return [info.name for kind in kinds for info in self._store.list(f"{kind}-") if not _named(info.name, kind)]

    def _read_all(self, wanted: Collection[PointId], on_damage: OnDamage | None) -> Iterator[Point]:
        for one in wanted:
            try:
                yield self._read(one)
            except (RepositoryDamaged, RepositoryVersionTooNew) as error:
                if not on_damage:
                    raise
                on_damage(one, error)
            except NotFound:  # removed for good since the listing
                continue

    def _read(self, wanted: PointId) -> Point:
        name = object_name("point", wanted)
        try:
            point = decode_point(unseal(self._keys, ObjectKind.POINT, name, self._store.read(name)), name)
        except ObjectMissing:
            raise NotFound(f"There is no point {wanted} in {self._store.url}.") from None
        if point.id != wanted:
            raise RepositoryDamaged(f"The object '{name}' holds another point: {point.id}.")
        return point

    def _removal(self, wanted: PointId) -> Removal | None:
        """A point's removal, None where it was taken back since the listing, or where the point is gone."""
        name = object_name("removal", wanted)
        if not self._exists("point", wanted):
            return None
        try:
            sealed = self._store.read(name)
        except ObjectMissing:
            return None
        try:
            return self._parsed_removal(wanted, sealed)
        except RepositoryDamaged as error:
            raise RepositoryDamaged(
                error.message,
                hint=f"'twinhull points take-back {wanted}' drops the removal; then the point can be removed anew.",
            ) from error

    def _parsed_removal(self, wanted: PointId, sealed: bytes) -> Removal:
        name = object_name("removal", wanted)
        content = unseal(self._keys, ObjectKind.REMOVAL, name, sealed)
        mark = sealed[HEADER.size - SALT_BYTES : HEADER.size].hex()
        try:
            raw = json.loads(content)
            removed_at = datetime.fromisoformat(raw["removed_at"]).astimezone(UTC)
            return Removal(wanted, removed_at, str(raw["reason"]), mark)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise RepositoryDamaged(f"The object '{name}' holds no removal: {error!r}.") from error

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
                "The point that this capture builds on is gone from the repository, so the new one was not published.",
                hint="Repeat it, and it builds on the latest point that is there: twinhull sync MACHINE",
            )

    def _refuse_final(self, wanted: PointId) -> None:
        try:
            state = latest_state(self._store, self._keys)
        except RepositoryDamaged:  # then the next collection lets everything wait anew
            return
        if state and wanted in state.final:
            raise SafetyError(
                f"The removal of the point {wanted} has waited out its grace and is being carried out.",
                hint="See whether it is still listed.",
            )

    def _sealed(self, kind: ObjectKind, name: str, content: bytes) -> bytes:
        return seal(self._keys, kind, name, self._ports.randomness.token(SALT_BYTES), content)

    def _create(self, name: str, sealed: bytes) -> bool:
        """Whether the object is ours. A creation that was answered twice (a retry) finds its own object there."""
        try:
            self._store.create(name, [sealed])
        except ObjectExists:
            return self._store.read(name) == sealed
        return True

    def _exists(self, kind: str, wanted: PointId) -> bool:
        try:
            self._store.size(object_name(kind, wanted))
        except ObjectMissing:
            return False
        return True


def object_name(kind: str, wanted: PointId) -> str:
    """The name of a point's object of some kind: ``point``, ``removal``, ``hold``."""
    machine_id, sequence = parse_point_id(wanted)
    return f"{kind}-{machine_id}-{sequence:08d}"


def _named(name: str, kind: str) -> PointId | None:
    """The point that an object is about, or None where its name is none of ours."""
    machine_id, _, sequence = name.removeprefix(f"{kind}-").rpartition("-")
    try:
        return point_id(*parse_point_id(f"{machine_id}/{sequence}"))
    except UsageError:
        return None


def _conflict(machine_id: MachineId, number: int | None) -> PointConflict:
    return PointConflict(
        f"The point of machine {machine_id} was to be number {number}, but another has been published meanwhile; "
        "nothing was published.",
        hint="Another capture of this machine was faster. Capture again.",
    )
