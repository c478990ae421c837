"""The outer world: clock, randomness and processes, so that simulation can own them.

Only this module and its neighbors :mod:`twinhull.model.processes` and :mod:`twinhull.model.lines` call the raw ones;
lint bans them elsewhere.
"""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from itertools import count
from pathlib import Path
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
        """That many bytes of the kernel's random source, mixed with what tells apart this process and this call.

        A machine that is cloned or restored from a snapshot while it runs may draw the same bytes from the kernel
        twice, and no two objects of a repository may be sealed with one salt.
        """
        drawn = os.urandom(max(length_bytes, _DRAWN_BYTES))
        here = f"{_boot_id()} {os.getpid()} {next(_drawn)} {time.time_ns()} {time.monotonic_ns()}"
        return hashlib.shake_256(drawn + here.encode()).digest(length_bytes)

    def uuid(self) -> str:
        """A new random UUID (version 4)."""
        return str(uuid.UUID(bytes=self.token(16), version=4))


_DRAWN_BYTES = 32
_drawn = count()


@cache
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:  # the other ingredients differ, too
        return ""


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
