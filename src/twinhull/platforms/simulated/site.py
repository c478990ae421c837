"""A simulated site: one process's connection to a simulated host, with every part but pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

from twinhull.model.lacks import Lack
from twinhull.model.machine import DiskKey, MachineId
from twinhull.platforms.contract import (
    Absent,
    Capture,
    CaptureRequest,
    Parts,
    ReplicaChanges,
    ReplicaRequest,
    Site,
    SiteIdentity,
    SiteSettings,
)
from twinhull.platforms.simulated.captures import capturing
from twinhull.platforms.simulated.connection import Connection, SimulatedPart
from twinhull.platforms.simulated.inventory import SimulatedInventory
from twinhull.platforms.simulated.leftovers import SimulatedLeftovers
from twinhull.platforms.simulated.machines import SimulatedMachine, Tracker
from twinhull.platforms.simulated.opening import SimulatedDisks
from twinhull.platforms.simulated.power import SimulatedPower
from twinhull.platforms.simulated.replicas import follow, lacks
from twinhull.platforms.simulated.standings import SimulatedGuard, SimulatedStandings
from twinhull.platforms.simulated.world import SimulatedHost, SimulatedWorld


class SimulatedCaptures(SimulatedPart):
    """Captures of one host."""

    def capture(self, request: CaptureRequest) -> AbstractContextManager[Capture]:
        """Capture a machine."""
        return self._capture(request)

    @contextmanager
    def _capture(self, request: CaptureRequest) -> Iterator[Capture]:
        with self._connection.call("find machine"):
            machine = self._connection.machine(request.machine_id)
        with capturing(self._connection.world, self.host, machine, request) as capture:
            yield capture

    def arm_trackers(self, machine_id: MachineId, capture_id: str) -> Mapping[DiskKey, str]:
        """Leave trackers on a stopped machine."""
        with self._connection.call("arm trackers"):
            machine = self._connection.stopped(machine_id)
            armed = [disk.key for disk in machine.spec.disks if disk.key not in machine.untrackable]
            machine.trackers = {key: {} for key in machine.disks}
            for key in armed:
                machine.trackers[key] = {capture_id: Tracker()}
            return dict.fromkeys(armed, capture_id)


class SimulatedReplicas(SimulatedPart):
    """Replicas on one host."""

    def prepare(self, request: ReplicaRequest) -> ReplicaChanges:
        """Create the replica, or make it follow."""
        with self._connection.call("prepare replica"):
            machine = self.host.machines.get(request.spec.machine_id)
            if machine:
                self._connection.require_off(machine)
            is_new = machine is None
            if machine is None:
                bare = replace(request.spec, disks=())
                machine = SimulatedMachine(bare, self._connection.world.ports.clock, is_ours=True)
                self.host.machines[request.spec.machine_id] = machine
            return replace(follow(machine, request), is_new=is_new)

    def lacks(self, request: ReplicaRequest) -> tuple[Lack, ...]:
        """What the replica of that request lacks."""
        with self._connection.call("lacks"):
            return lacks(self.host.machines.get(request.spec.machine_id), request.spec)

    def remove(self, machine_id: MachineId) -> None:
        """Remove a replica that we made."""
        with self._connection.call("remove replica"):
            machine = self.host.machines.get(machine_id)
            if machine is None or not machine.is_ours:
                return
            self._connection.require_off(machine)
            del self.host.machines[machine_id]
            self.host.standings.pop(machine_id, None)


class SimulatedSerialLog(SimulatedPart):
    """What guests wrote."""

    def read(self, machine_id: MachineId, last_bytes: int) -> str:
        """One line for each start."""
        with self._connection.call("serial log"):
            starts = self._connection.machine(machine_id).starts
            return "".join(f"start {number + 1}\n" for number in range(starts))[-last_bytes:]


class SimulatedSite(Site):
    """One connection, and all that it offers."""

    def __init__(self, world: SimulatedWorld, settings: SiteSettings) -> None:
        super().__init__(settings)
        self.host: SimulatedHost = world.host(settings.name)
        self.connection = connection = Connection(world, self.host)
        self.parts = Parts(
            inventory=SimulatedInventory(connection),
            power=SimulatedPower(connection),
            captures=SimulatedCaptures(connection),
            replicas=SimulatedReplicas(connection),
            disks=SimulatedDisks(connection),
            standings=SimulatedStandings(connection),
            guard=SimulatedGuard(connection),
            leftovers=SimulatedLeftovers(connection),
            serial_log=SimulatedSerialLog(connection),
            screen=Absent("A simulated machine has no picture."),
        )

    def prepare(self) -> None:
        """Nothing has to be made; it is remembered that it was asked for."""
        self.host.is_prepared = True

    def identity(self) -> SiteIdentity:
        """The simulated host, which has one directory."""
        return SiteIdentity(self.host.name, self.host.name)
