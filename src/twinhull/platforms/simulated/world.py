"""The simulated outer world: hosts, a count of everything that happens, and the accidents that a test arranges.

::

    process 1 ──call 1──call 2── … ──call n ✗ killed      (nothing it does from here on has any effect)
                                                 restart()
    process 2 ──call n+1── …                              (what process 1 held open is now a leftover)

Every call on a site ticks twice, once before and once after its effect, and so does every store call that a test lets
tick; ``kill_at`` ends the process at a tick of that number, and ``at`` runs anything else there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import RLock

from twinhull.model.errors import SiteUnreachable
from twinhull.model.machine import Consistency, DiskKey, MachineId, MachineSpec, Standing
from twinhull.model.ports import Ports
from twinhull.platforms.contract import Grade, GuardGrade
from twinhull.platforms.simulated.machines import History, SimulatedMachine
from twinhull.platforms.simulated.outer import simulated_ports


class Killed(BaseException):
    """The simulated process was killed here; no ``except Exception`` may stop it."""


@dataclass(frozen=True, slots=True)
class Held:
    """Something that a process holds open on a host, with the label of what it is for."""

    kind: str
    name: str
    machine_id: MachineId
    process: int


@dataclass(frozen=True, slots=True)
class Captured:
    """The instant of a capture, for tests: what a point of it must contain."""

    machine_id: MachineId
    history: History
    write_count: int
    sizes: Mapping[DiskKey, int]
    consistency: Consistency

    def content(self, key: str) -> bytes:
        """What the disk must hold."""
        return self.history.content(DiskKey(key), self.sizes[DiskKey(key)], self.write_count)


@dataclass(slots=True)
class SimulatedHost:
    """One host: what is on it outlives the processes that connect to it. Its accidents are plain fields.

    ``networks`` are all that it has: those of its owner's machines, and those that a test gives it.
    ``hang_seconds``: each call lasts so long and then fails. ``room_bytes``: so many more bytes can be written.
    ``torn_after_bytes``: the host dies in the middle of the write that reaches that many bytes.
    ``unreadable`` are the machines whose standings here were damaged.
    ``lost_captures_after_reads``: so many more reads of captures succeed. ``is_copying_changes``: of a disk with a
    tracker, a capture can read only what changed, as on Xen.
    """

    name: str
    ports: Ports
    machines: dict[MachineId, SimulatedMachine] = field(default_factory=dict)
    standings: dict[MachineId, Standing] = field(default_factory=dict)
    unreadable: set[MachineId] = field(default_factory=set)
    held: list[Held] = field(default_factory=list)
    networks: set[str] = field(default_factory=set)
    guard: GuardGrade = field(default_factory=lambda: GuardGrade(Grade.REFUSES))
    is_reachable: bool = True
    is_prepared: bool = False
    hang_seconds: float = 0.0
    room_bytes: int | None = None
    torn_after_bytes: int | None = None
    lost_captures_after_reads: int | None = None
    is_copying_changes: bool = False
    bytes_read: int = 0
    bytes_written: int = 0

    def let_go(self, held: Held) -> None:
        """Nobody counts on it any more; what cannot be closed right now is a leftover from here on."""
        self.held = [replace(item, process=0) if item == held else item for item in self.held]

    def add_machine(self, spec: MachineSpec, *, is_running: bool = True) -> SimulatedMachine:
        """The owner makes a machine here."""
        machine = SimulatedMachine(spec, self.ports.clock)
        self.machines[spec.machine_id] = machine
        self.networks |= {nic.network for nic in spec.nics}
        if is_running:
            machine.switch_on()
        return machine

    def delete_machine(self, machine_id: MachineId) -> SimulatedMachine:
        """The owner deletes it (or takes it away, to add it elsewhere)."""
        return self.machines.pop(machine_id)

    def crash(self) -> None:
        """The host stops answering; its machines are off and lost what was not durable."""
        self.is_reachable = False
        for machine in self.machines.values():
            for disk in machine.disks.values():
                disk.cut_power()
            machine.crash()

    def isolate(self) -> None:
        """The host stops answering, and its machines go on."""
        self.is_reachable = False

    def return_(self) -> None:
        """The host answers again, as it is."""
        self.is_reachable = True
        self.torn_after_bytes = None
        self.hang_seconds = 0.0


class SimulatedWorld:
    """Several hosts, one clock, one living process of ours, and all that happens, numbered."""

    def __init__(self, seed: int = 0) -> None:
        self.ports = simulated_ports(seed)
        self.hosts: dict[str, SimulatedHost] = {}
        self.captured: dict[str, Captured] = {}
        self.ticks: list[str] = []
        self.process = 1
        self.is_killed = False
        self.kill_at: int | None = None
        self.at: dict[int, Callable[[], None]] = {}
        self.on_tick: Callable[[str], None] | None = None
        self._lock = RLock()

    def host(self, name: str) -> SimulatedHost:
        """The host of that name, made at its first mention."""
        with self._lock:
            if name not in self.hosts:
                self.hosts[name] = SimulatedHost(name, self.ports)
            return self.hosts[name]

    def tick(self, name: str) -> None:
        """Something happens: count it, and let happen what was arranged; raises Killed."""
        with self._lock:
            if self.is_killed:
                raise Killed(name)
            self.ticks.append(name)
            if self.kill_at == len(self.ticks):
                self.is_killed = True
                raise Killed(f"at {len(self.ticks)}: {name}")
            accident = self.at.pop(len(self.ticks), None)
            if accident:
                accident()
            if self.on_tick:
                self.on_tick(name)

    def restart(self) -> None:
        """A new process of ours begins; what the last one held open is now a leftover."""
        with self._lock:
            self.process += 1
            self.is_killed = False
            self.kill_at = None

    def forget_ticks(self) -> None:
        """Begin to count anew."""
        with self._lock:
            self.ticks.clear()

    @contextmanager
    def call(self, host: SimulatedHost, name: str) -> Iterator[None]:
        """One call on a host: it may be killed before or after its effect, or not reach the host at all."""
        self.tick(f"{host.name} {name}")
        with self._lock:
            self._reach(host, name)
            yield
        self.tick(f"{host.name} {name} done")

    def _reach(self, host: SimulatedHost, name: str) -> None:
        if host.hang_seconds:
            self.ports.clock.sleep(host.hang_seconds)
        if host.hang_seconds or not host.is_reachable:
            raise SiteUnreachable(
                f"The site {host.name} does not answer ({name}).", hint="Check the network and the host."
            )
