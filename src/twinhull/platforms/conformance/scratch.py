"""The conformance kit's own machine: made on the site, labelled, small, and removed whatever happens."""

from __future__ import annotations

from dataclasses import replace

from twinhull.model.errors import NotFound
from twinhull.model.machine import DiskKey, DiskSpec, MachineId, MachineSpec, PowerState
from twinhull.model.ports import Ports
from twinhull.model.units import MIB
from twinhull.platforms.contract import CaptureRequest, ReplicaChanges, ReplicaRequest, Site

KEY = DiskKey("vda")
DISK_BYTES = 64 * MIB
GROWN_BYTES = 96 * MIB
_MEMORY_BYTES = 128 * MIB
_POWER_SECONDS = 60.0
_POLL_SECONDS = 0.1


class Scratch:
    """The machine, and what the kit knows about it."""

    def __init__(self, site: Site, ports: Ports) -> None:
        self.site = site
        self.ports = ports
        self.machine_id = MachineId(ports.randomness.uuid())
        self.label = f"check-{ports.randomness.token(4).hex()}"
        self.spec = MachineSpec(
            self.machine_id, f"twinhull-{self.label}", 1, _MEMORY_BYTES, disks=(DiskSpec(KEY, DISK_BYTES),)
        )
        self.is_made = False
        self.captures = 0
        self.holds: dict[int, bytes] = {}
        """What was written to the disk, by its offset: whoever reads it must find this."""

    def prepare(self, *disks: DiskSpec) -> ReplicaChanges:
        """Make the machine, or make it follow these disks (none: as they are)."""
        if disks:
            self.spec = replace(self.spec, disks=disks)
        changes = self.site.replicas.prepare(ReplicaRequest(self.spec))
        self.is_made = True
        return changes

    def capture_request(self, since: dict[DiskKey, str] | None = None, *, is_tracking: bool = True) -> CaptureRequest:
        """A capture of the machine with an id of its own."""
        self.captures += 1
        capture_id = f"{self.label}-{self.captures}"
        return CaptureRequest(self.machine_id, capture_id, since or {}, is_tracking=is_tracking)

    def write(self, offset_bytes: int, data: bytes) -> None:
        """Write to the stopped machine's disk, durably."""
        with self.site.disks.writing(self.machine_id, KEY) as door:
            disk = door()
            try:
                disk.write(offset_bytes, data)
                disk.flush()
            finally:
                disk.close()
        self.holds[offset_bytes] = data

    def read(self, *offsets_bytes: int, length_bytes: int = MIB) -> list[bytes]:
        """Read the stopped machine's disk at these offsets, opened once: each opening costs, behind ssh."""
        with self.site.disks.reading(self.machine_id, KEY) as door:
            disk = door()
            try:
                return [disk.read(offset, length_bytes) for offset in offsets_bytes]
            finally:
                disk.close()

    def pattern(self, length_bytes: int) -> bytes:
        """Bytes that do not compress and are not on the disk yet."""
        return self.ports.randomness.token(length_bytes)

    def wait_for_power(self, *wanted: PowerState) -> PowerState:
        """Poll until the power is as wanted, or the time is over; returns what it is."""
        clock = self.ports.clock
        deadline = clock.monotonic() + _POWER_SECONDS
        while (power := self.site.power.state(self.machine_id)) not in wanted and clock.monotonic() < deadline:
            clock.sleep(_POLL_SECONDS)
        return power

    def remove(self) -> None:
        """Switch it off, clean what was left, remove it; safe to repeat, and where it was never made."""
        try:
            self.site.power.kill(self.machine_id)
        except NotFound:
            self.site.standings.remove(self.machine_id)
            return
        self.wait_for_power(PowerState.OFF, PowerState.CRASHED)
        for leftover in self.site.leftovers.find(self.machine_id, ()):
            self.site.leftovers.clean(leftover)
        self.site.replicas.remove(self.machine_id)
        self.site.standings.remove(self.machine_id)
