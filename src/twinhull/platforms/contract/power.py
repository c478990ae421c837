"""The power switch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from twinhull.model.machine import DiskSpec, MachineId, PowerState


class Power(Protocol):
    """The power switch of a site's machines."""

    def start(self, machine_id: MachineId, epoch: int) -> None:
        """Switch on. Returns at once if it runs already.

        Raises StaleEpoch where the site holds a standing that does not let this epoch start, and ReplicaDirty where
        its disks are at no known point. The check is made on the site, at the power switch, where it can be.
        """
        ...

    def obstacles(self, machine_id: MachineId) -> Sequence[str]:
        """What would keep the machine, as it is defined here, from being switched on right now; raises NotFound.

        One sentence for each thing that is not there, such as a network or an image; empty where none is known. The
        standing is not asked.
        """
        ...

    def obstacles_when_off(
        self, machine_id: MachineId, disks: Sequence[DiskSpec] = (), *, is_capturing: bool = True
    ) -> Sequence[str]:
        """What would keep the machine from being captured, given disks and kept once it is off; raises NotFound.

        Asked before it is stopped. One sentence for each thing, with what to do about it. ``disks`` are those that the
        machine shall get where it is. Where no capture follows (``is_capturing``), a disk whose image is gone is no
        obstacle: it is made anew, or taken out.
        """
        ...

    def stop(self, machine_id: MachineId, grace_seconds: float) -> bool:
        """Ask the guest to shut down, then switch off after the grace time; True if the guest did it by itself.

        Returns True at once if it is off already.
        """
        ...

    def kill(self, machine_id: MachineId) -> None:
        """Switch off at once. Safe to repeat."""
        ...

    def state(self, machine_id: MachineId) -> PowerState:
        """Whether it runs; raises NotFound."""
        ...

    def set_autostart(self, machine_id: MachineId, *, is_on: bool) -> bool:
        """Whether the host starts the machine by itself when it boots; returns how it was before."""
        ...
