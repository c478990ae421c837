"""What both kinds of capture hand out: disks at one instant, and the capture around them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime

from twinhull.blocks.disk import Disk
from twinhull.blocks.nbd import NbdAddress, NbdDisk
from twinhull.model.extents import Extent
from twinhull.model.machine import Consistency, DiskKey, MachineSpec
from twinhull.model.units import KIB
from twinhull.platforms.contract import CaptureWindow


@dataclass(frozen=True, slots=True)
class OpenedDisk:
    """One disk of an open capture, behind an NBD server."""

    key: DiskKey
    size_bytes: int
    address: NbdAddress
    tracker_id: str | None
    tracker_reason: str
    probes: tuple[Extent, ...] = ()

    @property
    def is_tracked(self) -> bool:
        """Whether changes can be asked."""
        return self.address.bitmap is not None

    @property
    def is_whole(self) -> bool:
        """All of it can be read."""
        return True

    def open(self) -> Disk:
        """A further read-only handle."""
        return NbdDisk(self.address)

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


TRACKER_GRAIN_BYTES = 64 * KIB
"""The grain of the trackers that QEMU makes, unless an image's clusters are smaller."""


@dataclass(frozen=True, slots=True)
class TrackerAnswer:
    """For one disk: the bitmap to ask for changes and how much it calls changed, or why there is none.

    ``grain_bytes`` is what it counts a single changed byte as.
    """

    bitmap: str | None = None
    reason: str = ""
    changed_bytes: int = 0
    grain_bytes: int = TRACKER_GRAIN_BYTES


NO_TRACKER_YET = "No earlier capture left a tracker for this disk."
CANNOT_TRACK = "This disk is not qcow2, so that QEMU keeps no tracker in it."
