"""Where all of this happens: one site's libvirt, its host, and our directory there."""

from __future__ import annotations

from dataclasses import dataclass

from twinhull.hosts.host import Host
from twinhull.model.machine import DiskKey, MachineId
from twinhull.model.names import checked_disk_key, checked_machine_id
from twinhull.model.ports import Clock
from twinhull.model.sealing import FindKeys, no_keys
from twinhull.platforms.libvirt.connection import LibvirtConnection


@dataclass(frozen=True, slots=True)
class Place:
    """One site. ``directory`` is ours on its host; ``run``, ``scratch``, ``replicas``, ``standings`` lie below it.

    What becomes part of a path is checked once more here: root writes these files.
    """

    site: str
    connection: LibvirtConnection
    host: Host
    clock: Clock
    directory: str
    keys: FindKeys = no_keys

    @property
    def scratch(self) -> str:
        """Where the scratch directories are."""
        return f"{self.directory}/scratch"

    def replica(self, machine_id: MachineId) -> str:
        """The directory of a replica's files."""
        return f"{self.directory}/replicas/{checked_machine_id(machine_id)}"

    def image(self, machine_id: MachineId, key: DiskKey) -> str:
        """The image of a replica's disk."""
        return f"{self.replica(machine_id)}/{checked_disk_key(key)}.qcow2"

    def is_ours(self, machine_id: MachineId, key: DiskKey, path: str) -> bool:
        """Whether a disk's image is the one that we made for it: exactly that path, as it is written."""
        return path == self.image(machine_id, key)

    def capture_lock(self, machine_id: MachineId) -> str:
        """Held by whoever captures the machine."""
        return f"{self.directory}/run/{checked_machine_id(machine_id)}.lock"

    def starting_mark(self, machine_id: MachineId) -> str:
        """Set by the guard when it lets a machine start on Xen, gone when libvirt says that it runs or is off again."""
        return f"{self.directory}/run/{checked_machine_id(machine_id)}.starting"

    def disks_lock(self, machine_id: MachineId) -> str:
        """Held, shared, by whoever has a stopped machine's disks open; the guard starts nothing meanwhile."""
        return f"{self.directory}/run/{checked_machine_id(machine_id)}.disks"
