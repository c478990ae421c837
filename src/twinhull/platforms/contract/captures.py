"""Taking a machine's disks at one instant."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from twinhull.blocks.disk import Disk
from twinhull.model.extents import Extent
from twinhull.model.machine import Consistency, DiskKey, MachineId, MachineSpec


@dataclass(frozen=True, slots=True)
class CaptureRequest:
    """A capture that is asked for.

    ``capture_id`` is a plain word (``[a-z0-9-]``, at most 60) that labels all that is opened; new trackers carry it.
    ``since`` names, for each disk, the tracker that the last point left on this site; a disk without one is read in
    full.
    With ``is_tracking`` false no new tracker is left behind. ``probes`` gives places of a disk that must be readable
    besides what changed, at the instant, where else only changes are.
    """

    machine_id: MachineId
    capture_id: str
    since: Mapping[DiskKey, str] = field(default_factory=dict)
    is_freezing: bool = True
    is_tracking: bool = True
    probes: Callable[[DiskKey], Sequence[Extent]] = lambda _: ()


@dataclass(frozen=True, slots=True)
class CaptureWindow:
    """How long the guest noticed. ``freeze_seconds`` is from the freeze to the thaw (or the pause to the resume)."""

    freeze_seconds: float
    begin_seconds: float


class CapturedDisk(Protocol):
    """One disk at the instant of the capture, readable for as long as the capture is open."""

    @property
    def key(self) -> DiskKey:
        """The disk's key."""
        ...

    @property
    def size_bytes(self) -> int:
        """Its size at the instant."""
        ...

    @property
    def tracker_id(self) -> str | None:
        """The new tracker that counts changes from this instant on, or None where the disk can have none."""
        ...

    @property
    def is_tracked(self) -> bool:
        """Whether ``changed`` can be asked: the tracker named in the request was there and whole."""
        ...

    @property
    def is_whole(self) -> bool:
        """Whether all of it can be read, or only what ``changed`` tells, and the ``probes``."""
        ...

    @property
    def probes(self) -> Sequence[Extent]:
        """What can be read besides its changes, where it is not whole."""
        ...

    @property
    def tracker_reason(self) -> str:
        """Why the disk must be compared in full, one sentence; empty where ``is_tracked``."""
        ...

    def open(self) -> Disk:
        """A further read-only handle; every handle is closed by its user."""
        ...

    def changed(self) -> Iterator[Extent]:
        """What the tracker calls changed since its instant: a hint, in the tracker's grain."""
        ...


class Capture(Protocol):
    """A machine's disks at one instant. Leaving the context closes all that was opened on the site.

    Unless ``keep_trackers`` was called, the new trackers are taken away as well, and the old ones count on as if
    nothing had been.
    """

    @property
    def spec(self) -> MachineSpec:
        """The machine's description at the instant."""
        ...

    @property
    def captured_at(self) -> datetime:
        """Our wall clock at the instant, for people to read."""
        ...

    @property
    def consistency(self) -> Consistency:
        """The level reached."""
        ...

    @property
    def window(self) -> CaptureWindow:
        """How long the guest noticed."""
        ...

    @property
    def reasons(self) -> Sequence[str]:
        """What was not as hoped: a freeze that failed, a tracker that was lost."""
        ...

    @property
    def disks(self) -> Sequence[CapturedDisk]:
        """In the machine's own order."""
        ...

    def keep_trackers(self) -> None:
        """The point is published: the new trackers stay and every older one of ours is dropped. Safe to repeat."""
        ...


class Captures(Protocol):
    """Taking a machine's disks at one instant."""

    def capture(self, request: CaptureRequest) -> AbstractContextManager[Capture]:
        """Capture a machine, running or stopped; raises MachineBusy where another capture is open on it."""
        ...

    def arm_trackers(self, machine_id: MachineId, capture_id: str) -> Mapping[DiskKey, str]:
        """Leave trackers on a *stopped* machine whose disks are at a known point; disks that can have none are absent.

        Older trackers of ours are dropped.
        """
        ...
