"""The outer world: clock, randomness and processes, so that simulation can own them.

Only this module and its neighbors :mod:`twinhull.model.processes` and :mod:`twinhull.model.lines` call the raw ones;
lint bans them elsewhere.
"""

from __future__ import annotations

import os
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from twinhull.model.processes import Completed, Process, Processes, SystemProcesses


class Clock(Protocol):
    """Time. Durations and deadlines use ``monotonic``; ``now`` is for people to read and for labels only."""

    def now(self) -> datetime:
        """The wall clock, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed instant; never jumps."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class Randomness(Protocol):
    """Unpredictable bytes."""

    def token(self, length_bytes: int) -> bytes:
        """That many unpredictable bytes."""
        ...

    def uuid(self) -> str:
        """A new random UUID."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """The wall clock, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds of CLOCK_MONOTONIC."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class SystemRandomness:
    """The kernel's randomness."""

    def token(self, length_bytes: int) -> bytes:
        """That many bytes of the kernel's random source."""
        return os.urandom(length_bytes)

    def uuid(self) -> str:
        """A new random UUID (version 4)."""
        return str(uuid.uuid4())


@dataclass(frozen=True, slots=True)
class Ports:
    """All of the outer world in one hand."""

    clock: Clock
    randomness: Randomness
    processes: Processes


def system_ports() -> Ports:
    """The real world."""
    return Ports(SystemClock(), SystemRandomness(), SystemProcesses())


__all__ = [
    "Clock",
    "Completed",
    "Ports",
    "Process",
    "Processes",
    "Randomness",
    "SystemClock",
    "SystemProcesses",
    "SystemRandomness",
    "system_ports",
]
