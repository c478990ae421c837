"""Capturing a running machine by the QEMU in dom0 that serves its disks.

For each disk a fleecing node is put before the guest's writes: what the guest overwrites is kept in a temporary image,
so that the node shows the disk as it was at one instant, the same for all disks (one QMP transaction)::

    guest ──writes──▶ disk node ──▶ image                 tracker ──copied, frozen──▶ shown with the export
                         │ old content, before it is overwritten
                         ▼
                      fleecing node (temporary image, the disk node behind it) ──▶ NBD export, read-only

The old tracker counts on while a copy of it is shown, so that a capture that is not kept has changed nothing. There is
no guest agent's channel on Xen: the capture is as consistent as after a power failure, and the guest notices nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from twinhull.blocks.nbd import NbdAddress
from twinhull.model.errors import NotSupportedHere, SiteFull
from twinhull.model.machine import BootMode, Consistency, DiskKey
from twinhull.model.units import GIB, format_bytes
from twinhull.platforms.contract import CaptureRequest, CaptureWindow
from twinhull.platforms.hosts import check
from twinhull.platforms.xen.domains import XenImage
from twinhull.platforms.xen.images import PREFIX, tracker_name
from twinhull.platforms.xen.machines import Machines, XenMachine
from twinhull.platforms.xen.monitor import COPY, Monitors, drop_bitmaps, end_all, tracker_names
from twinhull.platforms.xen.opened import CANNOT_TRACK, NO_TRACKER_YET, OpenedCapture, OpenedDisk, lost
from twinhull.platforms.xen.place import Place
from twinhull.platforms.xen.qmp import Qmp

SMALLEST_ROOM_BYTES = GIB
"""What must be free for the temporary images (or as much as the disks are large): a guest whose old content finds no
room gets write errors."""

_NO_FREEZE = "A Xen machine has no guest agent: captured without a freeze, as after a power failure."


@dataclass(frozen=True, slots=True)
class _Plan:
    """One disk of the capture to come. ``shown`` is the tracker to show changes by, ``tracker`` the new one."""

    index: int
    key: DiskKey
    size_bytes: int
    node: str
    tracker: str | None
    is_persistent: bool
    shown: str | None
    reason: str

    @property
    def fleece(self) -> str:
        return f"{PREFIX}fleece-{self.index}"

    @property
    def export(self) -> str:
        return f"{PREFIX}export-{self.index}"

    @property
    def job(self) -> str:
        return f"{PREFIX}backup-{self.index}"

    @property
    def copy(self) -> str:
        return f"{COPY}.{self.index}"

    def actions(self) -> list[dict[str, Any]]:
        """What happens at the instant."""
        actions = []
        if self.shown:
            actions.append(_action("block-dirty-bitmap-add", node=self.node, name=self.copy, disabled=True))
            merge = {"node": self.node, "target": self.copy, "bitmaps": [self.shown]}
            actions.append(_action("block-dirty-bitmap-merge", **merge))
        if self.tracker:
            new = {"node": self.node, "name": self.tracker, "persistent": self.is_persistent}
            actions.append(_action("block-dirty-bitmap-add", **new))
        job = {"job-id": self.job, "device": self.node, "target": self.fleece, "sync": "none"}
        actions.append(_action("blockdev-backup", **job))
        return actions


def _action(kind: str, **data: object) -> dict[str, Any]:
    return {"type": kind, "data": data}


class RunningCaptures:
    """Captures of a host's machines that run."""

    def __init__(self, place: Place, machines: Machines, monitors: Monitors) -> None:
        self._place = place
        self._machines = machines
        self._monitors = monitors

    @contextmanager
    def capture(self, request: CaptureRequest, scratch: str) -> Iterator[OpenedCapture]:
        """Capture; ``scratch`` is a directory of the host for temporary images, taken away by the caller."""
        machine = self._machines.look(request.machine_id)
        with self._monitors.talking(request.machine_id) as qmp:
            end_all(qmp)  # what a killed capture left: its owner is dead, for we hold the machine's lock
            capture: OpenedCapture | None = None
            try:
                with ExitStack() as stack:
                    capture = self._open_all(stack, qmp, machine, request, scratch)
                    yield capture
            finally:
                end_all(qmp)
                name, known = tracker_name(request.capture_id), tracker_names(qmp)
                is_kept = capture is not None and capture.is_kept
                drop_bitmaps(qmp, known - {name} if is_kept else known & {name})

    def _open_all(
        self, stack: ExitStack, qmp: Qmp, machine: XenMachine, request: CaptureRequest, scratch: str
    ) -> OpenedCapture:
        sizes = self._machines.images.sizes(machine.definition.disks)
        spec = machine.spec(sizes)
        plans = _plans(qmp, machine, sizes, request)
        self._check_room(scratch, sum(disk.size_bytes for disk in spec.disks))
        for plan in plans:
            self._add_fleece(qmp, plan, scratch)
        started = self._place.clock.monotonic()
        qmp("transaction", actions=[action for plan in plans for action in plan.actions()])
        began = self._place.clock.monotonic() - started
        captured_at = self._place.clock.now()
        socket = f"{scratch}/nbd"
        qmp("nbd-server-start", addr={"type": "unix", "data": {"path": socket}}, max_connections=0)
        for plan in plans:
            shown = [{"node": plan.node, "name": plan.copy}] if plan.shown else []
            export = {"type": "nbd", "id": plan.export, "node-name": plan.fleece, "name": plan.key, "bitmaps": shown}
            qmp("block-export-add", **export)
        local = stack.enter_context(self._place.host.forward(socket))
        return OpenedCapture(
            spec=spec,
            captured_at=captured_at,
            consistency=Consistency.CRASH,
            # The guest is never stopped; while the transaction is made its writes wait.
            window=CaptureWindow(freeze_seconds=0.0, begin_seconds=began),
            reasons=[_NO_FREEZE] if request.is_freezing else [],
            disks=[_opened(plan, local) for plan in plans],
        )

    def _check_room(self, scratch: str, total_bytes: int) -> None:
        answer = check(self._place.host, ["df", "--output=avail", "-B1", "--", scratch])
        free, wanted = int(answer.split()[-1]), min(total_bytes, SMALLEST_ROOM_BYTES)
        if free < wanted:
            raise SiteFull(
                f"{scratch} on {self._place.host.name} has {format_bytes(free)} free; a capture of the running machine"
                f" wants {format_bytes(wanted)} for what the guest overwrites meanwhile. Nothing was begun.",
                hint="Free space there, give the site another directory, or capture the machine while it is off.",
            )

    def _add_fleece(self, qmp: Qmp, plan: _Plan, scratch: str) -> None:
        path = f"{scratch}/{plan.index}.qcow2"
        check(self._place.host, ["qemu-img", "create", "-q", "-f", "qcow2", "--", path, str(plan.size_bytes)])
        node = {"driver": "qcow2", "node-name": plan.fleece, "backing": plan.node}
        qmp("blockdev-add", **node, file={"driver": "file", "filename": path})


