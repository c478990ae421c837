"""What a platform must bring: small capabilities, each of which a site may or may not have, and why not.

No word of one platform stands here. A site is opened by its platform (``Platform.open``) and used as one ``Site``; the
conformance kit (:mod:`twinhull.platforms.conformance.kit`) runs against any of them, a user's own site included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from twinhull.blocks.disk import Disk
from twinhull.model.errors import SiteError
from twinhull.model.extents import Extent
from twinhull.model.lacks import Lack
from twinhull.model.machine import (
    BootMode,
    Consistency,
    DiskKey,
    DiskSpec,
    MachineId,
    MachineSpec,
    MachineStatus,
    PowerState,
    SiteName,
    Standing,
)
from twinhull.model.ports import Ports
from twinhull.model.sealing import FindKeys, no_keys


class Capability(StrEnum):
    """Something that a site can do, or says why it cannot."""

    INVENTORY = "inventory"
    POWER = "power"
    CAPTURE_RUNNING = "capture a running machine"
    CAPTURE_STOPPED = "capture a stopped machine"
    CHANGE_TRACKING = "change tracking"
    REPLICA = "replica"
    GUARD = "guard at the power switch"
    FREEZE = "freeze by the guest agent"
    SERIAL_LOG = "serial log"
    SCREENSHOT = "screenshot"
    BOOT_BIOS = "boot BIOS machines"
    BOOT_UEFI = "boot UEFI machines"
    BOOT_PV = "boot paravirtual machines"


@dataclass(frozen=True, slots=True)
class Support:
    """Whether a site has a capability. ``reason`` is one sentence, and says why not or within which limits."""

    is_supported: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SiteSettings:
    """How a site is reached.

    ``directory`` is where, on the site's host, replicas' disks, standings and scratch files are kept;
    ``hooks_directory`` is where its libvirt looks for hook scripts; ``options`` are the platform's own.
    """

    name: SiteName
    platform: str
    uri: str
    directory: str = "/var/lib/twinhull"
    hooks_directory: str = "/etc/libvirt/hooks"
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SiteIdentity:
    """What tells a site from every other one: the host that runs now, and our directory there (empty: not made yet).

    A host has another id after each boot; the directory keeps its id.

    Two sites with one host have the same machines; two sites with one directory have the same standings.
    """

    host: str
    directory: str


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


@dataclass(frozen=True, slots=True)
class ReplicaRequest:
    """A replica that is asked for: the machine's spec, what its networks are called here, how it shall boot.

    ``boot_mode`` None lets the platform choose its most faithful one.
    """

    spec: MachineSpec
    networks: Mapping[str, str] = field(default_factory=dict)
    boot_mode: BootMode | None = None


@dataclass(frozen=True, slots=True)
class ReplicaChanges:
    """What preparing a replica did.

    A disk in ``new_disks`` reads as zeros; ``reasons`` say what was not as hoped; ``lacks`` are what the replica lacks
    of its machine, none where a machine that was here before us follows.
    """

    is_new: bool
    new_disks: tuple[DiskKey, ...] = ()
    grown_disks: tuple[DiskKey, ...] = ()
    removed_disks: tuple[DiskKey, ...] = ()
    reasons: tuple[str, ...] = ()
    lacks: tuple[Lack, ...] = ()


TRACKER = "tracker"
"""The kind of a leftover that counts changes on a disk, whatever the platform."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something of ours that a killed process left on a site."""

    kind: str
    name: str
    machine_id: MachineId | None = None


OnTrouble = Callable[[MachineId, SiteError], None]
"""Hears of one machine that cannot be looked at; raises, or lets the look go on to the others."""


def raising(_: MachineId, error: SiteError) -> None:
    """Give the whole look up for one machine."""
    raise error


class Inventory(Protocol):
    """Looking at machines."""

    def machines(self) -> Sequence[MachineStatus]:
        """All machines of the site, by name, each with its standing. Does not ask guest agents."""
        ...

    def machine(self, machine_id: MachineId) -> MachineStatus:
        """One machine, its agent asked; raises NotFound."""
        ...


class Power(Protocol):
    """The power switch and what can be seen of a running machine."""

    def start(self, machine_id: MachineId, epoch: int) -> None:
        """Switch on. Returns at once if it runs already.

        Raises StaleEpoch where the site holds a standing that does not let this epoch start, and ReplicaDirty where
        its disks are at no known point. The check is made on the site, at the power switch, where it can be.
        """
        ...

    def obstacles(self, machine_id: MachineId) -> Sequence[str]:
        """What would keep the machine, as it is defined here, from being switched on right now; raises NotFound.

        One sentence for each thing that is not there, such as a network or an image; empty where none is known. The
        standing is not asked.
        """
        ...

    def obstacles_when_off(
        self, machine_id: MachineId, disks: Sequence[DiskSpec] = (), *, is_capturing: bool = True
    ) -> Sequence[str]:
        """What would keep the machine from being captured, given disks and kept once it is off; raises NotFound.

        Asked before it is stopped. One sentence for each thing, with what to do about it. ``disks`` are those that the
        machine shall get where it is. Where no capture follows (``is_capturing``), a disk whose image is gone is no
        obstacle: it is made anew, or taken out.
        """
        ...

    def stop(self, machine_id: MachineId, grace_seconds: float) -> bool:
        """Ask the guest to shut down, then switch off after the grace time; True if the guest did it by itself.

        Returns True at once if it is off already.
        """
        ...

    def kill(self, machine_id: MachineId) -> None:
        """Switch off at once. Safe to repeat."""
        ...

    def power(self, machine_id: MachineId) -> PowerState:
        """Whether it runs; raises NotFound."""
        ...

    def set_autostart(self, machine_id: MachineId, *, is_on: bool) -> bool:
        """Whether the host starts the machine by itself when it boots; returns how it was before."""
        ...

    def serial_log(self, machine_id: MachineId, last_bytes: int) -> str:
        """The end of what the guest wrote to its serial console; raises NotSupportedHere."""
        ...

    def screenshot(self, machine_id: MachineId) -> bytes:
        """The console as PNG; raises NotSupportedHere."""
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


