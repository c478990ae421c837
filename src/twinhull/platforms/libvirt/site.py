"""A site behind libvirt: what of the contract is the same for each of its platforms, handed to who knows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from twinhull.blocks.nbd import NbdDisk
from twinhull.hosts import host_directory
from twinhull.hosts.host import check, open_host
from twinhull.model.lacks import Lack
from twinhull.model.machine import DiskKey, DiskSpec, MachineId, PowerState, Standing
from twinhull.model.ports import Ports
from twinhull.model.sealing import FindKeys
from twinhull.platforms.contract import (
    Capture,
    CaptureRequest,
    Captures,
    Leftover,
    OnTrouble,
    ReplicaChanges,
    ReplicaRequest,
    SiteIdentity,
    SiteSettings,
    raising,
)
from twinhull.platforms.guard import guard
from twinhull.platforms.guard.standings import StandingFiles
from twinhull.platforms.libvirt import finding, power
from twinhull.platforms.libvirt.connection import LibvirtConnection, told
from twinhull.platforms.libvirt.definition.xml import parse_xml
from twinhull.platforms.libvirt.obstacles import obstacles
from twinhull.platforms.libvirt.place import Place
from twinhull.platforms.libvirt.when_off import obstacles_when_off


class Replicas(Protocol):
    """A platform's way of making the powered-off twin."""

    def prepare(self, request: ReplicaRequest) -> ReplicaChanges:
        """Create the replica, or make it follow."""
        ...

    def lacks(self, request: ReplicaRequest) -> Sequence[Lack]:
        """What the replica lacks of its machine."""
        ...

    def remove(self, machine_id: MachineId) -> None:
        """Remove a replica that we made, its disks and its standing; safe to repeat."""
        ...


class Leftovers(Protocol):
    """A platform's way of finding what killed processes left."""

    def find(
        self, machine_id: MachineId | None, kept_trackers: Sequence[str], on_trouble: OnTrouble = raising
    ) -> Sequence[Leftover]:
        """All of ours that belongs to nobody alive; of one machine, where one is named."""
        ...

    def clean(self, leftover: Leftover) -> None:
        """Remove one; safe to repeat."""
        ...


