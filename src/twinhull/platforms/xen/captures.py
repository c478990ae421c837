"""Capturing a machine, whichever state it is in, under its lock."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from twinhull.model.errors import StillRunning
from twinhull.model.machine import DiskKey, MachineId
from twinhull.platforms.contract import CaptureRequest
from twinhull.platforms.xen.images import tracker_name
from twinhull.platforms.xen.leftovers import Leftovers, Scratch
from twinhull.platforms.xen.machines import Machines
from twinhull.platforms.xen.monitor import Monitors
from twinhull.platforms.xen.opened import OpenedCapture
from twinhull.platforms.xen.place import Place
from twinhull.platforms.xen.running import RunningCaptures
from twinhull.platforms.xen.stopped import StoppedCaptures


class XenCaptures:
    """Captures of one host."""

    def __init__(self, place: Place, machines: Machines, monitors: Monitors, leftovers: Leftovers) -> None:
        self._place = place
        self._machines = machines
        self._leftovers = leftovers
        self._scratch = Scratch(place)
        self._running = RunningCaptures(place, machines, monitors, leftovers)
        self._stopped = StoppedCaptures(place, machines, leftovers)

    @contextmanager
    def capture(self, request: CaptureRequest) -> Iterator[OpenedCapture]:
        """Capture a machine; raises MachineBusy where another capture is open on it, NotFound where it is not here."""
        machine_id = request.machine_id
        is_off = self._machines.power(machine_id).is_off
        kind = self._stopped if is_off else self._running
        with (
            self._place.holding(self._place.capture_lock(machine_id)),
            self._scratch.opened(machine_id, request.capture_id) as scratch,
            kind.capture(request, scratch) as capture,
        ):
            yield capture

    def arm_trackers(self, machine_id: MachineId, capture_id: str) -> Mapping[DiskKey, str]:
        """Leave trackers on a stopped machine and drop older ones; raises StillRunning."""
        locks = (self._place.capture_lock(machine_id), self._place.disks_lock(machine_id))
        with self._place.holding(locks[0]), self._place.holding(locks[1]):
            if not self._machines.power(machine_id).is_off:
                raise StillRunning(
                    f"Machine {machine_id} runs on site '{self._place.site}': its disks are at no known point, and no"
                    " tracker was left.",
                )
            machine = self._machines.look(machine_id)
            name = tracker_name(capture_id)
            older = self._leftovers.trackers(machine_id) - {name}
            tracked = [image for image in machine.definition.disks if image.format == "qcow2"]
            for image in tracked:
                self._machines.images.add_tracker(image, name)
            self._leftovers.drop_trackers(machine_id, older)
            return {machine.key_of(image): name for image in tracked}
