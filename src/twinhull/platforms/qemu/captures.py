"""Capturing a machine, whichever state it is in, under its lock and after the leftovers of a killed capture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from twinhull.model.errors import StillRunning
from twinhull.model.machine import DiskKey, MachineId
from twinhull.platforms.contract import CaptureRequest
from twinhull.platforms.libvirt_connection import qemu_identity
from twinhull.platforms.qemu.inventory import Machines
from twinhull.platforms.qemu.keeper import keeping
from twinhull.platforms.qemu.leftovers import Leftovers
from twinhull.platforms.qemu.opened import OpenedCapture
from twinhull.platforms.qemu.place import Place
from twinhull.platforms.qemu.running import RunningCaptures
from twinhull.platforms.qemu.stopped import StoppedCaptures
from twinhull.platforms.qemu.trackers import Trackers, tracker_name


class QemuCaptures:
    """Captures of one site."""

    def __init__(self, place: Place, machines: Machines, trackers: Trackers, leftovers: Leftovers) -> None:
        self._connection = place.connection
        self._machines = machines
        self._trackers = trackers
        self._leftovers = leftovers
        self._host = place.host
        self._directory = place.directory
        self._running = RunningCaptures(place, machines, trackers)
        self._stopped = StoppedCaptures(place, machines, trackers)

    @contextmanager
    def capture(self, request: CaptureRequest) -> Iterator[OpenedCapture]:
        """Capture a machine; raises MachineBusy where another capture is open on it, NotFound where it is not here."""
        machine_id = request.machine_id
        self._machines.domain(machine_id)
        identity = qemu_identity(self._connection.get())
        with keeping(self._host, self._directory, self._connection.uri_on_host, machine_id) as keeper:
            self._clear_way(request)
            with self._leftovers.scratch.opened(machine_id, request.capture_id, identity) as scratch:
                if self._machines.power(machine_id).is_off:
                    with self._stopped.capture(request, scratch) as capture:
                        yield capture
                else:
                    with self._running.capture(request, keeper, scratch) as capture:
                        yield capture

    def _clear_way(self, request: CaptureRequest) -> None:
        """Take away what a killed capture left on the machine, an earlier try of this very capture included."""
        for leftover in self._leftovers.of_machine(request.machine_id):
            self._leftovers.clean(leftover)
        domain = self._machines.domain(request.machine_id)
        definition = self._machines.definition(domain)
        stale = {tracker_name(request.capture_id)} & self._trackers.all_names(domain, definition)
        is_off = self._machines.power_of(domain).is_off
        self._trackers.drop(domain, definition, stale - set(request.since.values()), is_off=is_off)

    def arm_trackers(self, machine_id: MachineId, capture_id: str) -> Mapping[DiskKey, str]:
        """Leave trackers on a stopped machine and drop older ones; raises StillRunning."""
        with keeping(self._host, self._directory, self._connection.uri_on_host, machine_id):
            domain = self._machines.domain(machine_id)
            if not self._machines.power_of(domain).is_off:
                raise StillRunning(
                    f"Machine {machine_id} runs on site '{self._machines.site}': its disks are at no known point,"
                    " and no tracker was left.",
                )
            definition = self._machines.definition(domain)
            name = tracker_name(capture_id)
            older = self._trackers.all_names(domain, definition) - {name}
            armed = {disk.key: name for disk in definition.disks if self._trackers.add_stopped(disk, name)}
            self._trackers.drop_stopped(domain, definition, older)
        return armed
