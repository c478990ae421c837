"""Standings on a simulated host: in memory, and without seals."""

from __future__ import annotations

from collections.abc import Sequence

from twinhull.model.machine import MachineId, Standing
from twinhull.platforms.contract import GuardGrade
from twinhull.platforms.guard.standings import check_may_follow
from twinhull.platforms.simulated.connection import SimulatedPart


class SimulatedStandings(SimulatedPart):
    """What one host holds of its machines."""

    def read(self, machine_id: MachineId) -> Standing | None:
        """What is held."""
        with self._connection.call("standing"):
            return self._connection.standing(machine_id)

    def read_all(self) -> Sequence[Standing]:
        """All of them."""
        with self._connection.call("standings"):
            return [self._connection.listed(held) for held in self.host.standings.values()]

    def write(self, standing: Standing) -> None:
        """Write it, if it may follow what is held."""
        with self._connection.call("write standing"):
            check_may_follow(self._connection.standing(standing.machine_id), standing, self.host.name)
            self.host.standings[standing.machine_id] = standing

    def remove(self, machine_id: MachineId) -> None:
        """Forget the machine."""
        with self._connection.call("remove standing"):
            self.host.standings.pop(machine_id, None)
            self.host.unreadable.discard(machine_id)

    def trust(self, *, is_dry_run: bool) -> Sequence[Standing]:  # noqa: ARG002 - the same either way
        """Nothing: there are no seals."""
        with self._connection.call("trust"):
            return ()


class SimulatedGuard(SimulatedPart):
    """The guard at the host's power switch, as strong as a test makes it."""

    def grade(self) -> GuardGrade:
        """What the test says."""
        with self._connection.call("guard"):
            return self.host.guard

    def withdraw(self) -> Sequence[str]:
        """There is nothing of ours on the host but standings; says how many were left."""
        with self._connection.call("withdraw"):
            count = len(self.host.standings)
            return [f"Standings are left on {self.host.name} (machines: {count})."] if count else []
