"""A clock that moves only when it is told to, and randomness that repeats."""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime, timedelta
from threading import Lock

from twinhull.model.ports import Ports, SystemProcesses

_BIRTH = datetime(2026, 1, 1, tzinfo=UTC)


class SimulatedClock:
    """Time passes when somebody sleeps or a test says so; the wall clock can jump, the monotonic one cannot."""

    def __init__(self, now: datetime = _BIRTH) -> None:
        self._wall = now
        self._monotonic = 1000.0
        self._lock = Lock()

    def now(self) -> datetime:
        """The wall clock, in UTC."""
        return self._wall

    def monotonic(self) -> float:
        """Seconds since the birth of the world."""
        return self._monotonic

    def sleep(self, seconds: float) -> None:
        """Let the time pass, at once."""
        with self._lock:
            self._monotonic += max(seconds, 0.0)
            self._wall += timedelta(seconds=max(seconds, 0.0))

    def jump(self, seconds: float) -> None:
        """Move the wall clock only, as a wrong time source does."""
        with self._lock:
            self._wall += timedelta(seconds=seconds)


class SeededRandomness:
    """The same bytes for the same seed."""

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed
        self._count = 0
        self._lock = Lock()

    def token(self, length_bytes: int) -> bytes:
        """The next bytes."""
        with self._lock:
            self._count += 1
            return hashlib.shake_256(f"{self._seed}/{self._count}".encode()).digest(length_bytes)

    def uuid(self) -> str:
        """The next UUID."""
        return str(uuid.UUID(bytes=self.token(16), version=4))


def simulated_ports(seed: int = 0) -> Ports:
    """A simulated clock, seeded randomness, and the machine's own processes (a simulated site starts none)."""
    return Ports(SimulatedClock(), SeededRandomness(seed), SystemProcesses())
