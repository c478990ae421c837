"""Replica: from a restore point to the powered-off twin on another site.

::

    what is known of each disk ─▶ standing: dirty, at no known point ─▶ prepare (disks added, grown, removed)
        ─▶ standing: dirty, from the old point to P ─▶ per disk: write P's content where it may differ ─▶ flush
        ─▶ standing: clean, at P

A kill anywhere leaves the standing dirty; the next one drives it forward, to the same point or to a later one: by the
trees where the standing says from where to where, by a full comparison where it does not.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from twinhull.actions.cleaning import clean_leftovers
from twinhull.actions.context import Context, Stopwatch
from twinhull.model.codec import spec_from_json
from twinhull.model.errors import AlreadyExists, DataError, NotFound, StaleEpoch, StillRunning
from twinhull.model.lacks import Lack, lacks_to_json
from twinhull.model.machine import (
    BootMode,
    DiskKey,
    MachineId,
    MachineSpec,
    MachineStatus,
    PointId,
    Role,
    SiteName,
    Standing,
)
from twinhull.model.steps import JsonValue
from twinhull.platforms.contract import ReplicaRequest, Site
from twinhull.replication.applying import Applied, apply_disk, places_between, verify_disk
from twinhull.replication.bases import capture_of
from twinhull.replication.divergent import is_unkept, keep_divergent, told
from twinhull.replication.known import Known, believed, what_is_known
from twinhull.repository import ChunkLost, DiskRoot, Point


@dataclass(frozen=True, slots=True)
class ReplicaOrder:
    """Which point is to be brought where, in which epoch, and by which run's claim.

    ``role`` is what the standing says from the first change on: a replica, or a primary that is rolled back where it
    is. ``spec`` None is the point's own. ``is_dropping_divergent``: what the side had written after it lost the machine
    is overwritten without being kept. ``staying`` are disks of ``spec`` that the point does not know: their content
    stays. ``primary`` is the site that the replica follows.
    """

    site: SiteName
    point: Point
    epoch: int
    claim: str
    networks: Mapping[str, str] = field(default_factory=dict)
    boot_mode: BootMode | None = None
    role: Role = Role.REPLICA
    spec: MachineSpec | None = None
    is_verifying: bool = False
    is_dropping_divergent: bool = False
    primary: str = ""
    staying: frozenset[DiskKey] = frozenset()

    @property
    def wanted(self) -> MachineSpec:
        """What the machine shall be."""
        return self.spec or spec_from_json(self.point.document.spec)

    @property
    def brought(self) -> list[DiskKey]:
        """The disks that get the point's content."""
        return [disk.key for disk in self.wanted.disks if disk.key not in self.staying]


@dataclass(frozen=True, slots=True)
class Brought:
    """What bringing a replica to its point took.

    ``obstacles`` would keep it from starting there, ``lacks`` are what it lacks of its machine; both are reasons, too.
    """

    written_bytes: int
    read_bytes: int
    reasons: tuple[str, ...]
    obstacles: tuple[str, ...]
    lacks: tuple[Lack, ...]
    seconds: dict[str, JsonValue]
    divergent_point_id: PointId | None = None

    def facts(self) -> dict[str, JsonValue]:
        """As facts of a run."""
        return {
            **({"divergent_point_id": self.divergent_point_id} if self.divergent_point_id else {}),
            "replica_written_bytes": self.written_bytes,
            "replica_read_bytes": self.read_bytes,
            "obstacles": [*self.obstacles],
            "lacks": lacks_to_json(self.lacks),
            **self.seconds,
        }


def bring_replica(context: Context, order: ReplicaOrder) -> Brought:
    """Bring the machine on the order's site to exactly the order's point.

    Raises StillRunning, StaleEpoch, AlreadyExists (a machine of that id is there which is none of our replicas),
    TargetTooSmall, SiteFull, SiteUnreachable, DataError; the standing stays dirty where something was half applied.
    """
    return _Bringing(context, order).run()


def find(site: Site, machine_id: str) -> MachineStatus | None:
    """The machine's status on a site, or None where it is not there."""
    return next((status for status in site.inventory.machines() if status.spec.machine_id == machine_id), None)


def find_with_standing(site: Site, machine_id: MachineId) -> tuple[MachineStatus | None, Standing | None]:
    """The machine's status and standing on a site, in one look where the machine is there.

    Raises DataError where the standing cannot be understood.
    """
    status = find(site, machine_id)
    is_told = status and (status.standing is None or status.standing.role is not Role.UNREADABLE)
    return status, status.standing if status and is_told else site.standings.read(machine_id)


