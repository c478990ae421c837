"""Reading what a running machine writes."""

from __future__ import annotations

from typing import Protocol

from twinhull.model.machine import MachineId


class SerialLog(Protocol):
    """What guests write to their serial consoles."""

    def read(self, machine_id: MachineId, last_bytes: int) -> str:
        """The end of it; raises NotSupportedHere if this machine keeps no log."""
        ...
