"""A Xen host as a site: libvirt's libxl driver for machines and power, ssh for files, NBD and QEMU's own monitor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

import libvirt

from twinhull.blocks.nbd import NbdDisk
from twinhull.model.errors import UsageError
from twinhull.model.machine import BootMode, DiskKey, MachineId, MachineStatus
from twinhull.model.ports import Ports
from twinhull.model.sealing import FindKeys, no_keys
from twinhull.platforms.contract import (
    Capability,
    Site,
    SiteSettings,
    Support,
)
from twinhull.platforms.libvirt.holding import await_start
from twinhull.platforms.libvirt.replicas import open_disk
from twinhull.platforms.libvirt.site import LibvirtSite
from twinhull.platforms.xen import console, machines
from twinhull.platforms.xen.captures import XenCaptures
from twinhull.platforms.xen.leftovers import Leftovers
from twinhull.platforms.xen.monitor import Monitors
from twinhull.platforms.xen.replicas import XenReplicas
from twinhull.platforms.xen.sidecar import Sidecars

DRIVER = "libxl"
"""libvirt's name of its Xen driver, in hook directories."""

_CAPABILITIES: Mapping[Capability, Support] = {
    Capability.INVENTORY: Support(is_supported=True),
    Capability.POWER: Support(is_supported=True),
    Capability.CAPTURE_RUNNING: Support(
        is_supported=True,
        reason="Of disks that a QEMU in dom0 serves (qdisk); a guest booted as hvm must have loaded Xen's disk driver.",
    ),
    Capability.CAPTURE_STOPPED: Support(is_supported=True),
    Capability.CHANGE_TRACKING: Support(
        is_supported=True,
        reason="In qcow2 images; the trackers of a machine booted as hvm do not outlive its switching on or off.",
    ),
    Capability.REPLICA: Support(is_supported=True),
    Capability.GUARD: Support(
        is_supported=True, reason="Asked by libvirt; a machine that is started by xl, past libvirt, is not guarded."
    ),
    Capability.FREEZE: Support(is_supported=False, reason="Xen machines have no guest agent's channel."),
    Capability.SERIAL_LOG: Support(
        is_supported=True,
        reason="Of pv machines, if the host's xenconsoled keeps logs (--log=guest); for hvm use virsh console.",
    ),
    Capability.SCREENSHOT: Support(is_supported=False, reason="libvirt's Xen driver takes no screenshots."),
    Capability.BOOT_BIOS: Support(is_supported=True),
    Capability.BOOT_UEFI: Support(
        is_supported=False, reason="Debian's Xen has no UEFI firmware for its machines; such a machine can boot as pv."
    ),
    Capability.BOOT_PV: Support(
        is_supported=True,
        reason="The host's pygrub reads the boot loader's files out of the guest's disk, as root: trust such a guest.",
    ),
}


# Xen's own request, then the power button: a guest without Xen's drivers hears the second only.
_SHUTDOWN_REQUESTS = (libvirt.VIR_DOMAIN_SHUTDOWN_PARAVIRT, libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)


class XenSite(LibvirtSite):
    """One Xen host."""

    def __init__(self, settings: SiteSettings, ports: Ports, keys: FindKeys = no_keys) -> None:
        super().__init__(settings, ports, keys, DRIVER, _SHUTDOWN_REQUESTS)
        monitors = Monitors(self._place)
        sidecars = Sidecars(self._host, settings.directory)
        self._leftovers = Leftovers(self._place, monitors)
        self._captures = XenCaptures(self._place, monitors, self._leftovers)
        self._replicas = XenReplicas(self._place, self._standings, sidecars, _boot_mode(settings))

    def capabilities(self) -> Mapping[Capability, Support]:
        """What it can do; every capability is named."""
        return _CAPABILITIES

    def machines(self) -> Sequence[MachineStatus]:
        """All machines of the site, by name."""
        return machines.statuses(self._place)

    def machine(self, machine_id: MachineId) -> MachineStatus:
        """One machine; raises NotFound."""
        return machines.status(self._place, machine_id)

    def serial_log(self, machine_id: MachineId, last_bytes: int) -> str:
        """The end of what the guest wrote to its console; raises NotSupportedHere."""
        return console.serial_log(self._place, machine_id, last_bytes)

    def screenshot(self, machine_id: MachineId) -> bytes:
        """Raises NotSupportedHere."""
        return console.screenshot(self._place, machine_id)

    def stop(self, machine_id: MachineId, grace_seconds: float) -> bool:
        """Ask the guest to shut down, then switch off, also one that is being started."""
        self._await_start(machine_id)
        return super().stop(machine_id, grace_seconds)

    def kill(self, machine_id: MachineId) -> None:
        """Switch off at once, also one that is being started."""
        self._await_start(machine_id)
        super().kill(machine_id)

    def _await_start(self, machine_id: MachineId) -> None:
        """Libvirt calls a machine off until it runs; the mark of one that runs is a leftover."""
        if self.power(machine_id).is_off:
            await_start(self._place, machine_id)

    def open_disk(
        self, machine_id: MachineId, key: DiskKey, *, is_writable: bool
    ) -> AbstractContextManager[Callable[[], NbdDisk]]:
        """Open a stopped machine's disk; while it is open, the guard does not let the machine start."""
        locks = [("-s", self._place.disks_lock(machine_id))]
        return open_disk(self._place, machine_id, key, is_writable=is_writable, locks=locks)


def _boot_mode(settings: SiteSettings) -> BootMode:
    word = settings.options.get("boot_mode", BootMode.HVM.value)
    if word not in (BootMode.HVM.value, BootMode.PV.value):
        raise UsageError(f"Site '{settings.name}' has the option boot_mode={word}; it can be hvm or pv.")
    return BootMode(word)


class XenPlatform:
    """The platform ``xen``."""

    @property
    def name(self) -> str:
        """The platform's word."""
        return "xen"

    def open(self, settings: SiteSettings, ports: Ports, *, keys: FindKeys = no_keys, is_looking: bool = False) -> Site:
        """Connect; raises SiteUnreachable, HostKeyChanged, LoginRefused."""
        site = XenSite(settings, ports, keys)
        try:
            site.connect()
            if not is_looking:
                site.prepare()
        except BaseException:
            site.close()
            raise
        return site
