"""What a machine's description says beyond its size, disks and cards, in OVF's sense: what a guest may depend on.

All of it is optional: what an older Twinhull wrote has none of it, and means the defaults. A word is here because at
least one platform can give it to a replica; what the machine has and no word says is a :class:`Lack` in ``unspoken``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from twinhull.model.lacks import Lack


class ClockOffset(StrEnum):
    """What the guest's hardware clock shows when the machine is switched on."""

    UTC = "utc"
    LOCAL_TIME = "localtime"
    """The host's time zone, as Windows expects it."""
    TIME_ZONE = "timezone"
    """The zone ``Clock.zone``."""
    VARIABLE = "variable"
    """``Clock.basis`` and ``adjustment_seconds``: what the guest has set its clock to is kept."""
    ABSOLUTE = "absolute"
    """``Clock.start_seconds`` since 1970, at each start anew."""


TIMER_SETTINGS = frozenset({"present", "tickpolicy", "track", "mode", "frequency"})


@dataclass(frozen=True, slots=True)
class Timer:
    """A timer of the guest (``rtc``, ``pit``, ``hpet``, ``hypervclock`` …) and its ``TIMER_SETTINGS``."""

    name: str
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Clock:
    """The guest's clock."""

    offset: ClockOffset = ClockOffset.UTC
    zone: str = ""
    basis: ClockOffset = ClockOffset.UTC
    adjustment_seconds: int = 0
    start_seconds: int = 0
    timers: tuple[Timer, ...] = ()


@dataclass(frozen=True, slots=True)
class CpuTopology:
    """How the guest sees its processors: some licenses and systems count sockets."""

    sockets: int
    cores: int
    threads: int


@dataclass(frozen=True, slots=True)
class DiskTraits:
    """What a guest sees of a disk besides its content. 0 and "" are the platform's own.

    ``boot_order`` counts from 1 over disks and cards; with 0 a disk is booted from after all that have one.
    """

    logical_block_bytes: int = 0
    physical_block_bytes: int = 0
    serial: str = ""
    wwn: str = ""
    boot_order: int = 0
    is_read_only: bool = False


@dataclass(frozen=True, slots=True)
class Hardware:
    """The rest. "" and None are the platform's own choice.

    ``architecture`` is ``x86_64``, ``i686`` …; ``chipset`` a PC's: ``pc`` or ``q35``. ``scsi_controller`` is the model
    of the SCSI disks' controller; ``watchdog`` a watchdog's model and what it does (``i6300esb:reset``).
    """

    architecture: str = ""
    chipset: str = ""
    scsi_controller: str = ""
    topology: CpuTopology | None = None
    clock: Clock = field(default_factory=Clock)
    has_rng: bool = False
    watchdog: str = ""
    unspoken: tuple[Lack, ...] = ()
