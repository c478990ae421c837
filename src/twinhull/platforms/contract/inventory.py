"""Looking at machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from twinhull.model.machine import MachineId, MachineStatus


class Inventory(Protocol):
    """Looking at machines."""

    def machines(self) -> Sequence[MachineStatus]:
        """All machines of the site, by name, each with its standing. Does not ask guest agents."""
        ...

    def machine(self, machine_id: MachineId) -> MachineStatus:
        """One machine, its agent asked; raises NotFound."""
        ...
