"""Seeing what a running machine shows."""

from __future__ import annotations

from typing import Protocol

from twinhull.model.machine import MachineId


class Screen(Protocol):
    """The console as a picture."""

    def screenshot(self, machine_id: MachineId) -> bytes:
        """The console as PNG; raises NotSupportedHere if this machine has no screen."""
        ...
