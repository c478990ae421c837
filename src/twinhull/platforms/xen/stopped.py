"""Capturing a machine that is off: its images are served read-only by qemu-nbd, which also tells the trackers.

While they are served, the guard does not let the machine start. The new tracker is put into the image before anything
is read, so that no write can fall between the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from twinhull.blocks.nbd import NbdAddress
from twinhull.blocks.servers import Image, serving
from twinhull.model.errors import StillRunning
from twinhull.model.machine import Consistency, DiskSpec
from twinhull.platforms.contract import CaptureRequest, CaptureWindow
from twinhull.platforms.xen.domains import XenImage
from twinhull.platforms.xen.images import tracker_name
from twinhull.platforms.xen.leftovers import Leftovers
from twinhull.platforms.xen.machines import Machines, XenMachine
from twinhull.platforms.xen.opened import CANNOT_TRACK, NO_TRACKER_YET, OpenedCapture, OpenedDisk, lost
from twinhull.platforms.xen.place import Place


class StoppedCaptures:
    """Captures of a host's machines that are off."""

    def __init__(self, place: Place, machines: Machines, leftovers: Leftovers) -> None:
        self._place = place
        self._machines = machines
        self._leftovers = leftovers

    @contextmanager
    def capture(self, request: CaptureRequest, scratch: str) -> Iterator[OpenedCapture]:
        """Capture; ``scratch`` is a directory of the host for sockets, taken away by the caller."""
        with self._place.holding(self._place.disks_lock(request.machine_id), is_shared=True):
            if not self._machines.power(request.machine_id).is_off:
                raise StillRunning(
                    f"Machine {request.machine_id} was started while its capture began; nothing was captured.",
                    hint="Repeat the capture.",
                )
            machine = self._machines.look(request.machine_id)
            capture: OpenedCapture | None = None
            try:
                with ExitStack() as stack:
                    capture = self._open_all(stack, machine, request, scratch)
                    yield capture
            finally:
                is_kept = capture is not None and capture.is_kept
                name = tracker_name(request.capture_id)
                self._leftovers.settle_trackers(request.machine_id, name, is_kept=is_kept)

    def _open_all(self, stack: ExitStack, machine: XenMachine, request: CaptureRequest, scratch: str) -> OpenedCapture:
        spec = machine.spec(self._machines.images.sizes(machine.definition.disks))
        return OpenedCapture(
            spec=spec,
            captured_at=self._place.clock.now(),
            consistency=Consistency.SHUT_DOWN,
            window=CaptureWindow(freeze_seconds=0.0, begin_seconds=0.0),
            reasons=(),
            disks=[self._open(stack, machine, disk, request, scratch) for disk in spec.disks],
        )

    def _open(
        self, stack: ExitStack, machine: XenMachine, disk: DiskSpec, request: CaptureRequest, scratch: str
    ) -> OpenedDisk:
        image = next(image for image in machine.definition.disks if machine.key_of(image) == disk.key)
        bitmap, reason = self._tracker(image, request.since.get(disk.key))
        name = tracker_name(request.capture_id) if request.is_tracking and image.format == "qcow2" else None
        if name:
            self._machines.images.add_tracker(image, name)
        served = Image(image.path, image.format, bitmap=bitmap)
        path = stack.enter_context(serving(self._place.host.start, served, f"{scratch}/{disk.key}"))
        local = stack.enter_context(self._place.host.forward(path))
        return OpenedDisk(disk.key, disk.size_bytes, NbdAddress(local, bitmap=bitmap), name, reason)

    def _tracker(self, image: XenImage, since: str | None) -> tuple[str | None, str]:
        """The tracker to ask for changes, or why there is none."""
        if image.format != "qcow2":
            return None, CANNOT_TRACK
        if not since:
            return None, NO_TRACKER_YET
        return (since, "") if self._machines.images.trackers(image).get(since) else (None, lost(since))