class _Bringing:
    def __init__(self, context: Context, order: ReplicaOrder) -> None:
        self._context = context
        self._order = order
        self._site = context.site(order.site)
        self._spec = order.wanted
        self._machine_id = self._spec.machine_id
        self._watch = Stopwatch(context)
        self._reasons: list[str] = []
        self._lacks: tuple[Lack, ...] = ()

    def run(self) -> Brought:
        status, standing = find_with_standing(self._site, self._machine_id)
        self._require_ours(status, standing)
        divergent = self._keep_divergent(standing) if status else None
        standing = self._site.standings.read(self._machine_id) if divergent else standing
        self._note(*clean_leftovers(self._site, self._machine_id, standing.trackers.values() if standing else ()))
        points = self._points()
        standing = believed(standing, points)
        known = what_is_known(self._spec, status.spec if status else None, standing, points)
        with self._watch.phase("prepare"):
            self._site.standings.write(self._standing(is_dirty=True))
            known = self._prepare(known, standing)
        obstacles = self._obstacles()
        with self._watch.phase("apply"):
            applied = [self._apply(key, known[key]) for key in self._order.brought]
        read_bytes = sum(item.read_bytes for item in applied)
        if self._order.is_verifying:
            with self._watch.phase("verify"):
                read_bytes += self._verify_all()
        self._site.standings.write(self._standing(is_dirty=False))
        written = sum(item.written_bytes for item in applied)
        kept = divergent.id if divergent else None
        reasons = tuple(self._reasons)
        return Brought(written, read_bytes, reasons, obstacles, self._lacks, self._watch.facts(), kept)

    def _points(self) -> dict[PointId, Point]:
        return {point.id: point for point in self._context.points(self._machine_id)}

    def _keep_divergent(self, standing: Standing | None) -> Point | None:
        """Before anything is overwritten; not where that was asked for."""
        if standing is None or self._order.is_dropping_divergent or not is_unkept(standing, self._points()):
            return None
        with self._watch.phase("keep"):
            point = keep_divergent(self._context, self._machine_id, self._order.site, standing)
        self._note(*([told(point)] if point else []))
        return point

    def _note(self, *reasons: str) -> None:
        for reason in reasons:
            self._reasons.append(reason)
            self._context.on_reason(reason)

    def _require_ours(self, status: MachineStatus | None, standing: Standing | None) -> None:
        name, site = self._spec.name, self._order.site
        if status and standing is None:
            raise AlreadyExists(
                f"{site} has a machine {status.spec.name} with the id {self._machine_id} that Twinhull did not make; "
                "it was left as it is.",
                hint="Remove or move that machine if its disks may be replaced by the replica's.",
            )
        if status and not status.power.is_off:
            raise StillRunning(
                f"{name} runs on {site}, where its replica is; its disks were left as they are.",
                hint=f"Find out what started it there, shut it down, and repeat: twinhull sync {name}",
            )
        if standing and standing.role is Role.PRIMARY and self._order.role is Role.REPLICA:
            raise StaleEpoch(
                f"{name} is primary on {site} in epoch {standing.epoch}: it is not made a replica there.",
                hint="See 'twinhull status' for where the machine runs.",
            )

    def _standing(self, *, is_dirty: bool) -> Standing:
        point_id = self._order.point.id
        return Standing(
            self._machine_id,
            self._order.role,
            self._order.epoch,
            point_id=None if is_dirty else point_id,
            is_dirty=is_dirty,
            applying_point_id=point_id if is_dirty else None,
            claim=self._order.claim,
            capture="" if is_dirty else capture_of(self._order.point),
            elsewhere=self._order.primary,
        )

    def _prepare(self, known: dict[DiskKey, Known], standing: Standing | None) -> dict[DiskKey, Known]:
        """Make the disks follow. Until it is known what was made anew, no point is said to be there at all."""
        changes = self._site.replicas.prepare(ReplicaRequest(self._spec, self._order.networks, self._order.boot_mode))
        self._lacks = changes.lacks
        self._note(*changes.reasons, *(lack.reason for lack in changes.lacks))
        is_as_expected = all(known[key].is_to_be_made for key in changes.new_disks) and not changes.is_new
        if standing and standing.point_id and is_as_expected and all(disk.can_be_told_again for disk in known.values()):
            told = replace(self._standing(is_dirty=True), point_id=standing.point_id, capture=standing.capture)
            self._site.standings.write(told)
        return {key: _after_preparing(key, disk, changes.new_disks) for key, disk in known.items()}

    def _obstacles(self) -> tuple[str, ...]:
        found = tuple(self._site.power.obstacles(self._machine_id))
        self._note(*(f"{self._spec.name} would not start on {self._order.site}: {obstacle}" for obstacle in found))
        return found

    def _apply(self, key: DiskKey, known: Known) -> Applied:
        disk = self._order.point.disk(key)
        if disk is None:
            raise NotFound(f"The point {self._order.point.id} has no disk {key}.")
        try:
            return self._applied(key, known, disk.root)
        except ChunkLost:
            if known.is_unknown:
                raise
        return self._applied(key, Known(reason=f"What disk {key} was brought to before is damaged."), disk.root)

    def _applied(self, key: DiskKey, known: Known, root: DiskRoot) -> Applied:
        if known.is_unknown:
            self._note(f"{known.reason} It is compared in full; only what differs is written.")
        elif next(places_between(self._context.repository, known, root), None) is None:
            return Applied()  # nothing differs: the disk need not even be opened
        with self._site.disks.writing(self._machine_id, key) as door:
            return apply_disk(self._context, door, key, root, known)

    def _verify_all(self) -> int:
        try:
            return sum(self._verify(key) for key in self._order.brought)
        except DataError:
            # No point is known to be there any more: the next sync compares in full, and puts it right.
            self._site.standings.write(self._standing(is_dirty=True))
            raise

    def _verify(self, key: DiskKey) -> int:
        disk = self._order.point.disk(key)
        if disk is None:
            raise NotFound(f"The point {self._order.point.id} has no disk {key}.")
        with self._site.disks.reading(self._machine_id, key) as door:
            return verify_disk(self._context, door, key, disk.root)


def _after_preparing(key: DiskKey, known: Known, new_disks: Collection[DiskKey]) -> Known:
    if key in new_disks:
        return Known()
    if known.is_to_be_made:
        return Known(reason=f"Disk {key} was to be made anew and was there already.")
    return known
