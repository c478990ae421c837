"""Claims: which process works on what, in the database that all managers of these runs share.

::

    try_take ──▶ held, with a token that rises with each claim ──▶ released
                   │ its process died, or was silent for SILENT_SECONDS
                   └──▶ taken over by another process, with a higher token

A process beats while it lives. On its own host a process that died is known at once; on another host it is known by
its silence, which is measured by the observer's own monotonic clock: no two clocks are compared. A process that was
only paused finds its claim taken over before its next step, because each step checks the token first.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from platform import node as host_name
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Any, Self, overload

import sqlalchemy as sa

from twinhull.manager.record.database import RunsDatabase, claims, processes, tokens
from twinhull.model.errors import ClaimLost, StateError
from twinhull.model.machine import MachineId
from twinhull.model.ports import Clock, Ports

BEAT_SECONDS = 5.0
SILENT_SECONDS = 60.0
"""How long a process on another host must be silent before its claims may be taken over."""
_POLL_SECONDS = 0.1


def machine_claim(machine_id: MachineId) -> str:
    """The claim that a process holds while it works on the machine or its replicas."""
    return f"machine-{machine_id}"


@dataclass
class Claim:
    """A held claim. A context releases it."""

    name: str
    token: int
    _owner: Claims = field(repr=False)
    is_lost: Event = field(default_factory=Event)
    """Set when a heartbeat found that another process took it over."""

    def require(self, connection: sa.Connection) -> None:
        """Raise ClaimLost unless it is still held, and keep it so until the end of the connection's transaction."""
        query = sa.select(claims.c.token).where(claims.c.name == self.name, claims.c.token == self.token)
        if connection.execute(query.with_for_update(read=True)).first() is None:
            self.is_lost.set()
            raise ClaimLost(f"Another process has taken over the claim '{self.name}'.")

    def release(self) -> None:
        """Give it back; safe to repeat, and also if it was taken over."""
        self._owner.release(self)

    def __enter__(self) -> Self:
        """It is held already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give it back."""
        self.release()


