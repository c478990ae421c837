"""What the site itself holds about its machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from twinhull.model.machine import MachineId, Standing


class Standings(Protocol):
    """What the site itself holds about a machine: see :class:`twinhull.model.machine.Standing`."""

    def read(self, machine_id: MachineId) -> Standing | None:
        """The machine's standing here, or None where there is none; raises DataError where it cannot be understood."""
        ...

    def read_all(self) -> Sequence[Standing]:
        """All of them; one that cannot be understood is told with ``Role.UNREADABLE``, here and in the inventory."""
        ...

    def write(self, standing: Standing) -> None:
        """Write it, durably and as a whole, compared with what is held under one lock on the site.

        Raises StaleEpoch where the epoch that is held is higher, or is the same and was claimed by another run, or is
        the same and the machine would cease to be primary. A standing that names no claim can be followed by any.
        Raises ReplicaDirty where a replica that is dirty, or at another point, would become the primary. What is held
        stays then.
        """
        ...

    def remove(self, machine_id: MachineId) -> None:
        """Forget the machine: it starts freely again. Safe to repeat."""
        ...

    def trust(self, *, is_dry_run: bool) -> Sequence[Standing]:
        """Believe, as at the first contact, what the host says of our machines: seal standings that others sealed.

        Returns those that were sealed, or would be. One that cannot be understood stays as it is. Safe to repeat.
        """
        ...
