"""A clock of nested phases, logged as one line: ``capture 1.20 s (freeze 0.06 s, begin 0.11 s), read 3.40 s``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from twinhull.model.ports import Clock
from twinhull.model.units import format_duration


@dataclass(slots=True)
class Phase:
    """One phase, its time in seconds and the phases inside it."""

    name: str
    seconds: float = 0.0
    phases: list[Phase] = field(default_factory=list)

    def __str__(self) -> str:
        inner = f" ({', '.join(map(str, self.phases))})" if self.phases else ""
        return f"{self.name} {format_duration(self.seconds)}{inner}"


class PhaseClock:
    """Times phases by the monotonic clock; used by one thread. A phase entered again at its place adds up."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._root = Phase("")
        self._path = [self._root]

    @contextmanager
    def phase(self, name: str) -> Iterator[Phase]:
        """Count the block's time to that phase, inside the one that is under way."""
        parent = self._path[-1]
        phase = next((known for known in parent.phases if known.name == name), None)
        if phase is None:
            phase = Phase(name)
            parent.phases.append(phase)
        self._path.append(phase)
        started = self._clock.monotonic()
        try:
            yield phase
        finally:
            phase.seconds += self._clock.monotonic() - started
            self._path.pop()

    def seconds(self, *path: str) -> float:
        """The time of the phase at that path of names; 0 where there was none."""
        phases, found = self._root.phases, 0.0
        for name in path:
            phase = next((known for known in phases if known.name == name), None)
            if phase is None:
                return 0.0
            phases, found = phase.phases, phase.seconds
        return found

    def __str__(self) -> str:
        return ", ".join(map(str, self._root.phases))
