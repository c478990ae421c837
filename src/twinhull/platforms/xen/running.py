"""Capturing a running machine by the QEMU in dom0 that serves its disks.

At one instant, the same for all disks (one QMP transaction), QEMU begins to copy what is wanted into temporary images;
what the guest overwrites meanwhile is copied first. When the copies are whole they are let go of, and another program
serves them to us::

    guest ──writes──▶ disk node ──▶ image                     new tracker: counts from the instant on
                         │ backup job: what the old tracker calls changed (widened), or everything
                         ▼
                      temporary image ──▶ qemu-nbd, read-only, with the old tracker's changes as its bitmap

QEMU itself must not serve the disk: Xen's disks live in a thread of their own, and Debian 12's QEMU 7.2 aborts (and
takes the guest's disks with it) when the client of such an export goes away. There is no guest agent's channel on Xen:
the capture is as consistent as after a power failure, and the guest is never stopped for it.

Source: QEMU QMP Reference Manual (``transaction``, ``blockdev-backup``, ``block-dirty-bitmap-add``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from twinhull.blocks.nbd import NbdAddress
from twinhull.blocks.servers import Image, serving
from twinhull.model.errors import NotSupportedHere, SiteError, SiteFull
from twinhull.model.extents import Extent
from twinhull.model.machine import BootMode, Consistency, DiskKey
from twinhull.model.units import MIB, format_bytes
from twinhull.platforms.contract import CaptureRequest, CaptureWindow
from twinhull.platforms.libvirt.definition.domains import ImageFile
from twinhull.platforms.libvirt.images import PREFIX, exact_sizes
from twinhull.platforms.libvirt.opened import (
    CANNOT_TRACK,
    TRACKER_GRAIN_BYTES,
    OpenedCapture,
    OpenedDisk,
    TrackerAnswer,
)
from twinhull.platforms.libvirt.place import Place
from twinhull.platforms.libvirt.tracking import hindrances, lost, name_of, not_left, proven, tracker_id, tracker_name
from twinhull.platforms.xen.copied import COPIED_GRAIN_BYTES, PartlyCopied, copied_at_most
from twinhull.platforms.xen.leftovers import Leftovers
from twinhull.platforms.xen.machines import look
from twinhull.platforms.xen.monitor import COPY, Monitors, end_all
from twinhull.platforms.xen.qmp import Qmp, QmpRefused
from twinhull.platforms.xen.survey import XenMachine

COPY_SECONDS = 4 * 3600.0
"""How long QEMU may copy a disk into its temporary image."""

_SPARE_BYTES = 64 * MIB
_CHANGES = "twinhull.changes"
"""The bitmap in a temporary image that tells the old tracker's changes."""

_PROBES = "twinhull.probes"
"""The bitmap in a temporary image that tells what is copied besides changes. QMP sets no single bits of a bitmap, but
takes over those of another image's, which counts what we wrote there."""

_NO_FREEZE = "A Xen machine has no guest agent: captured without a freeze, as after a power failure."


_NO_ROOM = 45
_MAKE_ROOM = """
free=$(df --output=avail -B1 -- "$1" | tail -n 1) || exit
[ "$free" -ge "$2" ] || { echo "$free"; exit 45; }
probes=$3; shift 3
while [ $# -gt 0 ]; do
  qemu-img create -q -f qcow2 -- "$1" "$2" || exit
  if [ -n "$3" ]; then
    qemu-img bitmap --add -f qcow2 -- "$1" "$probes" || exit
    for place in $3; do echo "write -z ${place%:*} ${place#*:}"; done | qemu-io -f qcow2 "$1" >/dev/null || exit
  fi
  shift 3
done
"""


@dataclass(frozen=True, slots=True)
class _Plan:
    """One disk of the capture to come. ``since`` is the old tracker's bitmap to follow, ``tracker`` the new id."""

    index: int
    key: DiskKey
    size_bytes: int
    node: str
    tracker: str | None
    is_persistent: bool
    since: str | None
    reason: str
    room_bytes: int
    image: str
    probes: tuple[Extent, ...] = ()

    @property
    def target(self) -> str:
        return f"{PREFIX}copy-{self.index}"

    @property
    def job(self) -> str:
        return f"{PREFIX}backup-{self.index}"

    @property
    def frozen(self) -> str:
        return f"{COPY}.{self.index}"

    @property
    def widened(self) -> str:
        return f"{COPY}.wide.{self.index}"

    def actions(self) -> list[dict[str, Any]]:
        """What happens at the instant. The old tracker counts on: a capture that is not kept changes nothing."""
        actions = []
        job = {"job-id": self.job, "device": self.node, "target": self.target, "sync": "full", "auto-dismiss": False}
        if self.since:
            for name, grain in ((self.frozen, {}), (self.widened, {"granularity": COPIED_GRAIN_BYTES})):
                actions.append(_action("block-dirty-bitmap-add", node=self.node, name=name, disabled=True, **grain))
                probes = [{"node": self.target, "name": _PROBES}] if self.probes and name == self.widened else []
                merge = {"node": self.node, "target": name, "bitmaps": [self.since, *probes]}
                actions.append(_action("block-dirty-bitmap-merge", **merge))
            job |= {"sync": "bitmap", "bitmap": self.widened, "bitmap-mode": "never"}
        if self.tracker:
            new = {"node": self.node, "name": name_of(self.tracker), "persistent": self.is_persistent}
            actions.append(_action("block-dirty-bitmap-add", **new))
        return [*actions, _action("blockdev-backup", **job)]


