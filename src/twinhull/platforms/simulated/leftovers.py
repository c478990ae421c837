"""What dead processes held on a simulated host."""

from __future__ import annotations

from collections.abc import Sequence

from twinhull.model.machine import MachineId
from twinhull.platforms.contract import TRACKER, Leftover, OnTrouble, raising
from twinhull.platforms.simulated.captures import drop_tracker
from twinhull.platforms.simulated.connection import SimulatedPart


class SimulatedLeftovers(SimulatedPart):
    """Finds and removes them."""

    def find(
        self,
        machine_id: MachineId | None,
        kept_trackers: Sequence[str],
        on_trouble: OnTrouble = raising,  # noqa: ARG002 - all are looked at, or none
    ) -> Sequence[Leftover]:
        """What dead processes held, and trackers that no capture counts on."""
        process = self._connection.world.process
        with self._connection.call("leftovers"):
            mine = [held for held in self.host.held if machine_id in (None, held.machine_id)]
            found = [Leftover(h.kind, h.name, h.machine_id) for h in mine if h.process != process]
            living = {held.name for held in mine if held.process == process}
            if machine_id is None or machine_id not in self.host.machines:
                return found
            machine = self.host.machines[machine_id]
            names = {name for trackers in machine.trackers.values() for name in trackers}
            forgotten = sorted(names - set(kept_trackers) - living)
            return [*found, *(Leftover(TRACKER, name, machine_id) for name in forgotten)]

    def clean(self, leftover: Leftover) -> None:
        """Remove one."""
        with self._connection.call(f"clean {leftover.kind}"):
            if leftover.kind == TRACKER and leftover.machine_id in self.host.machines:
                drop_tracker(self.host.machines[leftover.machine_id], leftover.name)
            self.host.held = [
                held
                for held in self.host.held
                if (held.kind, held.name, held.machine_id) != (leftover.kind, leftover.name, leftover.machine_id)
            ]
