"""Opening the disks of a machine that is off."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from twinhull.blocks.disk import Disk
from twinhull.model.machine import DiskKey, MachineId


class DiskDoor(Protocol):
    """A disk that is open on a site: hands out handles until its context ends."""

    def __call__(self) -> Disk:
        """A further handle; every handle is closed by its user."""
        ...


class Disks(Protocol):
    """Disks of stopped machines. While one is open, its machine does not start."""

    def writing(self, machine_id: MachineId, key: DiskKey) -> AbstractContextManager[DiskDoor]:
        """Open a stopped machine's disk for reading and writing; raises StillRunning."""
        ...

    def reading(self, machine_id: MachineId, key: DiskKey) -> AbstractContextManager[DiskDoor]:
        """Open a stopped machine's disk for reading; raises StillRunning."""
        ...
