"""A simulated site: one process's connection to a simulated host, with the whole platform contract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

from twinhull.model.errors import (
    DataError,
    NotFound,
    NotSupportedHere,
    ReplicaDirty,
    SiteError,
    SiteUnreachable,
    StaleEpoch,
    StillRunning,
)
from twinhull.model.lacks import Lack
from twinhull.model.machine import DiskKey, DiskSpec, MachineId, MachineStatus, PowerState, Role, Standing
from twinhull.platforms.contract import (
    TRACKER,
    Capability,
    Capture,
    CaptureRequest,
    DiskDoor,
    Leftover,
    OnTrouble,
    ReplicaChanges,
    ReplicaRequest,
    SiteIdentity,
    SiteSettings,
    Support,
    raising,
)
from twinhull.platforms.guard.standings import check_may_follow
from twinhull.platforms.simulated.captures import CAPTURE, capturing, drop_tracker
from twinhull.platforms.simulated.handles import DiskHandle
from twinhull.platforms.simulated.machines import SimulatedMachine, Tracker
from twinhull.platforms.simulated.replicas import follow, lacks
from twinhull.platforms.simulated.world import Held, SimulatedHost, SimulatedWorld

EXPORT = "export"

_LIMITS = {Capability.SCREENSHOT: Support(is_supported=False, reason="A simulated machine has no picture.")}


class SimulatedSite:
    """One connection. It dies with its process; the host does not."""

    def __init__(self, world: SimulatedWorld, settings: SiteSettings) -> None:
        self._world = world
        self._settings = settings
        self._process = world.process
        self._host = world.host(settings.name)

    @property
    def settings(self) -> SiteSettings:
        """How it was reached."""
        return self._settings

    @property
    def host(self) -> SimulatedHost:
        """What lies behind it, for tests."""
        return self._host

    def prepare(self) -> None:
        """Nothing has to be made; it is remembered that it was asked for."""
        self._host.is_prepared = True

    def identity(self) -> SiteIdentity:
        """The simulated host, which has one directory."""
        return SiteIdentity(self._host.name, self._host.name)

    def capabilities(self) -> Mapping[Capability, Support]:
        """Everything but pictures."""
        return {capability: _LIMITS.get(capability, Support(is_supported=True)) for capability in Capability}

    def close(self) -> None:
        """Nothing is held by a connection alone."""

    def machines(self) -> Sequence[MachineStatus]:
        """All machines, by name."""
        with self._call("machines"):
            machines = sorted(self._host.machines.values(), key=lambda machine: machine.spec.name)
            return [self._status(machine, is_asking=False) for machine in machines]

    def machine(self, machine_id: MachineId) -> MachineStatus:
        """One machine."""
        with self._call("machine"):
            return self._status(self._machine(machine_id), is_asking=True)

    def start(self, machine_id: MachineId, epoch: int) -> None:
        """Switch on, if the guard lets it."""
        with self._call("start"):
            machine = self._machine(machine_id)
            if machine.power is PowerState.RUNNING:
                return
            self._guard(machine, epoch)
            self._require_nothing_open(machine_id)
            self._require_networks(machine)
            machine.switch_on()

    def obstacles(self, machine_id: MachineId) -> Sequence[str]:
        """The networks that the machine is plugged into and that are not there."""
        with self._call("obstacles"):
            return self._missing_networks(self._machine(machine_id))

    def obstacles_when_off(
        self, machine_id: MachineId, disks: Sequence[DiskSpec] = (), *, is_capturing: bool = True
    ) -> Sequence[str]:
        """A machine that would be forgotten, and disks that could not be opened, or that are gone."""
        with self._call("obstacles when off"):
            machine = self._machine(machine_id)
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
        with self._call("stop"):
            machine = self._machine(machine_id)
            if machine.power.is_off:
                return True
            if machine.is_stubborn:
                self._world.ports.clock.sleep(grace_seconds)
            machine.switch_off()
            if machine.is_transient:
                del self._host.machines[machine_id]
            return not machine.is_stubborn

    def kill(self, machine_id: MachineId) -> None:
        """Switch off at once."""
        with self._call("kill"):
            machine = self._machine(machine_id)
            if not machine.power.is_off:
                machine.switch_off()

    def power(self, machine_id: MachineId) -> PowerState:
        """Whether it runs."""
        with self._call("power"):
            return self._machine(machine_id).power

    def set_autostart(self, machine_id: MachineId, *, is_on: bool) -> bool:
        """Whether the host starts it by itself; how it was."""
        with self._call("autostart"):
            machine = self._machine(machine_id)
            was, machine.is_autostarted = machine.is_autostarted, is_on
            return was

    def serial_log(self, machine_id: MachineId, last_bytes: int) -> str:
        """One line per start."""
        with self._call("serial log"):
            starts = self._machine(machine_id).starts
            return "".join(f"start {number + 1}\n" for number in range(starts))[-last_bytes:]

    def screenshot(self, machine_id: MachineId) -> bytes:
        """There is none."""
        raise NotSupportedHere(f"{machine_id} on {self._host.name}: a simulated machine has no picture.")

    def capture(self, request: CaptureRequest) -> AbstractContextManager[Capture]:
        """Capture a machine."""
        return self._capture(request)

    def arm_trackers(self, machine_id: MachineId, capture_id: str) -> Mapping[DiskKey, str]:
        """Leave trackers on a stopped machine."""
        with self._call("arm trackers"):
            machine = self._stopped(machine_id)
            armed = [disk.key for disk in machine.spec.disks if disk.key not in machine.untrackable]
            machine.trackers = {key: {} for key in machine.disks}
            for key in armed:
                machine.trackers[key] = {capture_id: Tracker()}
            return dict.fromkeys(armed, capture_id)

    def prepare_replica(self, request: ReplicaRequest) -> ReplicaChanges:
        """Create the replica, or make it follow."""
        with self._call("prepare replica"):
            machine = self._host.machines.get(request.spec.machine_id)
            if machine and not machine.power.is_off:
                raise self._still_running(machine)
            is_new = machine is None
            if machine is None:
                bare = replace(request.spec, disks=())
                machine = SimulatedMachine(bare, self._world.ports.clock, is_ours=True)
                self._host.machines[request.spec.machine_id] = machine
            return replace(follow(machine, request), is_new=is_new)

    def lacks(self, request: ReplicaRequest) -> Sequence[Lack]:
        """What the replica of that request lacks."""
        with self._call("lacks"):
            return lacks(self._host.machines.get(request.spec.machine_id), request.spec)

    def remove_replica(self, machine_id: MachineId) -> None:
        """Remove a replica that we made."""
        with self._call("remove replica"):
            machine = self._host.machines.get(machine_id)
            if machine is None or not machine.is_ours:
                return
            if not machine.power.is_off:
                raise self._still_running(machine)
            del self._host.machines[machine_id]
            self._host.standings.pop(machine_id, None)

    def write_disk(self, machine_id: MachineId, key: DiskKey) -> AbstractContextManager[DiskDoor]:
        """Open for reading and writing."""
        return self._open_disk(machine_id, key, is_writing=True)

    def read_disk(self, machine_id: MachineId, key: DiskKey) -> AbstractContextManager[DiskDoor]:
        """Open for reading."""
        return self._open_disk(machine_id, key, is_writing=False)

    def standing(self, machine_id: MachineId) -> Standing | None:
        """What is held."""
        with self._call("standing"):
            return self._held(machine_id)

    def standings(self) -> Sequence[Standing]:
        """All of them."""
        with self._call("standings"):
            return [self._told(held) for held in self._host.standings.values()]

    def write_standing(self, standing: Standing) -> None:
        """Write it, if it may follow what is held."""
        with self._call("write standing"):
            check_may_follow(self._held(standing.machine_id), standing, self._host.name)
            self._host.standings[standing.machine_id] = standing

    def remove_standing(self, machine_id: MachineId) -> None:
        """Forget the machine."""
        with self._call("remove standing"):
            self._host.standings.pop(machine_id, None)
            self._host.unreadable.discard(machine_id)

    def leftovers(
        self,
        machine_id: MachineId | None,
        kept_trackers: Sequence[str],
        on_trouble: OnTrouble = raising,  # noqa: ARG002 - all are looked at, or none
    ) -> Sequence[Leftover]:
        """What dead processes held, and trackers that nobody counts on."""
        with self._call("leftovers"):
            mine = [held for held in self._host.held if machine_id in (None, held.machine_id)]
            found = [Leftover(h.kind, h.name, h.machine_id) for h in mine if h.process != self._world.process]
            living = {held.name for held in mine if held.process == self._world.process}
            if machine_id is None or machine_id not in self._host.machines:
                return found
            names = {name for trackers in self._machine(machine_id).trackers.values() for name in trackers}
            forgotten = sorted(names - set(kept_trackers) - living)
            return [*found, *(Leftover(TRACKER, name, machine_id) for name in forgotten)]

    def clean(self, leftover: Leftover) -> None:
        """Remove one."""
        with self._call(f"clean {leftover.kind}"):
            if leftover.kind == TRACKER and leftover.machine_id in self._host.machines:
                drop_tracker(self._host.machines[leftover.machine_id], leftover.name)
            self._host.held = [
                held
                for held in self._host.held
                if (held.kind, held.name, held.machine_id) != (leftover.kind, leftover.name, leftover.machine_id)
            ]

    def trust(self, *, is_dry_run: bool) -> Sequence[Standing]:  # noqa: ARG002 - the same either way
        """Nothing: its standings are in memory and have no seals."""
        with self._call("trust"):
            return ()

    def withdraw(self) -> Sequence[str]:
        """There is nothing of ours on the host but standings; says how many were left."""
        with self._call("withdraw"):
            count = len(self._host.standings)
            return [f"Standings are left on {self._host.name} (machines: {count})."] if count else []

    def _call(self, name: str) -> AbstractContextManager[None]:
        if self._process != self._world.process:
            raise SiteUnreachable(f"This connection to {self._host.name} belonged to a process that is gone.")
        return self._world.call(self._host, name)

    @contextmanager
    def _capture(self, request: CaptureRequest) -> Iterator[Capture]:
        with self._call("find machine"):
            machine = self._machine(request.machine_id)
        with capturing(self._world, self._host, machine, request) as capture:
            yield capture

    @contextmanager
    def _open_disk(self, machine_id: MachineId, key: DiskKey, *, is_writing: bool) -> Iterator[DiskDoor]:
        held = Held(EXPORT, f"{key}-{self._world.ports.randomness.token(4).hex()}", machine_id, self._world.process)
        with self._call("open disk"):
            machine = self._stopped(machine_id)
            if key not in machine.disks or key in machine.bound | machine.lost:
                raise NotFound(f"{machine.spec.name} on {self._host.name} has no disk {key}.")
            self._host.held.append(held)
        disk, put = machine.disks[key], machine.put_from_outside if is_writing else None
        try:
            yield lambda: DiskHandle(self._world, self._host, key, disk, put)
        finally:
            self._host.let_go(held)
            with self._call("close disk"):
                self._host.held = [item for item in self._host.held if item.name != held.name]

    def _machine(self, machine_id: MachineId) -> SimulatedMachine:
        machine = self._host.machines.get(machine_id)
        if machine is None:
            raise NotFound(f"There is no machine {machine_id} on {self._host.name}.")
        return machine

    def _stopped(self, machine_id: MachineId) -> SimulatedMachine:
        machine = self._machine(machine_id)
        if not machine.power.is_off:
            raise self._still_running(machine)
        return machine

    def _still_running(self, machine: SimulatedMachine) -> StillRunning:
        return StillRunning(
            f"{machine.spec.name} runs on {self._host.name}; nothing was done to it.", hint="Stop it first."
        )

    def _status(self, machine: SimulatedMachine, *, is_asking: bool) -> MachineStatus:
        answers = machine.has_agent and not machine.is_deaf and machine.power is PowerState.RUNNING
        held = self._host.standings.get(machine.spec.machine_id)
        standing = self._told(held) if held else None
        return MachineStatus(machine.spec, machine.power, machine.has_agent, answers if is_asking else None, standing)

    def _held(self, machine_id: MachineId) -> Standing | None:
        if machine_id in self._host.unreadable:
            raise DataError(f"The standing of {machine_id} on {self._host.name} cannot be read.")
        return self._host.standings.get(machine_id)

    def _told(self, held: Standing) -> Standing:
        is_unreadable = held.machine_id in self._host.unreadable
        return Standing(held.machine_id, Role.UNREADABLE, epoch=0) if is_unreadable else held

    def _guard(self, machine: SimulatedMachine, epoch: int) -> None:
        standing = self._held(machine.spec.machine_id)
        if standing is None:
            return
        if standing.is_dirty:
            raise ReplicaDirty(f"The disks of {machine.spec.name} on {self._host.name} are at no known point.")
        if not standing.may_start or standing.epoch != epoch:
            raise StaleEpoch(
                f"{machine.spec.name} may not start on {self._host.name}: it is {standing.role.value} there in epoch "
                f"{standing.epoch}, and was to start in epoch {epoch}."
            )

    def _require_networks(self, machine: SimulatedMachine) -> None:
        """A card is plugged into a network that is there, or the machine does not start, as on a real host."""
        missing = self._missing_networks(machine)
        if missing:
            raise SiteError(f"{machine.spec.name} does not start on {self._host.name}: {missing[0]}")

    def _missing_networks(self, machine: SimulatedMachine) -> list[str]:
        missing = sorted(set(machine.plugged().values()) - self._host.networks)
        return [f"There is no network '{name}' on {self._host.name}." for name in missing]

    def _require_nothing_open(self, machine_id: MachineId) -> None:
        for held in self._host.held:
            if held.machine_id == machine_id and held.kind in (CAPTURE, EXPORT):
                raise StillRunning(f"A disk of {machine_id} is still open on {self._host.name} ({held.name}).")
