"""Capture: from a machine on a site to a published restore point.

::

    choose the base ─▶ clean leftovers ─▶ open the capture (freeze, instant, thaw)
        ─▶ per disk: read what changed ─▶ is the machine still there? ─▶ publish ─▶ keep the new trackers

Publishing is the last write. A kill before it leaves nothing visible; a kill after it, before the trackers are kept,
leaves the old trackers counting from the old base, so that the next capture reads a little more and loses nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from twinhull.actions.cleaning import clean_leftovers
from twinhull.actions.context import Context, Stopwatch
from twinhull.cluster.epochs import FIRST_EPOCH
from twinhull.model.codec import spec_to_json
from twinhull.model.errors import (
    DataError,
    MachineChanged,
    NotFound,
    ReplicaDirty,
    SiteError,
    SiteFull,
    SiteUnreachable,
    StaleEpoch,
)
from twinhull.model.extents import Extent
from twinhull.model.machine import DiskKey, MachineId, Role, SiteName, Standing
from twinhull.model.steps import JsonValue
from twinhull.model.units import format_bytes, format_duration
from twinhull.platforms.contract import Capture, CapturedDisk, CaptureRequest
from twinhull.replication.bases import (
    CAPTURE,
    COMPARED,
    READ,
    TRACKED,
    TRACKER,
    UNCOMPARED,
    capture_of,
    choose_base,
    followed_seconds,
)
from twinhull.replication.reading import DiskRead, NotWhole, read_disk
from twinhull.replication.remarks import after_reading, before_reading, drift
from twinhull.replication.unwritten import probes
from twinhull.repository import Point, PointDisk, PointDocument, RepositoryError, Writer, latest_point


@dataclass(frozen=True, slots=True)
class CaptureOrder:
    """What to capture. ``label`` is a plain word of at most 40 that the capture's id begins with.

    ``compare_reason`` says why no tracker is trusted this time; empty where they are.
    """

    label: str
    machine_id: MachineId
    site: SiteName
    is_freezing: bool = True
    compare_reason: str = ""


@dataclass(frozen=True, slots=True)
class Captured:
    """A published point, and what it took."""

    point: Point
    was_full_compare: bool
    source_read_bytes: int
    changed_bytes: int
    stored_bytes: int
    reasons: tuple[str, ...]
    seconds: dict[str, JsonValue]

    def facts(self) -> dict[str, JsonValue]:
        """As facts of a run."""
        document = self.point.document
        return {
            "point_id": self.point.id,
            "capture": capture_of(self.point),
            "captured_at": document.captured_at.isoformat(),
            "consistency": document.consistency.value,
            "machine_name": str(document.spec["name"]),
            "was_full_compare": self.was_full_compare,
            "source_read_bytes": self.source_read_bytes,
            "changed_bytes": self.changed_bytes,
            "stored_bytes": self.stored_bytes,
            **self.seconds,
        }


def capture_machine(context: Context, order: CaptureOrder) -> Captured:
    """Capture a machine and publish the point.

    Raises NotFound, MachineBusy, MachineChanged (nothing is published then), ReplicaDirty, StaleEpoch,
    SiteUnreachable, DataError and the repository's errors.
    """
    site = context.site(order.site)
    points = context.points(order.machine_id)
    standing = site.standings.read(order.machine_id)
    require_whole(order.machine_id, order.site, standing)
    capturing = _Capturing(context, order, points, standing)
    capturing.epoch = standing.epoch if standing else FIRST_EPOCH
    captured = capturing.run()
    if standing and standing.trackers:
        # The trackers armed at the standing's point are replaced by the point's own.
        site.standings.write(replace(standing, point_id=None, trackers={}))
    return captured


def capture_divergent(context: Context, order: CaptureOrder, standing: Standing) -> Point | None:
    """Capture what a stopped side holds that is not the machine's any more; None where its latest point has it all.

    Raises as ``capture_machine``. The point's epoch is the past one, in which it was written.
    """
    capturing = _Capturing(context, order, context.points(order.machine_id), standing)
    capturing.epoch = capturing.past_epoch(standing)
    return capturing.run_divergent()


def require_whole(machine_id: str, site: str, standing: Standing | None) -> None:
    """Refuse to make a point of what is no state of the machine; raises ReplicaDirty, StaleEpoch."""
    if standing and standing.is_dirty:
        raise ReplicaDirty(
            f"The disks of machine {machine_id} on {site} are between two points; nothing was captured, and earlier"
            " points are as they were.",
            hint="Roll the machine back to a point: that makes its disks whole again.",
        )
    if standing and standing.role is Role.REPLICA:
        raise StaleEpoch(
            f"{site} has a replica of machine {machine_id} by now, and not the machine; nothing was captured.",
            hint="See 'twinhull status' for where the machine runs.",
        )


class _Capturing:
    def __init__(
        self, context: Context, order: CaptureOrder, points: Sequence[Point], standing: Standing | None
    ) -> None:
        self.epoch = FIRST_EPOCH
        self._context = context
        self._order = order
        self._site = context.site(order.site)
        self._last = latest_point(points)
        self._base = choose_base(points, order.site, standing)
        self._capture_id = f"{order.label}-{context.ports.randomness.token(4).hex()}"
        self._watch = Stopwatch(context)
        self._reasons: list[str] = []

    def note(self, *reasons: str) -> None:
        for reason in reasons:
            self._reasons.append(reason)
            self._context.on_reason(reason)

    def past_epoch(self, standing: Standing) -> int:
        """The epoch in which a side wrote that has lost the machine since: that of its own latest point, if any."""
        last_here = self._base.point if self._base.point and self._base.is_of(self._order.site) else None
        return last_here.document.epoch if last_here else max(standing.epoch - 1, FIRST_EPOCH)

    def run_divergent(self) -> Point | None:
        """Publish what is there, unless the base has it all; no tracker is left, for the disks are overwritten next."""
        request = replace(self._request(), is_tracking=False)
        with self._site.captures.capture(request) as capture, self._context.repository.writer() as writer:
            reads = [self._read(writer, disk) for disk in capture.disks]
            self._require_still_there(capture)
            if self._base.point and {read.key: read.root for read in reads} == self._base.roots():
                return None
            return self._context.publish(writer, replace(self._document(capture, reads), is_divergent=True))

    def _request(self) -> CaptureRequest:
        self.note(*clean_leftovers(self._site, self._order.machine_id, self._base.trackers.values()))
        return CaptureRequest(
            self._order.machine_id,
            self._capture_id,
            self._base.trackers,
            is_freezing=self._order.is_freezing,
            probes=self._probes,
        )

    def _probes(self, key: DiskKey) -> Sequence[Extent]:
        """What must be readable of a disk to know that its tracker missed nothing."""
        base = self._base.root(key)
        try:
            return probes(self._context.repository, base) if base else ()
        except RepositoryError:
            return ()  # then nothing proves it, and the disk is read as a whole

    def run(self) -> Captured:
        request = self._request()
        try:
            return self._run(request)
        except NotWhole as error:
            self.note(f"Disk {error.key} cannot be read by its changes alone, for {error.reason}: captured once more.")
        try:
            return self._run(replace(request, since={}))
        except SiteFull as full:
            return self._trusting_once_more(request, full)

    def _trusting_once_more(self, request: CaptureRequest, full: SiteFull) -> Captured:
        """There is no room for a copy to be compared: if the comparison is only due, it must not cost the point."""
        if not self._order.compare_reason:
            raise full
        self._order = replace(self._order, compare_reason="")
        self.note(f"The comparison that is due was not made, and trackers are trusted once more: {full.message}")
        try:
            return self._run(request)
        except NotWhole:
            raise full from None

    def _run(self, request: CaptureRequest) -> Captured:
        with self._unless_it_dies(), self._site.captures.capture(request) as capture:
            self._watch.add("freeze", capture.window.freeze_seconds)
            self._watch.add("begin", capture.window.begin_seconds)
            self.note(*capture.reasons, *drift(self._last, capture))
            with self._context.repository.writer() as writer:
                with self._watch.phase("read"):
                    reads = [self._read(writer, disk) for disk in capture.disks]
                self._require_still_there(capture)
                with self._watch.phase("publish"):
                    point = self._context.publish(writer, self._document(capture, reads))
            capture.keep_trackers()
        return Captured(
            point,
            bool(self._order.compare_reason) or all(read.how == COMPARED for read in reads),
            sum(read.read_bytes for read in reads),
            sum(read.changed_bytes for read in reads),
            writer.stats.bytes_stored,
            tuple(self._reasons),
            self._watch.facts(),
        )

    @contextmanager
    def _unless_it_dies(self) -> Iterator[None]:
        """Say so when a machine that ran is off by the time its capture fails: that is what ended it."""
        machine_id = self._order.machine_id
        was_off = self._site.power.state(machine_id).is_off
        try:
            yield
        except (DataError, SiteError) as error:
            is_other = was_off or isinstance(error, MachineChanged | RepositoryError | SiteUnreachable)
            if is_other or not self._site.power.state(machine_id).is_off:
                raise
            raise MachineChanged(
                f"The machine went off on {self._order.site} while it was captured; nothing was published, and earlier"
                f" points are as they were. ({error.message})",
                hint=f"On or off, it can be captured again: twinhull sync {machine_id}",
            ) from error

    def _read(self, writer: Writer, disk: CapturedDisk) -> DiskRead:
        base, compare_reason = self._base.root(disk.key), self._order.compare_reason
        self.note(*before_reading(disk, base, compare_reason))
        read = read_disk(self._context, writer, disk, base, is_comparing=bool(compare_reason))
        self.note(*after_reading(read))
        return read

    def _require_still_there(self, capture: Capture) -> None:
        """Nothing is published of a machine that went away while it was read."""
        try:
            spec = self._site.inventory.machine(self._order.machine_id).spec
        except NotFound as error:
            raise MachineChanged(
                f"The machine {capture.spec.name} vanished from {self._order.site} while it was captured; nothing was "
                "published, and earlier points are as they were.",
                hint="If it lives on another site now, it needs a plan from there: twinhull plan create NAME "
                "--machine MACHINE --from SITE --to SITE",
            ) from error
        if spec.name != capture.spec.name:
            self.note(f"The machine was renamed to {spec.name} meanwhile; the next sync follows.")
        if spec.disks != capture.spec.disks:
            self.note("The machine's disks were changed meanwhile; the next sync follows.")

    def _document(self, capture: Capture, reads: Sequence[DiskRead]) -> PointDocument:
        trackers = {disk.key: disk.tracker_id for disk in capture.disks}
        disks = tuple(
            PointDisk(read.key, read.root, self._tracking(read, trackers[read.key], capture)) for read in reads
        )
        return PointDocument(
            machine_id=self._order.machine_id,
            captured_at=capture.captured_at,
            consistency=capture.consistency,
            source_site=self._order.site,
            epoch=self.epoch,
            spec=spec_to_json(capture.spec),
            disks=disks,
            notes=(*self._reasons, self._summary(capture, reads)),
        )

    def _tracking(self, read: DiskRead, tracker_id: str | None, capture: Capture) -> dict[str, JsonValue]:
        """What the next capture must know of this one."""
        is_followed = read.how == TRACKED
        followed = followed_seconds(self._base.point, read.key, capture.captured_at) if is_followed else 0.0
        return {TRACKER: tracker_id, CAPTURE: self._capture_id, READ: read.how, UNCOMPARED: round(followed)}

    def _summary(self, capture: Capture, reads: Sequence[DiskRead]) -> str:
        read_bytes = sum(read.read_bytes for read in reads)
        changed_bytes = sum(read.changed_bytes for read in reads)
        return (
            f"{capture.consistency.value} consistent; frozen for {format_duration(capture.window.freeze_seconds)}; "
            f"{format_bytes(changed_bytes)} changed, {format_bytes(read_bytes)} read."
        )