def _plans(qmp: Qmp, machine: XenMachine, sizes: Mapping[str, int], request: CaptureRequest) -> Sequence[_Plan]:
    nodes = qmp.nodes()
    is_hvm = machine.definition.boot_mode is BootMode.HVM
    plans = []
    for index, image in enumerate(image for image in machine.definition.disks if image.path in sizes):
        node = _node_of(nodes, image, machine.definition.name)
        key = machine.key_of(image)
        shown, reason = _shown(node, image, request.since.get(key))
        tracker = tracker_name(request.capture_id) if request.is_tracking else None
        # QEMU breaks an image with bitmaps in it that an HVM machine boots from (it opens it twice): theirs are kept in
        # memory only, and are gone when the machine is switched off.
        is_persistent = image.format == "qcow2" and not is_hvm
        plans.append(_Plan(index, key, sizes[image.path], node["node-name"], tracker, is_persistent, shown, reason))
    return plans


def _node_of(nodes: Sequence[Mapping[str, Any]], image: XenImage, name: str) -> Mapping[str, Any]:
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


def _shown(node: Mapping[str, Any], image: XenImage, since: str | None) -> tuple[str | None, str]:
    """The tracker to show changes by, or why there is none."""
    if not since:
        return None, NO_TRACKER_YET
    for bitmap in node.get("dirty-bitmaps", []):
        if bitmap.get("name") == since and bitmap.get("recording") and not bitmap.get("inconsistent"):
            return since, ""
    return None, lost(since) if image.format == "qcow2" else CANNOT_TRACK


def _opened(plan: _Plan, local: str) -> OpenedDisk:
    bitmap = plan.copy if plan.shown else None
    return OpenedDisk(plan.key, plan.size_bytes, NbdAddress(local, plan.key, bitmap), plan.tracker, plan.reason)
