"""How far a long piece of work is, and how fast it goes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from twinhull.model.ports import Clock

REPORT_SECONDS = 0.25
"""Reports come at most this often, and once at the end."""


@dataclass(frozen=True, slots=True)
class Moved:
    """What has been done: of ``total_bytes`` (None while unknown) ``done_bytes``, and the mean rate since the start."""

    done_bytes: int
    total_bytes: int | None
    bytes_per_second: float


Listener = Callable[[Moved], None]


class Meter:
    """Counts bytes from many threads and tells a listener now and then."""

    def __init__(self, clock: Clock, listener: Listener | None = None, total_bytes: int | None = None) -> None:
        self._clock = clock
        self._listener = listener
        self._total_bytes = total_bytes
        self._started = clock.monotonic()
        self._told = self._started
        self._done_bytes = 0
        self._lock = Lock()

    @property
    def done_bytes(self) -> int:
        """The bytes counted so far."""
        return self._done_bytes

    @property
    def seconds(self) -> float:
        """The time since the meter was made."""
        return self._clock.monotonic() - self._started

    def add(self, count: int) -> None:
        """Count bytes; any thread may call."""
        with self._lock:
            self._done_bytes += count
            now = self._clock.monotonic()
            if now - self._told < REPORT_SECONDS:
                return
            self._told = now
        self.tell()

    def tell(self) -> None:
        """Tell the listener where we are."""
        if self._listener:
            seconds = max(self.seconds, 1e-9)
            self._listener(Moved(self._done_bytes, self._total_bytes, self._done_bytes / seconds))