class LibvirtSite(ABC):
    """One host's libvirt. ``driver`` is libvirt's name of its driver, in hook directories.

    ``requests`` are the ways to ask a guest to shut down, in the order in which they are tried. Each platform brings
    its own captures, replicas and leftovers.
    """

    _captures: Captures
    _replicas: Replicas
    _leftovers: Leftovers

    def __init__(
        self, settings: SiteSettings, ports: Ports, keys: FindKeys, driver: str, requests: Sequence[int]
    ) -> None:
        self.settings = settings
        self._driver = driver
        self._requests = requests
        self._host = open_host(settings.uri, ports)
        self._connection = LibvirtConnection(settings.name, settings.uri, self._host, ports.clock)
        self._place = Place(settings.name, self._connection, self._host, ports.clock, settings.directory, keys)
        is_guarded = not self._connection.is_embedded
        protected = guard.protected_path(settings.hooks_directory, settings.directory) if is_guarded else ""
        self._standings = StandingFiles(self._host, settings.directory, protected, keys, settings.name)
        self._ports = ports
        self._is_prepared = False

    def connect(self) -> None:
        """Meet libvirt, and change nothing; raises SiteUnreachable, SiteInUse."""
        self._connection.get()

    def prepare(self) -> None:
        """Make our directory there, and put the guard at libvirt's power switch if it asks hooks; safe to repeat."""
        home = host_directory.prepare(self._host, self.settings.directory, self._ports.randomness.uuid())
        hooks = self.settings.hooks_directory
        is_asking = not self._connection.is_embedded
        if is_asking and guard.install(self._host, hooks, self._driver, self.settings.directory):
            self._reload()
        self._standings.take_over(home)
        self._is_prepared = True

    def trust(self, *, is_dry_run: bool) -> Sequence[Standing]:
        """Seal also our machines' standings whose seal is not ours; returns those that were, or would be, sealed."""
        return self._standings.take_over(is_trusting=True, is_dry_run=is_dry_run)

    def identity(self) -> SiteIdentity:
        """The running host with its libvirt, and our directory there."""
        with told(self.settings.name, "asking which host it is"):
            capabilities = parse_xml(self._connection.get().getCapabilities())
        boot = check(self._host, ["cat", "/proc/sys/kernel/random/boot_id"]).decode().strip()
        root = self._connection.uri if self._connection.is_embedded else ""
        host = " ".join([self._driver, capabilities.findtext("host/uuid") or "", boot, root]).strip()
        return SiteIdentity(host, host_directory.read_id(self._host, self.settings.directory))

    def _reload(self) -> None:
        """Tell libvirt that there are hooks; what cannot be told is tried again at the next connection.

        Until then the site can be used, as it could without a guard; ``site check`` tells that no hook is asked.
        """
        if self._host.run(["sh", "-c", _RELOAD, "twinhull-reload"]).is_ok:
            guard.libvirt_was_told(self._host, self._driver, self.settings.directory)

    def withdraw(self) -> Sequence[str]:
        """Take the guard away, unless a standing here needs it; returns what was left on the host."""
        settings = self.settings
        return guard.withdraw(self._host, settings.hooks_directory, self._driver, settings.directory)

    def close(self) -> None:
        """Close the connection; safe to repeat."""
        self._connection.close()
        self._host.close()

    def power(self, machine_id: MachineId) -> PowerState:
        """Whether it runs."""
        return finding.power(self._place, finding.find(self._place, machine_id))

    def start(self, machine_id: MachineId, epoch: int) -> None:
        """Switch on, if the standing here lets this epoch start."""
        power.start(self._place, self._standings, machine_id, epoch)

    def obstacles(self, machine_id: MachineId) -> Sequence[str]:
        """What would keep it from being switched on right now."""
        return obstacles(self._place, machine_id)

    def obstacles_when_off(
        self, machine_id: MachineId, disks: Sequence[DiskSpec] = (), *, is_capturing: bool = True
    ) -> Sequence[str]:
        """What would keep it from being worked on once it is off."""
        return obstacles_when_off(self._place, machine_id, disks, is_capturing=is_capturing)

    def stop(self, machine_id: MachineId, grace_seconds: float) -> bool:
        """Ask the guest to shut down, then switch off."""
        return power.stop(self._place, machine_id, grace_seconds, self._requests)

    def kill(self, machine_id: MachineId) -> None:
        """Switch off at once."""
        power.kill(self._place, machine_id)

    def set_autostart(self, machine_id: MachineId, *, is_on: bool) -> bool:
        """Whether the host starts the machine when it boots."""
        return power.set_autostart(self._place, machine_id, is_on=is_on)

    def write_disk(self, machine_id: MachineId, key: DiskKey) -> AbstractContextManager[Callable[[], NbdDisk]]:
        """Open a stopped machine's disk for reading and writing."""
        return self.open_disk(machine_id, key, is_writable=True)

    def read_disk(self, machine_id: MachineId, key: DiskKey) -> AbstractContextManager[Callable[[], NbdDisk]]:
        """Open a stopped machine's disk for reading."""
        return self.open_disk(machine_id, key, is_writable=False)

    @abstractmethod
    def open_disk(
        self, machine_id: MachineId, key: DiskKey, *, is_writable: bool
    ) -> AbstractContextManager[Callable[[], NbdDisk]]:
        """Open a stopped machine's disk, and keep others away meanwhile, in the platform's own way."""

    def capture(self, request: CaptureRequest) -> AbstractContextManager[Capture]:
        """Capture a machine, running or stopped; raises MachineBusy, NotFound, NotSupportedHere, SiteFull."""
        return self._captures.capture(request)

    def arm_trackers(self, machine_id: MachineId, capture_id: str) -> Mapping[DiskKey, str]:
        """Leave trackers on a stopped machine; raises StillRunning."""
        return self._captures.arm_trackers(machine_id, capture_id)

    def prepare_replica(self, request: ReplicaRequest) -> ReplicaChanges:
        """Create the replica, or make it follow the spec; raises SiteFull, NotSupportedHere, StillRunning."""
        return self._replicas.prepare(request)

    def lacks(self, request: ReplicaRequest) -> Sequence[Lack]:
        """What the replica of that request lacks here, or would lack."""
        return self._replicas.lacks(request)

    def remove_replica(self, machine_id: MachineId) -> None:
        """Remove a replica that we made; safe to repeat."""
        self._replicas.remove(machine_id)

    def leftovers(
        self, machine_id: MachineId | None, kept_trackers: Sequence[str], on_trouble: OnTrouble = raising
    ) -> Sequence[Leftover]:
        """All of ours that belongs to nobody alive."""
        return self._leftovers.find(machine_id, kept_trackers, on_trouble)

    def clean(self, leftover: Leftover) -> None:
        """Remove one; safe to repeat."""
        self._leftovers.clean(leftover)

    def standing(self, machine_id: MachineId) -> Standing | None:
        """The machine's standing here."""
        return self._standings.read(machine_id)

    def standings(self) -> Sequence[Standing]:
        """All of them."""
        return self._standings.read_all()

    def write_standing(self, standing: Standing) -> None:
        """Write it, durably and as a whole; raises StaleEpoch where it may not follow what is held."""
        self._standings.write(standing)

    def remove_standing(self, machine_id: MachineId) -> None:
        """Forget the machine."""
        self._standings.remove(machine_id)


_RELOAD = """
reloaded=1
for unit in libvirtd virtqemud virtxend; do
  if systemctl --quiet is-active "$unit" 2>/dev/null; then systemctl reload "$unit" || exit; reloaded=0; fi
done
exit $reloaded
"""
