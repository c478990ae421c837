"""Capturing a machine, whichever state it is in, under its lock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from twinhull.model.errors import StillRunning
from twinhull.model.machine import DiskKey, MachineId
from twinhull.platforms.contract import CaptureRequest
from twinhull.platforms.libvirt.finding import definition_of, find, forget_saved_memory, power, require_off
from twinhull.platforms.libvirt.holding import holding
from twinhull.platforms.libvirt.images import exact_sizes, look_into
from twinhull.platforms.libvirt.opened import OpenedCapture
from twinhull.platforms.libvirt.place import Place
from twinhull.platforms.libvirt.stopped import stopped_capture
from twinhull.platforms.libvirt.tracking import add_trackers, drop_other_trackers, name_of, tracker_name
from twinhull.platforms.libvirt.when_off import require_openable
from twinhull.platforms.xen.leftovers import Leftovers
from twinhull.platforms.xen.machines import look
from twinhull.platforms.xen.monitor import Monitors
from twinhull.platforms.xen.running import RunningCaptures


class XenCaptures:
    """Captures of one host."""

    def __init__(self, place: Place, monitors: Monitors, leftovers: Leftovers) -> None:
        self._place = place
        self._leftovers = leftovers
        self._running = RunningCaptures(place, monitors, leftovers)

    @contextmanager
    def capture(self, request: CaptureRequest) -> Iterator[OpenedCapture]:
        """Capture a machine; raises MachineBusy where another capture is open on it, NotFound where it is not here."""
        machine_id = request.machine_id
        is_off = power(self._place, find(self._place, machine_id)).is_off
        locks = [("-x", self._place.capture_lock(machine_id))]
        if is_off:
            # Xen opens disks without QEMU's image locks: nothing else would keep the machine from being started.
            locks.append(("-s", self._place.disks_lock(machine_id)))
        kind = self._stopped if is_off else self._running.capture
        with holding(self._place, machine_id, request.capture_id, locks) as scratch, kind(request, scratch) as capture:
            yield capture

    @contextmanager
    def _stopped(self, request: CaptureRequest, scratch: str) -> Iterator[OpenedCapture]:
        require_off(self._place, find(self._place, request.machine_id))
        machine = look(self._place, request.machine_id)
        require_openable(self._place.site, machine.definition)
        spec = machine.describe(exact_sizes(self._place.host, machine.definition, machine.infos))
        disks = list(zip(machine.definition.disks, machine.infos, strict=True))
        opened: OpenedCapture | None = None
        try:
            with stopped_capture(self._place, spec, disks, request, scratch) as opened:
                yield opened
        finally:
            is_kept = opened is not None and opened.is_kept
            new = {tracker_name(request.capture_id, image.key) for image in machine.definition.disks}
            self._leftovers.settle_trackers(request.machine_id, new, is_kept=is_kept)

    def arm_trackers(self, machine_id: MachineId, capture_id: str) -> Mapping[DiskKey, str]:
        """Leave trackers on a stopped machine and drop older ones; raises StillRunning.

        What is armed is at a point, and boots from it: saved memory of another time is removed.
        """
        locks = [("-x", self._place.capture_lock(machine_id)), ("-x", self._place.disks_lock(machine_id))]
        host = self._place.host
        with holding(self._place, machine_id, capture_id, locks):
            domain = find(self._place, machine_id)
            if not power(self._place, domain).is_off:
                raise StillRunning(
                    f"Machine {machine_id} runs on site '{self._place.site}': its disks are at no known point, and no"
                    " tracker was left.",
                )
            forget_saved_memory(self._place, domain)
            images = definition_of(self._place, domain).disks
            armed, _ = add_trackers(host, list(zip(images, look_into(host, images), strict=True)), capture_id)
            drop_other_trackers(host, images, {name_of(tracker) for tracker in armed.values()})
        return armed
