"""The power switch of a simulated host, and the guard that stands at it."""

from __future__ import annotations

from collections.abc import Sequence

from twinhull.model.errors import ReplicaDirty, SiteError, StaleEpoch, StillRunning
from twinhull.model.machine import DiskSpec, MachineId, PowerState
from twinhull.platforms.simulated.captures import CAPTURE
from twinhull.platforms.simulated.connection import SimulatedPart
from twinhull.platforms.simulated.machines import SimulatedMachine
from twinhull.platforms.simulated.opening import EXPORT


class SimulatedPower(SimulatedPart):
    """Switches one host's machines."""

    def start(self, machine_id: MachineId, epoch: int) -> None:
        """Switch on, if the guard lets it."""
        with self._connection.call("start"):
            machine = self._connection.machine(machine_id)
            if machine.power is PowerState.RUNNING:
                return
            self._guard(machine, epoch)
            self._require_nothing_open(machine_id)
            self._require_networks(machine)
            machine.switch_on()

    def obstacles(self, machine_id: MachineId) -> Sequence[str]:
        """The networks that the machine is plugged into and that are not there."""
        with self._connection.call("obstacles"):
            return self._missing_networks(self._connection.machine(machine_id))

    def obstacles_when_off(
        self, machine_id: MachineId, disks: Sequence[DiskSpec] = (), *, is_capturing: bool = True
    ) -> Sequence[str]:
        """A machine that would be forgotten, and disks that could not be opened, or that are gone."""
        with self._connection.call("obstacles when off"):
            machine = self._connection.machine(machine_id)
            transient = ["The machine is transient: define it."] if machine.is_transient else []
            bound = machine.bound | {disk.key for disk in disks if disk.key in machine.bound}
            lost = sorted(machine.lost) if is_capturing else []
            return [
                *transient,
                *(f"Disk {key} can be opened only while it runs." for key in sorted(bound)),
                *(f"The image of disk {key} is gone." for key in lost),
            ]

    def stop(self, machine_id: MachineId, grace_seconds: float) -> bool:
        """Ask the guest, then switch off."""
        with self._connection.call("stop"):
            machine = self._connection.machine(machine_id)
            if machine.power.is_off:
                return True
            if machine.is_stubborn:
                self._connection.world.ports.clock.sleep(grace_seconds)
            machine.switch_off()
            if machine.is_transient:
                del self.host.machines[machine_id]
            return not machine.is_stubborn

    def kill(self, machine_id: MachineId) -> None:
        """Switch off at once."""
        with self._connection.call("kill"):
            machine = self._connection.machine(machine_id)
            if not machine.power.is_off:
                machine.switch_off()

    def state(self, machine_id: MachineId) -> PowerState:
        """Whether it runs."""
        with self._connection.call("power"):
            return self._connection.machine(machine_id).power

    def set_autostart(self, machine_id: MachineId, *, is_on: bool) -> bool:
        """Whether the host starts it when it boots; how it was."""
        with self._connection.call("autostart"):
            machine = self._connection.machine(machine_id)
            was, machine.is_autostarted = machine.is_autostarted, is_on
            return was

    def _guard(self, machine: SimulatedMachine, epoch: int) -> None:
        standing = self._connection.standing(machine.spec.machine_id)
        if standing is None:
            return
        if standing.is_dirty:
            raise ReplicaDirty(f"The disks of {machine.spec.name} on {self.host.name} are at no known point.")
        if not standing.may_start or standing.epoch != epoch:
            raise StaleEpoch(
                f"{machine.spec.name} may not start on {self.host.name}: it is {standing.role.value} there in epoch "
                f"{standing.epoch}, and was to start in epoch {epoch}."
            )

    def _require_networks(self, machine: SimulatedMachine) -> None:
        """A card is plugged into a network that is there, or the machine does not start, as on a real host."""
        missing = self._missing_networks(machine)
        if missing:
            raise SiteError(f"{machine.spec.name} does not start on {self.host.name}: {missing[0]}")

    def _missing_networks(self, machine: SimulatedMachine) -> list[str]:
        missing = sorted(set(machine.plugged().values()) - self.host.networks)
        return [f"There is no network '{name}' on {self.host.name}." for name in missing]

    def _require_nothing_open(self, machine_id: MachineId) -> None:
        for held in self.host.held:
            if held.machine_id == machine_id and held.kind in (CAPTURE, EXPORT):
                raise StillRunning(f"A disk of {machine_id} is still open on {self.host.name} ({held.name}).")
