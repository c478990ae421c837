"""A Xen host as a site: libvirt's libxl driver for machines and power, ssh for files, NBD and QEMU's own monitor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager

from twinhull.blocks.nbd import NbdDisk
from twinhull.model.errors import UsageError
from twinhull.model.machine import BootMode, DiskKey, MachineId, MachineStatus, PowerState, Standing
from twinhull.model.ports import Ports
from twinhull.platforms import guard
from twinhull.platforms.contract import (
    Capability,
    CaptureRequest,
    Leftover,
    ReplicaChanges,
    ReplicaRequest,
    Site,
    SiteSettings,
    Support,
)
from twinhull.platforms.hosts import Host, check, open_host
from twinhull.platforms.libvirt_connection import LibvirtConnection
from twinhull.platforms.standings import StandingFiles
from twinhull.platforms.xen.captures import XenCaptures
from twinhull.platforms.xen.images import Images
from twinhull.platforms.xen.leftovers import Leftovers
from twinhull.platforms.xen.machines import Machines
from twinhull.platforms.xen.monitor import Monitors
from twinhull.platforms.xen.opened import OpenedCapture
from twinhull.platforms.xen.place import Place
from twinhull.platforms.xen.power import Switch
from twinhull.platforms.xen.replicas import XenReplicas
from twinhull.platforms.xen.sidecar import Sidecars

_DRIVER = "libxl"

_RELOAD = """
for unit in libvirtd virtxend; do
  if systemctl --quiet is-active "$unit" 2>/dev/null; then systemctl reload "$unit"; exit; fi
