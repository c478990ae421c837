"""What a site can do, in words that every command can show."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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


PART_OF = {
    Capability.INVENTORY: "inventory",
    Capability.POWER: "power",
    Capability.CAPTURE_RUNNING: "captures",
    Capability.CAPTURE_STOPPED: "captures",
    Capability.CHANGE_TRACKING: "captures",
    Capability.REPLICA: "replicas",
    Capability.GUARD: "guard",
    Capability.FREEZE: "captures",
    Capability.SERIAL_LOG: "serial_log",
    Capability.SCREENSHOT: "screen",
    Capability.BOOT_BIOS: "replicas",
    Capability.BOOT_UEFI: "replicas",
    Capability.BOOT_PV: "replicas",
}
"""The part that each needs, by its name in :class:`twinhull.platforms.contract.parts.Parts`."""
