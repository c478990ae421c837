"""Telling, piece by piece, how far a phase of long work is; whoever is told may end it."""

from __future__ import annotations

from dataclasses import dataclass

from twinhull.model.progress import OnProgress, Progress


@dataclass(slots=True)
class Teller:
    """Counts what is done of one phase of one subject. It is used by one thread."""

    on_progress: OnProgress
    phase: str
    subject: str
    total_bytes: int | None = None
    done_bytes: int = 0

    def tell(self) -> None:
        """Say how far it is; raises what the listener raises."""
        self.on_progress(Progress(self.phase, self.subject, self.done_bytes, self.total_bytes))

    def add(self, count: int) -> None:
        """So many more bytes are done."""
        self.done_bytes += count
        self.tell()

    def reach(self, done_bytes: int) -> None:
        """All is done up to there, if it was not before."""
        self.done_bytes = max(self.done_bytes, done_bytes)
        self.tell()