def _action(kind: str, **data: object) -> dict[str, Any]:
    return {"type": kind, "data": data}


class RunningCaptures:
    """Captures of a host's machines that run."""

    def __init__(self, place: Place, monitors: Monitors, leftovers: Leftovers) -> None:
        self._place = place
        self._monitors = monitors
        self._leftovers = leftovers

    @contextmanager
    def capture(self, request: CaptureRequest, scratch: str) -> Iterator[OpenedCapture]:
        """Capture; ``scratch`` is a directory of the host for temporary images, taken away by the caller."""
        machine = look(self._place, request.machine_id)
        capture: OpenedCapture | None = None
        try:
            with ExitStack() as stack:
                capture = self._capture(stack, machine, request, scratch)
                yield capture
        finally:
            is_kept = capture is not None and capture.is_kept
            new = {tracker_name(request.capture_id, image.key) for image in machine.definition.disks}
            self._leftovers.settle_trackers(request.machine_id, new, is_kept=is_kept)

    def _capture(self, stack: ExitStack, machine: XenMachine, request: CaptureRequest, scratch: str) -> OpenedCapture:
        sizes = exact_sizes(self._place.host, machine.definition, machine.infos)
        with self._monitors.talking(request.machine_id) as qmp:
            end_all(qmp)  # what a killed capture left: its owner is dead, for we hold the machine's lock
            plans = _plans(qmp, machine, sizes, request, scratch)
            self._make_room(scratch, plans)
            try:
                for plan in plans:
                    _add_target(qmp, plan)
                started = self._place.clock.monotonic()
                plans, reasons = _begin(qmp, plans)
                begin_seconds = self._place.clock.monotonic() - started
                captured_at = self._place.clock.now()
                for plan in plans:
                    _finish(qmp, plan)
            finally:
                end_all(qmp)
        return OpenedCapture(
            spec=machine.describe(sizes),
            captured_at=captured_at,
            consistency=Consistency.CRASH,
            # The guest is never stopped; while the transaction is made its writes wait.
            window=CaptureWindow(freeze_seconds=0.0, begin_seconds=begin_seconds),
            reasons=[*([_NO_FREEZE] if request.is_freezing else []), *reasons],
            disks=[self._serve(stack, plan, scratch) for plan in plans],
        )

    def _make_room(self, scratch: str, plans: Sequence[_Plan]) -> None:
        """Create the temporary images, if there is room for what will be copied."""
        wanted = sum(plan.room_bytes for plan in plans)
        words = [word for plan in plans for word in (plan.image, str(plan.size_bytes), _told(plan.probes))]
        done = self._place.host.run(["sh", "-c", _MAKE_ROOM, "twinhull-room", scratch, str(wanted), _PROBES, *words])
        if done.exit_status == _NO_ROOM:
            free = int(done.stdout)
            raise SiteFull(
                f"{scratch} on {self._place.host.name} has {format_bytes(free)} free; the capture of the running"
                f" machine may want up to {format_bytes(wanted)} for its temporary images. Nothing was begun.",
                hint="Free space there, give the site another directory, or capture the machine while it is off.",
            )
        if not done.is_ok:
            raise SiteError(f"No temporary images could be made on {self._place.host.name}: {done.complaint}")

    def _serve(self, stack: ExitStack, plan: _Plan, scratch: str) -> OpenedDisk:
        bitmap = _CHANGES if plan.since else None
        served = Image(plan.image, "qcow2", bitmap=bitmap)
        path = stack.enter_context(serving(self._place.host.start, served, f"{scratch}/{plan.index}.nbd"))
        local = stack.enter_context(self._place.host.forward(path))
        address = NbdAddress(local, bitmap=bitmap)
        kind = PartlyCopied if plan.since else OpenedDisk
        return kind(plan.key, plan.size_bytes, address, plan.tracker, plan.reason, plan.probes)


def _told(places: Sequence[Extent]) -> str:
    return " ".join(f"{place.offset_bytes}:{place.length_bytes}" for place in places)


def _add_target(qmp: Qmp, plan: _Plan) -> None:
    node = {"driver": "qcow2", "node-name": plan.target, "file": {"driver": "file", "filename": plan.image}}
    qmp("blockdev-add", **node)


