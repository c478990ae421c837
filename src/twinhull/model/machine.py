"""The machine as its owner sees it, the same on every site."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

from twinhull.model.hardware import DiskTraits, Hardware

MachineId = NewType("MachineId", str)
"""The machine's UUID in lower case with dashes, the same on every site."""

SiteName = NewType("SiteName", str)
PlanName = NewType("PlanName", str)
PointId = NewType("PointId", str)
RunId = NewType("RunId", str)

DiskKey = NewType("DiskKey", str)
"""What names a disk of one machine for as long as it lives: the device name it had on its first site (``vda``)."""


MAX_EPOCH = 1_000_000_000
"""No machine fails over a thousand million times; a host's shell compares such numbers without overflow."""


class Firmware(StrEnum):
    """How the machine starts before its boot loader runs."""

    BIOS = "bios"
    UEFI = "uefi"


class BootMode(StrEnum):
    """How a platform brings the machine up: full hardware, or a paravirtual boot by the image's own boot loader."""

    HVM = "hvm"
    PV = "pv"
    PVH = "pvh"


class PowerState(StrEnum):
    """What a site says of a machine right now. ``crashed`` machines count as off."""

    RUNNING = "running"
    PAUSED = "paused"
    OFF = "off"
    CRASHED = "crashed"

    @property
    def is_off(self) -> bool:
        """Whether nothing executes and nothing can write to the disks."""
        return self in (PowerState.OFF, PowerState.CRASHED)


@dataclass(frozen=True, slots=True)
class DiskSpec:
    """One virtual disk. ``bus`` is a hint for platforms that can follow it (``virtio``, ``scsi``, ``ide``)."""

    key: DiskKey
    size_bytes: int
    bus: str = "virtio"
    traits: DiskTraits = field(default_factory=DiskTraits)


@dataclass(frozen=True, slots=True)
class NicSpec:
    """One network card. ``network`` names what it is plugged into on its site (``bridge:br0``, ``user``).

    ``boot_order`` is as in :class:`DiskTraits`. A card that ``is_unplugged`` has its link down on purpose.
    """

    mac: str
    network: str
    model: str = "virtio"
    boot_order: int = 0
    is_unplugged: bool = False


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """A machine's hypervisor-neutral description; disks and NICs are in the machine's own order."""

    machine_id: MachineId
    name: str
    cpu_count: int
    memory_bytes: int
    firmware: Firmware = Firmware.BIOS
    boot_mode: BootMode = BootMode.HVM
    disks: tuple[DiskSpec, ...] = ()
    nics: tuple[NicSpec, ...] = ()
    hardware: Hardware = field(default_factory=Hardware)

    def boot_disks(self) -> tuple[DiskSpec, ...]:
        """The disks in the order in which the firmware tries them."""
        return tuple(sorted(self.disks, key=lambda disk: disk.traits.boot_order or math.inf))

    def disk(self, key: DiskKey) -> DiskSpec | None:
        """The disk of that key, if there is one."""
        return next((disk for disk in self.disks if disk.key == key), None)


class Consistency(StrEnum):
    """What a capture reached, never what was hoped for."""

    CRASH = "crash"
    FILESYSTEM = "filesystem"
    APPLICATION = "application"
    SHUT_DOWN = "shut-down"
    """The machine was off: nothing was in flight."""


class Role(StrEnum):
    """A machine's role on one site."""

    PRIMARY = "primary"
    """Here it runs, or may be started, with the standing's epoch."""
    REPLICA = "replica"
    """Here it is the powered-off twin."""
    FENCED = "fenced"
    """Here it ran with an epoch that is past; it may not start until it has been made a replica again."""
    UNREADABLE = "unreadable"
    """What the site holds cannot be understood: the machine is not started, and not stopped for that alone."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What a site itself holds about a machine: its role, its epoch, and the point its disks are at.

    It is kept on the site, where the power is switched on, and read there by the guard. ``point_id`` is the restore
    point that the disks equal while the machine is off; with ``is_dirty`` the disks are somewhere between
    ``point_id`` and ``applying_point_id``. ``trackers`` are those that were armed here when the disks equalled
    ``point_id``: the next capture on this site starts from them. ``claim`` is the run that chose the epoch, so that two
    runs which chose the same number are told apart; ``capture`` is the capture that ``point_id`` was made by, so that a
    point of another repository that has the same number is told apart. Both are empty where they are not known
    (standings of older versions). ``elsewhere`` is the site that is primary, as far as the writer knew: for the guard's
    words only.
    """

    machine_id: MachineId
    role: Role
    epoch: int
    point_id: PointId | None = None
    is_dirty: bool = False
    applying_point_id: PointId | None = None
    trackers: Mapping[DiskKey, str] = field(default_factory=dict)
    claim: str = ""
    capture: str = ""
    elsewhere: str = ""

    def __post_init__(self) -> None:
        """Refuse an epoch that no machine reaches."""
        if not 0 <= self.epoch <= MAX_EPOCH:
            raise ValueError(f"{self.epoch} is not an epoch (0 to {MAX_EPOCH})")

    @property
    def may_start(self) -> bool:
        """Whether the power may be switched on here."""
        return self.role is Role.PRIMARY and not self.is_dirty


@dataclass(frozen=True, slots=True)
class MachineStatus:
    """One machine on one site, as the site tells it. ``agent_answers`` is None where it was not asked.

    ``slots`` says where its devices are plugged in, if the site tells: a device (``card MAC``, ``disk KEY``,
    ``controller …``, ``bridge …``) and the platform's own word for its place, which is only ever compared.
    ``native_id`` is what the platform itself calls the machine, if it has ids of its own.
    """

    spec: MachineSpec
    power: PowerState
    has_agent: bool = False
    agent_answers: bool | None = None
    standing: Standing | None = None
    warnings: tuple[str, ...] = field(default=())
    slots: Mapping[str, str] = field(default_factory=dict)
    native_id: str = ""
