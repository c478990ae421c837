"""One process's connection to a simulated host: it dies with its process; the host does not."""

from __future__ import annotations

from contextlib import AbstractContextManager

from twinhull.model.errors import DataError, NotFound, SiteUnreachable, StillRunning
from twinhull.model.machine import MachineId, Role, Standing
from twinhull.platforms.simulated.machines import SimulatedMachine
from twinhull.platforms.simulated.world import SimulatedHost, SimulatedWorld


class Connection:
    """What the parts of a simulated site share."""

    def __init__(self, world: SimulatedWorld, host: SimulatedHost) -> None:
        self.world = world
        self.host = host
        self._process = world.process

    def call(self, name: str) -> AbstractContextManager[None]:
        """One call on the host; raises SiteUnreachable."""
        if self._process != self.world.process:
            raise SiteUnreachable(f"This connection to {self.host.name} belonged to a process that is gone.")
        return self.world.call(self.host, name)

    def machine(self, machine_id: MachineId) -> SimulatedMachine:
        """A machine of the host; raises NotFound."""
        machine = self.host.machines.get(machine_id)
        if machine is None:
            raise NotFound(f"There is no machine {machine_id} on {self.host.name}.")
        return machine

    def stopped(self, machine_id: MachineId) -> SimulatedMachine:
        """A machine that is off; raises NotFound, StillRunning."""
        machine = self.machine(machine_id)
        self.require_off(machine)
        return machine

    def require_off(self, machine: SimulatedMachine) -> None:
        """Refuse to work on a machine that runs; raises StillRunning."""
        if not machine.power.is_off:
            raise StillRunning(
                f"{machine.spec.name} runs on {self.host.name}; nothing was done to it.", hint="Stop it first."
            )

    def standing(self, machine_id: MachineId) -> Standing | None:
        """The standing that the host holds; raises DataError for one that was damaged."""
        if machine_id in self.host.unreadable:
            raise DataError(f"The standing of {machine_id} on {self.host.name} cannot be read.")
        return self.host.standings.get(machine_id)

    def listed(self, held: Standing) -> Standing:
        """A standing as a listing shows it."""
        is_unreadable = held.machine_id in self.host.unreadable
        return Standing(held.machine_id, Role.UNREADABLE, epoch=0) if is_unreadable else held


class SimulatedPart:
    """A part of a simulated site."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.host = connection.host
