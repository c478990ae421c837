"""Opening the disks of simulated machines that are off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from twinhull.model.errors import NotFound
from twinhull.model.machine import DiskKey, MachineId
from twinhull.platforms.contract import DiskDoor
from twinhull.platforms.simulated.connection import SimulatedPart
from twinhull.platforms.simulated.handles import DiskHandle
from twinhull.platforms.simulated.world import Held

EXPORT = "export"


class SimulatedDisks(SimulatedPart):
    """Disks of one host's stopped machines."""

    def writing(self, machine_id: MachineId, key: DiskKey) -> AbstractContextManager[DiskDoor]:
        """Open for reading and writing."""
        return self._open(machine_id, key, is_writing=True)

    def reading(self, machine_id: MachineId, key: DiskKey) -> AbstractContextManager[DiskDoor]:
        """Open for reading."""
        return self._open(machine_id, key, is_writing=False)

    @contextmanager
    def _open(self, machine_id: MachineId, key: DiskKey, *, is_writing: bool) -> Iterator[DiskDoor]:
        world, host = self._connection.world, self.host
        held = Held(EXPORT, f"{key}-{world.ports.randomness.token(4).hex()}", machine_id, world.process)
        with self._connection.call("open disk"):
            machine = self._connection.stopped(machine_id)
            if key not in machine.disks or key in machine.bound | machine.lost:
                raise NotFound(f"{machine.spec.name} on {host.name} has no disk {key}.")
            host.held.append(held)
        disk, put = machine.disks[key], machine.put_from_outside if is_writing else None
        try:
            yield lambda: DiskHandle(world, host, key, disk, put)
        finally:
            host.let_go(held)
            with self._connection.call("close disk"):
                host.held = [item for item in host.held if item.name != held.name]