class Claims:
    """The claims of one manager. Closing it gives all of them back."""

    def __init__(self, database: RunsDatabase, ports: Ports, place: Place | None = None) -> None:
        """Nothing is written before the first claim is taken."""
        self._database = database
        self._clock: Clock = ports.clock
        self._process = ports.randomness.uuid()
        self._place = place or Place.here()
        self._held: dict[int, Claim] = {}
        self._given_up: set[int] = set()
        self._beats: dict[str, tuple[int, float]] = {}
        self._guard = Lock()
        self._closing = Event()
        self._beating: Thread | None = None

    @property
    def process_name(self) -> str:
        """This process, for people who wait for it."""
        host = f" on {host_name()}" if self._database.is_shared else ""
        return f"process {self._place.pid}{host}"

    def try_take(self, name: str, holder: str) -> Claim | None:
        """Take it if it is free; ``holder`` is one line for those who wait. Raises StateError."""
        if not self.is_free(name):
            return None
        self._begin_to_beat()
        with self._database.writing() as connection:
            latest = sa.update(tokens).values(latest=tokens.c.latest + 1).returning(tokens.c.latest)
            token = int(connection.execute(latest).scalar_one())
            # The update above holds off every other taker: what is read now stays so.
            row = _row(connection, name)
            if row is not None and not self._is_over(row):
                connection.rollback()
                return None
            connection.execute(sa.delete(claims).where(claims.c.name == name))
            connection.execute(sa.insert(claims).values(name=name, token=token, process=self._process, holder=holder))
        claim = Claim(name, token, self)
        with self._guard:
            self._held[token] = claim
        return claim

    @overload
    def take(self, name: str, holder: str) -> Claim: ...
    @overload
    def take(self, name: str, holder: str, *, is_unwanted: Callable[[], bool]) -> Claim | None: ...
    def take(self, name: str, holder: str, *, is_unwanted: Callable[[], bool] = lambda: False) -> Claim | None:
        """Wait until it is free, or until ``is_unwanted`` says to give up."""
        while True:
            claim = self.try_take(name, holder)
            if claim or is_unwanted():
                return claim
            self._clock.sleep(_POLL_SECONDS)

    def is_free(self, name: str) -> bool:
        """Whether no living process holds it, as far as this process can know."""
        return name not in self.holders(name)

    def holder(self, name: str) -> str:
        """What the process that holds it said of itself; nothing if it is free."""
        return self.holders(name).get(name, "")

    def holders(self, *names: str) -> dict[str, str]:
        """The holder of each of these claims that is held."""
        if not self._database.has_claims():
            return {}
        with self._database.reading() as connection:
            rows = connection.execute(_query().where(claims.c.name.in_(names))).all()
        return {row.name: row.holder for row in rows if not self._is_over(row)}

    def release(self, claim: Claim) -> None:
        """Give a claim back. If the database is away, the heartbeat does it as soon as it can."""
        with self._guard:
            if self._held.pop(claim.token, None) is None:
                return
            self._given_up.add(claim.token)
        with suppress(StateError):
            self._give_back()

    def _give_back(self) -> None:
        with self._guard:
            given_up = set(self._given_up)
        if given_up:
            with self._database.writing() as connection:
                connection.execute(sa.delete(claims).where(claims.c.token.in_(given_up)))
            with self._guard:
                self._given_up -= given_up

    def close(self) -> None:
        """Give everything back; safe to repeat."""
        self._closing.set()
        if self._beating is None:
            return
        self._beating.join()
        self._beating = None
        with suppress(StateError), self._database.writing() as connection:
            connection.execute(sa.delete(claims).where(claims.c.process == self._process))
            connection.execute(sa.delete(processes).where(processes.c.process == self._process))

    def _is_over(self, row: Any) -> bool:  # noqa: ANN401 - a row of _query
        """Whether the claim's process is dead, or was seen to be silent for long enough."""
        if row.process == self._process:
            return False
        if row.place is None:
            return True
        verdict = self._place.knows_of(Place(**row.place), is_one_host=not self._database.is_shared)
        if verdict is not None:
            return not verdict
        now = self._clock.monotonic()
        count, since = self._beats.get(row.process, (None, now))
        if count != row.beat_count:
            since = now
        self._beats[row.process] = (row.beat_count, since)
        return now - since >= SILENT_SECONDS

    def _begin_to_beat(self) -> None:
        with self._guard:
            if self._beating is not None:
                return
            with self._database.writing() as connection:
                self._forget_the_dead(connection)
                place = self._place.as_json()
                connection.execute(sa.insert(processes).values(process=self._process, place=place, beat_count=0))
            self._beating = Thread(target=self._beat_on, name="heartbeat", daemon=True)
            self._beating.start()

    def _forget_the_dead(self, connection: sa.Connection) -> None:
        """Killed processes of this host leave their rows behind."""
        is_one_host = not self._database.is_shared
        for row in connection.execute(sa.select(processes)).all():
            if self._place.knows_of(Place(**row.place), is_one_host=is_one_host) is False:
                connection.execute(sa.delete(claims).where(claims.c.process == row.process))
                connection.execute(sa.delete(processes).where(processes.c.process == row.process))

    def _beat_on(self) -> None:
        while not self._closing.wait(BEAT_SECONDS):
            # What cannot be written now is tried again: others see a silence meanwhile, and steps check their claim.
            with suppress(StateError):
                self._beat()
                self._give_back()

    def _beat(self) -> None:
        with self._database.writing() as connection:
            beat = sa.update(processes).values(beat_count=processes.c.beat_count + 1)
            connection.execute(beat.where(processes.c.process == self._process))
            query = sa.select(claims.c.token).where(claims.c.process == self._process)
            ours = set(connection.execute(query).scalars())
        with self._guard:
            lost = [claim for token, claim in self._held.items() if token not in ours]
        for claim in lost:
            claim.is_lost.set()


def _query() -> sa.Select[Any]:
    joined = claims.outerjoin(processes, claims.c.process == processes.c.process)
    return sa.select(claims, processes.c.place, processes.c.beat_count).select_from(joined)


def _row(connection: sa.Connection, name: str) -> Any:  # noqa: ANN401 - a row of _query
    return connection.execute(_query().where(claims.c.name == name)).first()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a process runs: a boot of a kernel, a namespace of process ids, an id, and when the process began there.

    ``start_ticks`` is field 22 of ``/proc/PID/stat`` (proc(5)): two processes never share id and start.
    """

    boot_id: str
    pid_namespace: str
    pid: int
    start_ticks: str

    @classmethod
    def here(cls) -> Place:
        """Of this process."""
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = str(Path("/proc/self/ns/pid").readlink())
        return cls(boot_id, namespace, os.getpid(), _start_ticks(os.getpid()))

    def knows_of(self, other: Place, *, is_one_host: bool) -> bool | None:
        """Whether that process lives; None if it cannot be known from here.

        With ``is_one_host`` (an SQLite file is used on one host only) another boot is an earlier one.
        """
        if other.boot_id != self.boot_id:
            return False if is_one_host else None
        if other.pid_namespace != self.pid_namespace:
            return None
        return _start_ticks(other.pid) == other.start_ticks

    def as_json(self) -> dict[str, str | int]:
        """As it is stored."""
        return {name: getattr(self, name) for name in self.__slots__}


def _start_ticks(pid: int) -> str:
    """When that process began; nothing if there is none, or only what its parent has not collected yet."""
    try:
        # The second field is a program's name in brackets, which may hold spaces and brackets.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in ("Z", "X") else fields[19]
