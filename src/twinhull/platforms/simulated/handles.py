"""Open disks of a simulated host: every read and write is a call that can fail, tear or be the last."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from twinhull.model.errors import DataError, MachineChanged, SiteFull, SiteUnreachable
from twinhull.model.extents import Extent, aligned
from twinhull.model.machine import DiskKey, MachineId
from twinhull.platforms.simulated.disks import PAGE_BYTES, SimulatedDisk
from twinhull.platforms.simulated.world import SimulatedHost, SimulatedWorld


class CaptureHandle:
    """A read-only handle on a disk at the instant of a capture."""

    def __init__(
        self,
        world: SimulatedWorld,
        host: SimulatedHost,
        machine_id: MachineId,
        disk: SimulatedDisk,
        copied: Sequence[Extent] | None = None,
    ) -> None:
        self._copied = copied
        self._world = world
        self._host = host
        self._machine_id = machine_id
        self._disk = disk

    @property
    def size_bytes(self) -> int:
        """The size at the instant."""
        return self._disk.size_bytes

    def extents(self, offset_bytes: int, length_bytes: int) -> Iterator[Extent]:
        """Data and zeros."""
        with self._world.call(self._host, "extents"):
            self._check()
            return self._disk.extents(offset_bytes, length_bytes)

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        """The bytes."""
        with self._world.call(self._host, "read"):
            self._check()
            self._require_copied(Extent(offset_bytes, length_bytes))
            self._count_down()
            self._host.bytes_read += length_bytes
            return self._disk.read(offset_bytes, length_bytes)

    def write(self, offset_bytes: int, data: bytes) -> None:
        """Refused: a capture is read-only."""
        raise DataError(f"A capture is read-only; nothing was written at {offset_bytes} (+{len(data)}).")

    def zero(self, offset_bytes: int, length_bytes: int) -> None:
        """Refused: a capture is read-only."""
        raise DataError(f"A capture is read-only; nothing was zeroed at {offset_bytes} (+{length_bytes}).")

    def flush(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing is held by a handle alone."""

    def _check(self) -> None:
        if self._machine_id not in self._host.machines:
            raise MachineChanged(
                f"The machine {self._machine_id} vanished from {self._host.name} while it was read.",
                hint="If it was moved, name its new site in the plan.",
            )

    def _require_copied(self, wanted: Extent) -> None:
        if self._copied is None:
            return
        covered = sum(
            max(min(copied.end_bytes, wanted.end_bytes) - max(copied.offset_bytes, wanted.offset_bytes), 0)
            for copied in aligned(self._copied, PAGE_BYTES, self._disk.size_bytes)
        )
        if covered < wanted.length_bytes:
            raise DataError(f"What is at {wanted.offset_bytes} has not changed and was not copied.")

    def _count_down(self) -> None:
        left = self._host.lost_captures_after_reads
        if left is None:
            return
        if left == 0:
            raise DataError(f"The capture of {self._machine_id} on {self._host.name} was lost while it was read.")
        self._host.lost_captures_after_reads = left - 1


Put = Callable[[DiskKey, int, bytes], None]
"""Brings bytes to a machine's disk and tells its trackers."""


class DiskHandle:
    """A handle on a stopped machine's own disk."""

    def __init__(
        self, world: SimulatedWorld, host: SimulatedHost, key: DiskKey, disk: SimulatedDisk, put: Put | None
    ) -> None:
        self._world = world
        self._host = host
        self._key = key
        self._disk = disk
        self._put = put

    @property
    def size_bytes(self) -> int:
        """The disk's size."""
        return self._disk.size_bytes

    def extents(self, offset_bytes: int, length_bytes: int) -> Iterator[Extent]:
        """Data and zeros."""
        with self._world.call(self._host, "extents"):
            return self._disk.extents(offset_bytes, length_bytes)

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        """The bytes."""
        with self._world.call(self._host, "read"):
            self._host.bytes_read += length_bytes
            return self._disk.read(offset_bytes, length_bytes)

    def write(self, offset_bytes: int, data: bytes) -> None:
        """Write; raises SiteFull, and SiteUnreachable where the host dies in the middle."""
        with self._world.call(self._host, "write"):
            self._write(offset_bytes, data)

    def zero(self, offset_bytes: int, length_bytes: int) -> None:
        """Make the range read as zeros."""
        with self._world.call(self._host, "zero"):
            self._require_put()(self._key, offset_bytes, bytes(length_bytes))

    def flush(self) -> None:
        """Make what was written durable."""
        with self._world.call(self._host, "flush"):
            self._disk.flush()

    def close(self) -> None:
        """Nothing is held by a handle alone."""

    def _write(self, offset_bytes: int, data: bytes) -> None:
        put = self._require_put()
        host = self._host
        if host.room_bytes is not None and host.bytes_written + len(data) > host.room_bytes:
            raise SiteFull(f"There is no room left on {host.name}; the replica stays dirty.", hint="Free space there.")
        if host.torn_after_bytes is not None and host.bytes_written + len(data) > host.torn_after_bytes:
            put(self._key, offset_bytes, data[: max(host.torn_after_bytes - host.bytes_written, 0)])
            host.is_reachable = False
            raise SiteUnreachable(f"The site {host.name} went away in the middle of a write.")
        host.bytes_written += len(data)
        put(self._key, offset_bytes, data)

    def _require_put(self) -> Put:
        if self._put is None:
            raise DataError(f"The disk {self._key} on {self._host.name} is open for reading only.")
        return self._put
