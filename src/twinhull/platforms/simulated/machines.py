"""Simulated machines: what they are, what they write, and what keeps count of it.

A machine's *history* is the content of its disks when the power was switched on, and every write since, in order. It is
kept apart from the disks, so that a test can say what any capture must hold without asking the code under test.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from twinhull.model.machine import DiskKey, DiskSpec, MachineSpec, PowerState
from twinhull.model.ports import Clock, Randomness
from twinhull.model.units import KIB
from twinhull.platforms.simulated.disks import Pages, SimulatedDisk

GRAIN_BYTES = 64 * KIB


@dataclass(frozen=True, slots=True)
class Write:
    """One write of a guest."""

    at_seconds: float
    key: DiskKey
    offset_bytes: int
    data: bytes


@dataclass(slots=True)
class History:
    """The disks at power-on, and all writes since."""

    base: dict[DiskKey, SimulatedDisk]
    writes: list[Write] = field(default_factory=list)

    def content(self, key: DiskKey, size_bytes: int, write_count: int) -> bytes:
        """What the disk must hold after that many writes."""
        content = bytearray(size_bytes)
        base = self.base.get(key)
        if base:
            content[: base.size_bytes] = base.read(0, base.size_bytes)
        for write in self.writes[:write_count]:
            if write.key == key:
                content[write.offset_bytes : write.offset_bytes + len(write.data)] = write.data
        return bytes(content)


@dataclass(slots=True)
class Tracker:
    """A bitmap in grains, per disk. A broken one is there and says nothing."""

    changed: set[int] = field(default_factory=set)
    is_broken: bool = False


class SimulatedMachine:
    """A machine on one simulated host; tests drive its guest through it.

    It can be told to be difficult: ``is_lying`` (its trackers miss every write from now on), ``is_deaf`` (its agent
    does not answer), ``is_stubborn`` (it does not shut down when asked), ``untrackable`` (these disks have no tracker).
    ``is_transient`` means that its host forgets it when it is off; the disks in ``bound`` can be opened only while it
    runs, and the images of those in ``lost`` are gone. ``unplugged`` are the MACs of its cards that are in no network.
    """

    def __init__(self, spec: MachineSpec, clock: Clock, *, is_ours: bool = False) -> None:
        self.spec = spec
        self.is_ours = is_ours
        self.power = PowerState.OFF
        self.has_agent = True
        self.is_lying = False
        self.is_deaf = False
        self.is_stubborn = False
        self.is_autostarted = False
        self.is_transient = False
        self.bound: set[DiskKey] = set()
        self.lost: set[DiskKey] = set()
        self.untrackable: set[DiskKey] = set()
        self.unplugged: set[str] = set()
        self.disks = {disk.key: SimulatedDisk(disk.size_bytes) for disk in spec.disks}
        self.trackers: dict[DiskKey, dict[str, Tracker]] = {disk.key: {} for disk in spec.disks}
        self.frozen_until: float | None = None
        self.starts = 0
        self._history: History | None = None
        self._clock = clock

    def plugged(self) -> dict[str, str]:
        """The network of each card that is plugged in, by its MAC."""
        return {nic.mac: nic.network for nic in self.spec.nics if nic.mac not in self.unplugged}

    @property
    def is_frozen(self) -> bool:
        """Whether the guest's writes wait. The thaw is the host's own timer: nobody needs to be alive for it."""
        return self.frozen_until is not None and self._clock.monotonic() < self.frozen_until

    def switch_on(self) -> None:
        """Power on: a new history begins with the disks as they are."""
        self.power = PowerState.RUNNING
        self.starts += 1

    @property
    def history(self) -> History:
        """What its disks must hold, and why."""
        if self._history is None:
            self._history = History({key: disk.snapshot() for key, disk in self.disks.items()})
        return self._history

    def put_from_outside(self, key: DiskKey, offset_bytes: int, data: bytes) -> None:
        """Somebody else than the guest writes to its disk: what the guest knew of it is past."""
        self._history = None
        self.put(key, offset_bytes, data)

    def switch_off(self, power: PowerState = PowerState.OFF) -> None:
        """Power off, everything written is kept."""
        self.power = power
        self.frozen_until = None
        for disk in self.disks.values():
            disk.flush()

    def crash(self) -> None:
        """What ``kill -9`` of a hypervisor process leaves: the machine is off and its trackers are inconsistent."""
        self.switch_off(PowerState.CRASHED)
        self.break_trackers()

    def write(self, key: str, offset_bytes: int, data: bytes) -> None:
        """The guest writes, durably."""
        if self.power is not PowerState.RUNNING or self.is_frozen:
            raise RuntimeError(f"{self.spec.name} does not run: a guest that is off or frozen writes nothing")
        disk_key = DiskKey(key)
        self.history.writes.append(Write(self._clock.monotonic(), disk_key, offset_bytes, data))
        self.put(disk_key, offset_bytes, data, is_told=not self.is_lying)
        self.disks[disk_key].flush()

    def write_some(self, randomness: Randomness, count: int, length_bytes: int = 4 * KIB) -> None:
        """The guest writes ``count`` times, somewhere, something: a workload."""
        keys = sorted(self.disks)
        for _ in range(count):
            token = randomness.token(9)
            key = keys[token[0] % len(keys)]
            places = max(self.disks[key].size_bytes // length_bytes, 1)
            offset = int.from_bytes(token[1:], "big") % places * length_bytes
            self.write(key, offset, randomness.token(min(length_bytes, self.disks[key].size_bytes - offset)))

    def put(self, key: DiskKey, offset_bytes: int, data: bytes, *, is_told: bool = True) -> None:
        """Bytes reach the disk, and its trackers where they are told."""
        self.disks[key].write(offset_bytes, data)
        if is_told and data:
            first, last = offset_bytes // GRAIN_BYTES, (offset_bytes + len(data) - 1) // GRAIN_BYTES
            for tracker in self.trackers[key].values():
                tracker.changed.update(range(first, last + 1))

    def add_disk(self, key: str, size_bytes: int, bus: str = "virtio") -> None:
        """The owner plugs a disk in."""
        disk = DiskSpec(DiskKey(key), size_bytes, bus)
        self.spec = replace(self.spec, disks=(*self.spec.disks, disk))
        self.disks[disk.key] = SimulatedDisk(size_bytes)
        self.trackers[disk.key] = {}
        self._history = None

    def grow_disk(self, key: str, size_bytes: int) -> None:
        """The owner makes a disk larger; its trackers do not survive that."""
        self.disks[DiskKey(key)].grow(size_bytes)
        self.trackers[DiskKey(key)] = {}
        disks = (replace(disk, size_bytes=size_bytes) if disk.key == key else disk for disk in self.spec.disks)
        self.spec = replace(self.spec, disks=tuple(disks))

    def remove_disk(self, key: str) -> None:
        """The owner takes a disk out."""
        self.spec = replace(self.spec, disks=tuple(disk for disk in self.spec.disks if disk.key != key))
        del self.disks[DiskKey(key)]
        del self.trackers[DiskKey(key)]
        self._history = None

    def rename(self, name: str) -> None:
        """The owner renames it."""
        self.spec = replace(self.spec, name=name)

    def break_trackers(self) -> None:
        """The trackers are there and say nothing."""
        for trackers in self.trackers.values():
            for tracker in trackers.values():
                tracker.is_broken = True

    def lose_trackers(self) -> None:
        """The trackers are gone."""
        for key in self.trackers:
            self.trackers[key] = {}

    def content(self, key: str) -> bytes:
        """All of a disk, as it is now."""
        disk = self.disks[DiskKey(key)]
        return disk.read(0, disk.size_bytes)

    def pages(self) -> dict[DiskKey, Pages]:
        """What every disk holds, comparable."""
        return {key: dict(disk.pages) for key, disk in self.disks.items()}
