"""Looking at simulated machines."""

from __future__ import annotations

from collections.abc import Sequence

from twinhull.model.machine import MachineId, MachineStatus, PowerState
from twinhull.platforms.simulated.connection import SimulatedPart
from twinhull.platforms.simulated.machines import SimulatedMachine


class SimulatedInventory(SimulatedPart):
    """One host's machines."""

    def machines(self) -> Sequence[MachineStatus]:
        """All machines, by name."""
        with self._connection.call("machines"):
            machines = sorted(self.host.machines.values(), key=lambda machine: machine.spec.name)
            return [self._status(machine, is_asking=False) for machine in machines]

    def machine(self, machine_id: MachineId) -> MachineStatus:
        """One machine."""
        with self._connection.call("machine"):
            return self._status(self._connection.machine(machine_id), is_asking=True)

    def _status(self, machine: SimulatedMachine, *, is_asking: bool) -> MachineStatus:
        answers = machine.has_agent and not machine.is_deaf and machine.power is PowerState.RUNNING
        held = self.host.standings.get(machine.spec.machine_id)
        standing = self._connection.listed(held) if held else None
        return MachineStatus(machine.spec, machine.power, machine.has_agent, answers if is_asking else None, standing)
