"""Watching work that is no run: a line for each phase and, at a terminal, a bar with rate and time left."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import Lock

from twinhull.cli.screen.progress import watching
from twinhull.cli.screen.screen import Screen, is_terminal
from twinhull.model.progress import OnProgress, Progress, nobody_listens

_DOING = {
    "copy": "Copying",
    "read": "Reading",
    "check": "Checking",
    "trace": "Tracing",
    "look": "Looking at",
    "mend": "Mending",
}


@contextmanager
def watching_phases(screen: Screen, on_stop: str) -> Iterator[OnProgress]:
    """As a context: who is told how far the work is. ``on_stop`` says what stands where Ctrl-C ends it.

    A program that wants JSON is told nothing on the way.
    """
    try:
        with watching(screen) as ears:
            if screen.is_json:
                yield nobody_listens
            elif is_terminal(sys.stderr):
                step = lambda progress: ears.on_step(f"{progress.phase} {progress.subject}")  # noqa: E731 - one line
                yield _Phases(step, lambda progress: ears.on_progress(_brief(progress)))
            else:
                yield _Phases(lambda progress: ears.on_message(_sentence(progress)), nobody_listens)
    except KeyboardInterrupt:
        screen.message(on_stop)
        raise


@dataclass(slots=True)
class _Phases:
    """Says that a phase begins before it says how far it is."""

    on_phase: Callable[[Progress], None]
    on_progress: OnProgress
    _last: tuple[str, str] | None = None
    _lock: Lock = field(default_factory=Lock)

    def __call__(self, progress: Progress) -> None:
        phase = progress.phase, progress.subject
        with self._lock:
            is_new, self._last = phase != self._last, phase
            if is_new:
                self.on_phase(progress)
        self.on_progress(progress)


def _brief(progress: Progress) -> Progress:
    """With a subject that leaves room for a bar: of a point's id its number, for the line above says all of it."""
    return replace(progress, subject=progress.subject.rpartition("/")[2])


def _sentence(progress: Progress) -> str:
    return f"{_DOING.get(progress.phase, progress.phase)} {progress.subject}."