class Replicas(Protocol):
    """The powered-off twin."""

    def prepare_replica(self, request: ReplicaRequest) -> ReplicaChanges:
        """Create the replica, or make it follow the spec (disks added, grown, removed; CPUs, memory, NICs).

        A disk is never shrunk: that is a removed and a new disk of the same key. Machines that were here before us
        keep their definition's other parts. Raises SiteFull, NotSupportedHere, StillRunning.
        """
        ...

    def lacks(self, request: ReplicaRequest) -> Sequence[Lack]:
        """What the replica of that request lacks here, or would lack; changes nothing.

        Raises NotSupportedHere where ``prepare_replica`` would.
        """
        ...

    def remove_replica(self, machine_id: MachineId) -> None:
        """Remove a replica that we made, with its disks and its standing.

        Safe to repeat; never touches a machine that we did not make.
        """
        ...

    def write_disk(self, machine_id: MachineId, key: DiskKey) -> AbstractContextManager[DiskDoor]:
        """Open a stopped machine's disk for reading and writing; raises StillRunning."""
        ...

    def read_disk(self, machine_id: MachineId, key: DiskKey) -> AbstractContextManager[DiskDoor]:
        """Open a stopped machine's disk for reading; raises StillRunning."""
        ...


class DiskDoor(Protocol):
    """A disk that is open on a site: hands out handles until its context ends."""

    def __call__(self) -> Disk:
        """A further handle; every handle is closed by its user."""
        ...


class Standings(Protocol):
    """What the site itself holds about a machine: see :class:`twinhull.model.machine.Standing`."""

    def standing(self, machine_id: MachineId) -> Standing | None:
        """The machine's standing here, or None where there is none; raises DataError where it cannot be understood."""
        ...

    def standings(self) -> Sequence[Standing]:
        """All of them; one that cannot be understood is told with ``Role.UNREADABLE``, here and in the inventory."""
        ...

    def write_standing(self, standing: Standing) -> None:
        """Write it, durably and as a whole, compared with what is held under one lock on the site.

        Raises StaleEpoch where the epoch that is held is higher, or is the same and was claimed by another run, or is
        the same and the machine would cease to be primary. A standing that names no claim can be followed by any.
        Raises ReplicaDirty where a replica that is dirty, or at another point, would become the primary. What is held
        stays then.
        """
        ...

    def remove_standing(self, machine_id: MachineId) -> None:
        """Forget the machine: it starts freely again. Safe to repeat."""
        ...


class Housekeeping(Protocol):
    """Finding and removing what killed processes left behind."""

    def leftovers(
        self, machine_id: MachineId | None, kept_trackers: Sequence[str], on_trouble: OnTrouble = raising
    ) -> Sequence[Leftover]:
        """All that carries our label and belongs to nothing that is alive.

        Only of that machine, where one is named. Trackers in ``kept_trackers`` are no leftovers; with
        ``machine_id`` None trackers are not looked at, and a machine that was never captured is not opened.
        ``on_trouble`` hears of a machine that cannot be looked at; the others are looked at if it returns.
        """
        ...

    def clean(self, leftover: Leftover) -> None:
        """Remove one. Safe to repeat."""
        ...

    def withdraw(self) -> Sequence[str]:
        """The site is given up: take the guard away, unless a standing here needs it.

        Returns what was left on the host, one sentence each. Safe to repeat.
        """
        ...


class Site(Inventory, Power, Captures, Replicas, Standings, Housekeeping, Protocol):
    """One connected virtualization environment."""

    @property
    def settings(self) -> SiteSettings:
        """How it was reached."""
        ...

    def prepare(self) -> None:
        """Make the site's host ready to be worked on; until then nothing is changed there. Safe to repeat.

        Standings of the manager's own machines that an older version left there are sealed for this host.
        """
        ...

    def trust(self, *, is_dry_run: bool) -> Sequence[Standing]:
        """Believe, as at the first contact, what the host says of our machines: seal standings that others sealed.

        Returns those that were sealed, or would be. One that cannot be understood stays as it is. Safe to repeat.
        """
        ...

    def identity(self) -> SiteIdentity:
        """Which host and which directory this is."""
        ...

    def capabilities(self) -> Mapping[Capability, Support]:
        """What it can do; every capability is named."""
        ...

    def close(self) -> None:
        """Close the connection; what is captured or exported must be closed before. Safe to repeat."""
        ...


class Platform(Protocol):
    """A kind of site."""

    @property
    def name(self) -> str:
        """The platform's word: ``qemu``, ``xen``, ``simulated``."""
        ...

    def open(self, settings: SiteSettings, ports: Ports, *, keys: FindKeys = no_keys, is_looking: bool = False) -> Site:
        """Connect, and prepare the site unless it is only looked at; standings are sealed and believed by the keys.

        Raises SiteUnreachable, HostKeyChanged, LoginRefused, SiteInUse.
        """
        ...
