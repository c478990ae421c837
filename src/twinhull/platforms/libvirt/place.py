"""Where all of this happens: one site's libvirt, its host, and our directory there."""

from __future__ import annotations

from dataclasses import dataclass

from twinhull.model.machine import DiskKey, MachineId
from twinhull.model.ports import Clock
from twinhull.platforms.hosts import Host
from twinhull.platforms.libvirt.connection import LibvirtConnection


@dataclass(frozen=True, slots=True)
class Place:
    """One site. ``directory`` is ours on its host; ``run``, ``scratch``, ``replicas``, ``standings`` lie below it."""

    site: str
    connection: LibvirtConnection
    host: Host
    clock: Clock
    directory: str

    @property
    def scratch(self) -> str:
        """Where the scratch directories are."""
        return f"{self.directory}/scratch"

    def replica(self, machine_id: MachineId) -> str:
        """The directory of a replica's files."""
        return f"{self.directory}/replicas/{machine_id}"

    def image(self, machine_id: MachineId, key: DiskKey) -> str:
        """The image of a replica's disk."""
        return f"{self.replica(machine_id)}/{key}.qcow2"

    def is_ours(self, path: str) -> bool:
        """Whether an image is one that we made."""
        return path.startswith(f"{self.directory}/replicas/")

    def capture_lock(self, machine_id: MachineId) -> str:
        """Held by whoever captures the machine."""
        return f"{self.directory}/run/{machine_id}.lock"

    def disks_lock(self, machine_id: MachineId) -> str:
        """Held, shared, by whoever has a stopped machine's disks open; the guard starts nothing meanwhile."""
        return f"{self.directory}/run/{machine_id}.disks"