def _begin(qmp: Qmp, plans: Sequence[_Plan]) -> tuple[Sequence[_Plan], list[str]]:
    """The instant. When QEMU refuses new trackers, it is taken without: that costs a comparison, no point."""
    try:
        qmp("transaction", actions=[action for plan in plans for action in plan.actions()])
    except QmpRefused as error:
        tracked = [plan for plan in plans if plan.tracker]
        if not tracked:
            raise
        without = [replace(plan, tracker=None) for plan in plans]
        qmp("transaction", actions=[action for plan in without for action in plan.actions()])
        return without, [not_left(plan.key, error.message) for plan in tracked]
    return plans, []


def _finish(qmp: Qmp, plan: _Plan) -> None:
    """Wait until a copy is whole, give it the old tracker's changes, and let go of it."""
    qmp.settle(f"the copy of disk {plan.key}", lambda: _job(qmp, plan)["status"] == "concluded", COPY_SECONDS)
    error = _job(qmp, plan).get("error")
    qmp("job-dismiss", id=plan.job)
    if error and "No space left" in error:
        raise SiteFull(f"There was no room left for the copy of disk {plan.key}: {error}", hint="Free space there.")
    if error:
        raise SiteError(f"Disk {plan.key} could not be copied: {error}")
    if plan.since:
        qmp("block-dirty-bitmap-add", node=plan.target, name=_CHANGES, persistent=True, disabled=True)
        source = {"node": plan.node, "name": plan.frozen}
        qmp("block-dirty-bitmap-merge", node=plan.target, target=_CHANGES, bitmaps=[source])
    qmp("blockdev-del", node_name=plan.target)


def _job(qmp: Qmp, plan: _Plan) -> Mapping[str, Any]:
    found: Sequence[Mapping[str, Any]] = [job for job in qmp("query-jobs") if job["id"] == plan.job]
    if not found:
        raise SiteError(f"The copy of disk {plan.key} disappeared from its QEMU.")
    return found[0]


def _plans(
    qmp: Qmp, machine: XenMachine, sizes: Mapping[DiskKey, int], request: CaptureRequest, scratch: str
) -> Sequence[_Plan]:
    nodes = qmp.nodes()
    # QEMU breaks an image with bitmaps in it that an HVM machine boots from (it opens it twice): theirs are kept in
    # memory only, and are gone when the machine is switched off.
    is_hvm = machine.definition.boot_mode is BootMode.HVM
    disks = list(zip(machine.definition.disks, machine.infos, strict=True))
    hindered = hindrances(disks)
    plans = []
    for index, (image, info) in enumerate(disks):
        node = _node_of(nodes, image, machine.definition.name)
        answer = _counted(node, image, proven(info, hindered.get(image.key, ""), request.since.get(image.key)))
        new = tracker_id(tracker_name(request.capture_id, image.key), info.lineage)
        actual_bytes = node.get("image", {}).get("actual-size", sizes[image.key])
        probes = tuple(request.probes(image.key)) if answer.bitmap else ()
        changed_bytes = copied_at_most(answer.changed_bytes, answer.grain_bytes, sizes[image.key])
        changed_bytes += len(probes) * COPIED_GRAIN_BYTES
        plans.append(
            _Plan(
                index=index,
                key=image.key,
                size_bytes=sizes[image.key],
                node=node["node-name"],
                tracker=new if request.is_tracking and image.key not in hindered else None,
                is_persistent=image.format == "qcow2" and not is_hvm,
                since=answer.bitmap,
                reason=answer.reason,
                room_bytes=_SPARE_BYTES + (changed_bytes if answer.bitmap else actual_bytes),
                image=f"{scratch}/{index}.qcow2",
                probes=probes,
            )
        )
    return plans


def _node_of(nodes: Sequence[Mapping[str, Any]], image: ImageFile, name: str) -> Mapping[str, Any]:
    """The node through which the guest writes; raises NotSupportedHere where there is none, or two."""
    found = [node for node in nodes if node.get("file") == image.path and node.get("drv") == image.format]
    if len(found) == 1:
        return found[0]
    if found:
        raise NotSupportedHere(
            f"Disk {image.target} of machine '{name}' is open twice, as an emulated disk and as Xen's own: the guest"
            " has not loaded Xen's disk driver (yet). Nothing was captured.",
            hint="Wait until it has booted; a guest without Xen's drivers can be captured while it is off.",
        )
    raise NotSupportedHere(
        f"Disk {image.target} of machine '{name}' is not served by the machine's QEMU. Nothing was captured.",
        hint="Serve it by qdisk (driver 'qemu'), or capture the machine while it is off.",
    )


def _counted(node: Mapping[str, Any], image: ImageFile, answer: TrackerAnswer) -> TrackerAnswer:
    """The old tracker to follow with what it calls changed, or why there is none."""
    if not answer.bitmap:
        return answer
    for bitmap in node.get("dirty-bitmaps", []):
        if bitmap.get("name") == answer.bitmap and bitmap.get("recording") and not bitmap.get("inconsistent"):
            counted, grain = int(bitmap.get("count", 0)), int(bitmap.get("granularity", TRACKER_GRAIN_BYTES))
            return replace(answer, changed_bytes=counted, grain_bytes=grain)
    return TrackerAnswer(reason=lost(answer.bitmap) if image.format == "qcow2" else CANNOT_TRACK)