done
exit 0
"""

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
        is_supported=True, reason="Of pv machines where the host's xenconsoled keeps logs (--log=guest)."
    ),
    Capability.SCREENSHOT: Support(is_supported=False, reason="libvirt's Xen driver takes no screenshots."),
    Capability.BOOT_BIOS: Support(is_supported=True),
    Capability.BOOT_UEFI: Support(
        is_supported=False, reason="Debian's Xen has no UEFI firmware for its machines; such a machine can boot as pv."
    ),
    Capability.BOOT_PV: Support(is_supported=True, reason="By the image's own boot loader configuration (pygrub)."),
}


class XenSite:
    """One Xen host."""

    def __init__(self, settings: SiteSettings, host: Host, ports: Ports) -> None:
        connection = LibvirtConnection(settings.name, settings.uri, host, ports.clock)
        place = Place(settings.name, connection, host, ports.clock, settings.directory)
        self._settings = settings
        self._host = host
        self._connection = connection
        self._standings = StandingFiles(host, settings.directory)
        self._machines = Machines(place, self._standings, Sidecars(host, settings.directory), Images(host))
        monitors = Monitors(place, self._machines)
        self._leftovers = Leftovers(place, self._machines, monitors)
        self._captures = XenCaptures(place, self._machines, monitors, self._leftovers)
        self._replicas = XenReplicas(place, self._machines, _boot_mode(settings))
        self._switch = Switch(place, self._machines)
        self._is_guarded = False

    @property
    def settings(self) -> SiteSettings:
        """How it was reached."""
        return self._settings

    def connect(self) -> None:
        """Meet the host and its libvirt; raises SiteUnreachable, HostKeyChanged, LoginRefused."""
        self._connection.get()

    def capabilities(self) -> Mapping[Capability, Support]:
        """What it can do; every capability is named."""
        return _CAPABILITIES

    def close(self) -> None:
        """Close the connection; safe to repeat."""
        self._connection.close()
        self._host.close()

    def machines(self) -> Sequence[MachineStatus]:
        """All machines of the site, by name."""
        return self._machines.machines()

    def machine(self, machine_id: MachineId) -> MachineStatus:
        """One machine; raises NotFound."""
        return self._machines.machine(machine_id)

    def start(self, machine_id: MachineId, epoch: int) -> None:
        """Switch on; raises StaleEpoch, ReplicaDirty."""
        self._ensure_guard()
        self._switch.start(machine_id, epoch)

    def stop(self, machine_id: MachineId, grace_seconds: float) -> bool:
        """Ask the guest to shut down, then switch off after the grace time; True if the guest did it by itself."""
        return self._switch.stop(machine_id, grace_seconds)

    def kill(self, machine_id: MachineId) -> None:
        """Switch off at once; safe to repeat."""
        self._switch.kill(machine_id)

    def power(self, machine_id: MachineId) -> PowerState:
        """Whether it runs; raises NotFound."""
        return self._machines.power(machine_id)

    def set_autostart(self, machine_id: MachineId, *, is_on: bool) -> bool:
        """Whether the host starts the machine by itself when it boots; returns how it was before."""
        return self._switch.set_autostart(machine_id, is_on=is_on)

    def serial_log(self, machine_id: MachineId, last_bytes: int) -> str:
        """The end of what the guest wrote to its console; raises NotSupportedHere."""
        return self._switch.serial_log(machine_id, last_bytes)

    def screenshot(self, machine_id: MachineId) -> bytes:
        """Raises NotSupportedHere."""
        return self._switch.screenshot(machine_id)

    def capture(self, request: CaptureRequest) -> AbstractContextManager[OpenedCapture]:
        """Capture a machine, running or stopped; raises MachineBusy, NotFound, NotSupportedHere, SiteFull."""
        self._ensure_guard()
        return self._captures.capture(request)

    def arm_trackers(self, machine_id: MachineId, capture_id: str) -> Mapping[DiskKey, str]:
        """Leave trackers on a stopped machine; raises StillRunning."""
        self._ensure_guard()
        return self._captures.arm_trackers(machine_id, capture_id)

    def prepare_replica(self, request: ReplicaRequest) -> ReplicaChanges:
        """Create the replica, or make it follow the spec; raises SiteFull, NotSupportedHere, StillRunning."""
        self._ensure_guard()
        return self._replicas.prepare(request)

    def remove_replica(self, machine_id: MachineId) -> None:
        """Remove a replica that we made; safe to repeat."""
        self._replicas.remove(machine_id)

    def write_disk(self, machine_id: MachineId, key: DiskKey) -> AbstractContextManager[Callable[[], NbdDisk]]:
        """Open a stopped machine's disk for reading and writing; raises StillRunning."""
        return self._replicas.open_disk(machine_id, key, is_writable=True)

    def read_disk(self, machine_id: MachineId, key: DiskKey) -> AbstractContextManager[Callable[[], NbdDisk]]:
        """Open a stopped machine's disk for reading; raises StillRunning."""
        return self._replicas.open_disk(machine_id, key, is_writable=False)

    def standing(self, machine_id: MachineId) -> Standing | None:
        """The machine's standing here, or None where there is none."""
        return self._standings.read(machine_id)

    def standings(self) -> Sequence[Standing]:
        """All of them."""
        return self._standings.read_all()

    def write_standing(self, standing: Standing) -> None:
        """Write it, durably and as a whole; refuses (StaleEpoch) to lower the epoch that is held."""
        self._ensure_guard()
        self._standings.write(standing)

    def remove_standing(self, machine_id: MachineId) -> None:
        """Forget the machine: it starts freely again. Safe to repeat."""
        self._standings.remove(machine_id)

    def leftovers(self, machine_id: MachineId | None, kept_trackers: Sequence[str]) -> Sequence[Leftover]:
        """All that carries our label and belongs to nothing that is alive."""
        return self._leftovers.find(machine_id, kept_trackers)

    def clean(self, leftover: Leftover) -> None:
        """Remove one; safe to repeat."""
        self._leftovers.clean(leftover)

    def _ensure_guard(self) -> None:
        """Put the guard at the host's power switch before anything is there that it must guard."""
        if self._is_guarded:
            return
        hooks = self._settings.hooks_directory
        if guard.install(self._host, hooks, _DRIVER, self._settings.directory):
            check(self._host, ["sh", "-c", _RELOAD])
        self._is_guarded = True


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

    def open(self, settings: SiteSettings, ports: Ports) -> Site:
        """Connect; raises SiteUnreachable, HostKeyChanged, LoginRefused."""
        site = XenSite(settings, open_host(settings.uri, ports), ports)
        try:
            site.connect()
        except BaseException:
            site.close()
            raise
        return site
