"""What both kinds of capture hand out: disks at one instant, and the capture around them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime

from twinhull.blocks.disk import Disk
from twinhull.blocks.nbd import NbdAddress, NbdDisk
from twinhull.model.errors import DataError
from twinhull.model.extents import Extent, aligned, intersection, total_bytes
from twinhull.model.machine import Consistency, DiskKey, MachineSpec
from twinhull.model.units import MIB, format_bytes
from twinhull.platforms.contract import CaptureWindow

COPIED_GRAIN_BYTES = MIB
"""A running machine's changes are copied widened to this grain, which is the largest chunk that can be read of them."""


class CopiedDisk:
    """A disk of which only what has changed (widened) was copied; reading anything else is an error, never zeros."""

    def __init__(self, disk: NbdDisk, changed: Sequence[Extent]) -> None:
        self._disk = disk
        self.size_bytes = disk.size_bytes
        self._copied = list(aligned(changed, COPIED_GRAIN_BYTES, disk.size_bytes))

    def extents(self, offset_bytes: int, length_bytes: int) -> Iterator[Extent]:
        """Zero or data where it was copied; data, for all that is known, elsewhere."""
        position = offset_bytes
        for copied in intersection([Extent(offset_bytes, length_bytes)], self._copied):
            if copied.offset_bytes > position:
                yield Extent(position, copied.offset_bytes - position)
            yield from self._disk.extents(copied.offset_bytes, copied.length_bytes)
            position = copied.end_bytes
        if position < offset_bytes + length_bytes:
            yield Extent(position, offset_bytes + length_bytes - position)

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        """The bytes of the range; raises DataError where they were not copied."""
        wanted = Extent(offset_bytes, length_bytes)
        if total_bytes(intersection([wanted], self._copied)) < length_bytes:
            raise DataError(
                f"Bytes {offset_bytes} to {wanted.end_bytes} have not changed since the last capture and were not"
                f" copied from the running machine (changes are copied by {format_bytes(COPIED_GRAIN_BYTES)}).",
                hint="A repository with larger chunks needs a capture without a tracker, or of the stopped machine.",
            )
        return self._disk.read(offset_bytes, length_bytes)

    def write(self, offset_bytes: int, data: bytes) -> None:
        """Refused by the server: a captured disk is read-only."""
        self._disk.write(offset_bytes, data)

    def zero(self, offset_bytes: int, length_bytes: int) -> None:
        """Refused by the server: a captured disk is read-only."""
        self._disk.zero(offset_bytes, length_bytes)

    def flush(self) -> None:
        """Nothing was written."""
        self._disk.flush()

    def close(self) -> None:
        """Close the handle; safe to repeat."""
        self._disk.close()


@dataclass(frozen=True, slots=True)
class OpenedDisk:
    """One disk of an open capture, behind an NBD server."""

    key: DiskKey
    size_bytes: int
    address: NbdAddress
    tracker_id: str | None
    tracker_reason: str
    is_partial: bool = False

    @property
    def is_tracked(self) -> bool:
        """Whether changes can be asked."""
        return self.address.bitmap is not None

    def open(self) -> Disk:
        """A further read-only handle."""
        disk = NbdDisk(self.address)
        return CopiedDisk(disk, list(self.changed())) if self.is_partial else disk

    def changed(self) -> Iterator[Extent]:
        """What the tracker calls changed since its instant."""
        with closing(NbdDisk(self.address)) as disk:
            yield from disk.changed()


@dataclass(slots=True)
class OpenedCapture:
    """A capture that is open."""

    spec: MachineSpec
    captured_at: datetime
    consistency: Consistency
    window: CaptureWindow
    reasons: Sequence[str]
    disks: Sequence[OpenedDisk]
    is_kept: bool = field(default=False)

    def keep_trackers(self) -> None:
        """The new trackers stay; the older ones go when the capture is closed."""
        self.is_kept = True


NO_TRACKER_YET = "No earlier capture left a tracker for this disk."
CANNOT_TRACK = "This disk is not qcow2, so that QEMU keeps no tracker in it."


def lost(name: str) -> str:
    """The reason of a tracker that was there once."""
    return (
        f"The tracker {name} is missing or broken: its QEMU was killed, the machine was started as hvm since, or the"
        " image was replaced."
    )
