"""Captures of simulated machines: freeze, instant, thaw, snapshots, trackers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from twinhull.blocks.disk import Disk
from twinhull.model.errors import MachineBusy, NotSupportedHere
from twinhull.model.extents import Extent, merged
from twinhull.model.machine import Consistency, DiskKey, MachineSpec, PowerState
from twinhull.platforms.contract import CaptureRequest, CaptureWindow
from twinhull.platforms.simulated.disks import SimulatedDisk
from twinhull.platforms.simulated.handles import CaptureHandle
from twinhull.platforms.simulated.machines import GRAIN_BYTES, SimulatedMachine, Tracker
from twinhull.platforms.simulated.world import Captured, Held, SimulatedHost, SimulatedWorld

_FREEZE_LIMIT_SECONDS = 10.0
CAPTURE = "capture"


@dataclass(slots=True)
class SimulatedCapturedDisk:
    """One disk at the instant."""

    world: SimulatedWorld
    host: SimulatedHost
    machine: SimulatedMachine
    key: DiskKey
    disk: SimulatedDisk
    tracker_id: str | None
    tracker_reason: str
    grains: frozenset[int]
    probes: tuple[Extent, ...] = ()

    @property
    def size_bytes(self) -> int:
        """The size at the instant."""
        return self.disk.size_bytes

    @property
    def is_tracked(self) -> bool:
        """Whether ``changed`` can be asked."""
        return not self.tracker_reason

    @property
    def is_whole(self) -> bool:
        """All of it can be read, unless the host copies changes only."""
        return not (self.host.is_copying_changes and self.is_tracked)

    def open(self) -> Disk:
        """A further read-only handle."""
        with self.world.call(self.host, "open captured disk"):
            copied = None if self.is_whole else [*self._changed(), *self.probes]
            return CaptureHandle(self.world, self.host, self.machine.spec.machine_id, self.disk, copied)

    def changed(self) -> Iterator[Extent]:
        """The tracker's grains."""
        with self.world.call(self.host, "changed"):
            return self._changed()

    def _changed(self) -> Iterator[Extent]:
        size = self.size_bytes
        starts = (grain * GRAIN_BYTES for grain in sorted(self.grains))
        return merged([Extent(at, min(GRAIN_BYTES, size - at)) for at in starts if at < size])


@dataclass(slots=True)
class SimulatedCapture:
    """A machine's disks at one instant."""

    world: SimulatedWorld
    host: SimulatedHost
    machine: SimulatedMachine
    capture_id: str
    spec: MachineSpec
    captured_at: datetime
    consistency: Consistency
    window: CaptureWindow
    reasons: Sequence[str]
    disks: Sequence[SimulatedCapturedDisk] = ()
    is_kept: bool = field(default=False)

    def keep_trackers(self) -> None:
        """The new trackers stay, the older ones go."""
        with self.world.call(self.host, "keep trackers"):
            self.is_kept = True
            for trackers in self.machine.trackers.values():
                for name in [name for name in trackers if name != self.capture_id]:
                    del trackers[name]


@contextmanager
def capturing(
    world: SimulatedWorld, host: SimulatedHost, machine: SimulatedMachine, request: CaptureRequest
) -> Iterator[SimulatedCapture]:
    """Capture, and close everything on the way out (unless the process is killed: that is what leftovers are)."""
    held = Held(CAPTURE, request.capture_id, request.machine_id, world.process)
    with world.call(host, "begin capture"):
        if any(other.kind == CAPTURE and other.machine_id == request.machine_id for other in host.held):
            raise MachineBusy(
                f"Another capture of {machine.spec.name} is open on {host.name}.", hint="Wait for it to end."
            )
        if machine.power.is_off and (machine.bound or machine.lost):
            raise NotSupportedHere(f"{machine.spec.name} on {host.name} cannot be captured while it is off.")
        host.held.append(held)
    capture: SimulatedCapture | None = None
    try:
        capture = _at_one_instant(world, host, machine, request)
        yield capture
    finally:
        host.let_go(held)
        with world.call(host, "end capture"):
            host.held = [item for item in host.held if item.name != held.name]
            if not (capture and capture.is_kept):
                drop_tracker(machine, request.capture_id)


def drop_tracker(machine: SimulatedMachine, name: str) -> None:
    """Take a tracker away from all disks; safe to repeat."""
    for trackers in machine.trackers.values():
        trackers.pop(name, None)


def _at_one_instant(
    world: SimulatedWorld, host: SimulatedHost, machine: SimulatedMachine, request: CaptureRequest
) -> SimulatedCapture:
    clock = world.ports.clock
    started = clock.monotonic()
    consistency, reasons = _freeze(world, host, machine, request)
    try:
        with world.call(host, "instant"):
            capture = SimulatedCapture(
                world,
                host,
                machine,
                request.capture_id,
                machine.spec,
                clock.now(),
                consistency,
                CaptureWindow(0.0, 0.0),
                reasons,
            )
            capture.disks = [_disk(world, host, machine, request, disk.key) for disk in machine.spec.disks]
            sizes = {disk.key: disk.size_bytes for disk in capture.disks}
            world.captured[request.capture_id] = Captured(
                request.machine_id, machine.history, len(machine.history.writes), sizes, consistency
            )
    finally:
        _thaw(world, host, machine)
    capture.window = CaptureWindow(clock.monotonic() - started, 0.0)
    return capture


def _freeze(
    world: SimulatedWorld, host: SimulatedHost, machine: SimulatedMachine, request: CaptureRequest
) -> tuple[Consistency, list[str]]:
    if machine.power is PowerState.OFF:
        return Consistency.SHUT_DOWN, []
    if machine.power is PowerState.CRASHED or not request.is_freezing:
        return Consistency.CRASH, []
    if not machine.has_agent or machine.is_deaf:
        return Consistency.CRASH, ["The guest agent did not answer: captured without a freeze."]
    with world.call(host, "freeze"):
        machine.frozen_until = world.ports.clock.monotonic() + _FREEZE_LIMIT_SECONDS
    return Consistency.FILESYSTEM, []


def _thaw(world: SimulatedWorld, host: SimulatedHost, machine: SimulatedMachine) -> None:
    if machine.frozen_until is not None:
        with world.call(host, "thaw"):
            machine.frozen_until = None


def _disk(
    world: SimulatedWorld, host: SimulatedHost, machine: SimulatedMachine, request: CaptureRequest, key: DiskKey
) -> SimulatedCapturedDisk:
    trackers = machine.trackers[key]
    since = request.since.get(key)
    old = trackers.get(since) if since else None
    is_trackable = request.is_tracking and key not in machine.untrackable
    if is_trackable:
        trackers[request.capture_id] = Tracker()
    return SimulatedCapturedDisk(
        world,
        host,
        machine,
        key,
        machine.disks[key].snapshot(),
        request.capture_id if is_trackable else None,
        _reason(key, since, old),
        frozenset(old.changed) if old else frozenset(),
        tuple(request.probes(key)),
    )


def _reason(key: DiskKey, since: str | None, old: Tracker | None) -> str:
    if since is None:
        return f"No tracker of disk {key} is known."
    if old is None:
        return f"The tracker {since} of disk {key} is gone."
    if old.is_broken:
        return f"The tracker {since} of disk {key} is broken."
    return ""
