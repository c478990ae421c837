"""Capturing a machine, whichever state it is in, under its lock and after the leftovers of a killed capture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from twinhull.model.errors import StillRunning
from twinhull.model.machine import DiskKey, MachineId
from twinhull.platforms.contract import CaptureRequest
from twinhull.platforms.libvirt.connection import qemu_identity
from twinhull.platforms.libvirt.finding import definition_of, find, forget_saved_memory, power
from twinhull.platforms.libvirt.holding import holding
from twinhull.platforms.libvirt.images import exact_sizes, look_into
from twinhull.platforms.libvirt.opened import OpenedCapture
from twinhull.platforms.libvirt.place import Place
from twinhull.platforms.libvirt.stopped import stopped_capture
from twinhull.platforms.libvirt.tracking import add_trackers, name_of, tracker_name
from twinhull.platforms.libvirt.when_off import require_openable
from twinhull.platforms.qemu.inventory import Machines
from twinhull.platforms.qemu.keeper import keeping
from twinhull.platforms.qemu.leftovers import Leftovers
from twinhull.platforms.qemu.running import Looked, RunningCaptures
from twinhull.platforms.qemu.trackers import Trackers


class QemuCaptures:
    """Captures of one site."""

    def __init__(self, place: Place, machines: Machines, trackers: Trackers, leftovers: Leftovers) -> None:
        self._place = place
        self._trackers = trackers
        self._leftovers = leftovers
        self._running = RunningCaptures(place, machines, trackers)

    @contextmanager
    def capture(self, request: CaptureRequest) -> Iterator[OpenedCapture]:
        """Capture a machine; raises MachineBusy where another capture is open on it, NotFound where it is not here."""
        machine_id = request.machine_id
        find(self._place, machine_id)
        with keeping(self._place, machine_id) as keeper:
            cleared, looked = self._clear_way(request)
            is_off = power(self._place, find(self._place, machine_id)).is_off
            user = "" if is_off else qemu_identity(self._place.connection.get())
            with holding(self._place, machine_id, request.capture_id, shared_with=user) as scratch:
                if is_off:
                    with self._stopped(request, scratch) as capture:
                        yield capture
                else:
                    with self._running.capture(request, keeper, scratch, looked) as capture:
                        capture.reasons = [*cleared, *capture.reasons]
                        yield capture

    def _clear_way(self, request: CaptureRequest) -> tuple[list[str], Looked]:
        """Take away what a killed capture left on the machine, an earlier try of this very capture included.

        Returns what it was, one sentence each, and what was seen in the images: behind ssh each look costs.
        """
        cleared = []
        for leftover in self._leftovers.jobs(request.machine_id):
            self._leftovers.clean_held(leftover)
            cleared.append(f"The {leftover.kind} of an earlier capture was removed.")
        domain = find(self._place, request.machine_id)
        definition = definition_of(self._place, domain)
        looked = dict(zip(definition.disks, look_into(self._place.host, definition.disks), strict=True))
        ours = {tracker_name(request.capture_id, disk.key) for disk in definition.disks}
        stale = ours & self._trackers.names(domain, looked.values())
        self._trackers.drop(domain, definition, stale - {name_of(tracker) for tracker in request.since.values()})
        return cleared, looked

    @contextmanager
    def _stopped(self, request: CaptureRequest, scratch: str) -> Iterator[OpenedCapture]:
        """While the images are served, their locks keep the machine from being started: such a start can be repeated.

        What stays of the trackers is settled at the end, as after a capture of a running machine.
        """
        definition = definition_of(self._place, find(self._place, request.machine_id))
        require_openable(self._place.site, definition)
        infos = look_into(self._place.host, definition.disks)
        spec = definition.spec(exact_sizes(self._place.host, definition, infos))
        disks = list(zip(definition.disks, infos, strict=True))
        opened: OpenedCapture | None = None
        try:
            with stopped_capture(self._place, spec, disks, request, scratch) as opened:
                yield opened
        finally:
            is_kept = opened is not None and opened.is_kept
            new = [tracker_name(request.capture_id, image.key) for image in definition.disks]
            self._trackers.settle(request.machine_id, definition, new, is_kept=is_kept)

    def arm_trackers(self, machine_id: MachineId, capture_id: str) -> Mapping[DiskKey, str]:
        """Leave trackers on a stopped machine and drop older ones; raises StillRunning.

        What is armed is at a point, and boots from it: saved memory of another time is removed.
        """
        with keeping(self._place, machine_id):
            domain = find(self._place, machine_id)
            if not power(self._place, domain).is_off:
                raise StillRunning(
                    f"Machine {machine_id} runs on site '{self._place.site}': its disks are at no known point,"
                    " and no tracker was left.",
                )
            forget_saved_memory(self._place, domain)
            definition = definition_of(self._place, domain)
            disks = list(zip(definition.disks, look_into(self._place.host, definition.disks), strict=True))
            older = self._trackers.all_names(domain, definition)
            armed, _ = add_trackers(self._place.host, disks, capture_id)
            names = {name_of(tracker) for tracker in armed.values()}
            self._trackers.drop_stopped(domain, definition, older - names)
        return armed
