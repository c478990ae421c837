"""A Xen host as a site: libvirt's libxl driver for machines and power, ssh for files, NBD and QEMU's own monitor."""

from __future__ import annotations

from collections.abc import Mapping

import libvirt

from twinhull.model.machine import MachineId
from twinhull.model.ports import Ports
from twinhull.model.sealing import FindKeys, no_keys
from twinhull.platforms.contract import (
    Absent,
    Capability,
    Grade,
    GuardGrade,
    Parts,
    Site,
    SiteSettings,
    Support,
    options_of,
)
from twinhull.platforms.libvirt.disks import LibvirtDisks
from twinhull.platforms.libvirt.holding import await_start
from twinhull.platforms.libvirt.hook import LibvirtGuard
from twinhull.platforms.libvirt.power import LibvirtPower
from twinhull.platforms.libvirt.site import LibvirtSite
from twinhull.platforms.xen.captures import XenCaptures
from twinhull.platforms.xen.console import XenSerialLog
from twinhull.platforms.xen.leftovers import Leftovers
from twinhull.platforms.xen.machines import XenMachines
from twinhull.platforms.xen.monitor import Monitors
from twinhull.platforms.xen.options import XenOptions
from twinhull.platforms.xen.replicas import XenReplicas
from twinhull.platforms.xen.sidecar import Sidecars

DRIVER = "libxl"
"""libvirt's name of its Xen driver, in hook directories."""

_LIMITS: Mapping[Capability, Support] = {
    Capability.CAPTURE_RUNNING: Support(
        is_supported=True,
        reason="Of disks that a QEMU in dom0 serves (qdisk); a guest booted as hvm must have loaded Xen's disk driver.",
    ),
    Capability.CHANGE_TRACKING: Support(
        is_supported=True,
        reason="In qcow2 images; the trackers of a machine booted as hvm do not outlive its switching on or off.",
    ),
    Capability.FREEZE: Support(is_supported=False, reason="Xen machines have no guest agent's channel."),
    Capability.SERIAL_LOG: Support(
        is_supported=True,
        reason="Of pv machines, if the host's xenconsoled keeps logs (--log=guest); for hvm use virsh console.",
    ),
    Capability.BOOT_UEFI: Support(
        is_supported=False, reason="Debian's Xen has no UEFI firmware for its machines; such a machine can boot as pv."
    ),
    Capability.BOOT_PV: Support(
        is_supported=True,
        reason="The host's pygrub reads the boot loader's files out of the guest's disk, as root: trust such a guest.",
    ),
}

_GRADE = GuardGrade(Grade.REFUSES, "Asked by libvirt; a machine that is started by xl, past libvirt, is not guarded.")
_NO_SCREEN = Absent("libvirt's Xen driver takes no screenshots.")

# Xen's own request, then the power button: a guest without Xen's drivers hears the second only.
_SHUTDOWN_REQUESTS = (libvirt.VIR_DOMAIN_SHUTDOWN_PARAVIRT, libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)


class XenGuard(LibvirtGuard):
    """The guard of a Xen host."""

    def grade(self) -> GuardGrade:
        """As strong as libvirt's own switch."""
        return _GRADE


class XenPower(LibvirtPower):
    """Switches machines that libvirt may just be starting."""

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
        if self.state(machine_id).is_off:
            await_start(self._place, machine_id)


class XenSite(LibvirtSite):
    """One Xen host."""

    def __init__(self, settings: SiteSettings, ports: Ports, keys: FindKeys = no_keys) -> None:
        options = options_of(XenOptions, settings)
        super().__init__(settings, options, ports, keys, DRIVER)
        place, standings = self._place, self._standings
        is_asked = not self._connection.is_embedded
        self._guard = XenGuard(self._host, options.hooks_directory, DRIVER, place.directory, is_asked=is_asked)
        monitors = Monitors(place)
        leftovers = Leftovers(place, monitors)
        sidecars = Sidecars(self._host, place.directory)
        self.parts = Parts(
            inventory=XenMachines(place),
            power=XenPower(place, standings, _SHUTDOWN_REQUESTS),
            captures=XenCaptures(place, monitors, leftovers),
            replicas=XenReplicas(place, standings, sidecars, options.boot_mode),
            # Xen opens disks without image locks: while one is open here, the guard does not let its machine start.
            disks=LibvirtDisks(place, lambda machine_id: [("-s", place.disks_lock(machine_id))]),
            standings=standings,
            guard=self._guard,
            leftovers=leftovers,
            serial_log=XenSerialLog(place),
            screen=_NO_SCREEN,
        )

    def limits(self) -> Mapping[Capability, Support]:
        """What it cannot do, or only within limits."""
        return _LIMITS


class XenPlatform:
    """The platform ``xen``."""

    options = XenOptions

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
