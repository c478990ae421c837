"""What a run is told from outside while it runs, and how it says that it stops where it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event

from twinhull.model.errors import ClaimLost, RunCancelled, SiteError
from twinhull.model.machine import RunId

UNDO_PAUSES_SECONDS = (1.0, 5.0, 15.0)
"""How long the stepper waits before it tries an undo that failed again, each time; then the run stops (ADR 26)."""

SIGNAL_SECONDS = 0.2
"""How long the error of a site waits for a stop that may have caused it."""


class Halt(BaseException):
    """The run stops where it is, with nothing recorded: it is resumed later.

    No ``Exception``, so that nothing on the way records it as the run's end.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass
class Leash:
    """What a run is told from outside while it runs, and what it tells.

    ``on_step`` is called with a step's name when it begins (``undo NAME`` for its undo). ``undo_pauses_seconds`` are
    the pauses between the attempts of an undo.
    """

    run_id: RunId
    is_cancelled: Event = field(default_factory=Event)
    is_stopping: Event = field(default_factory=Event)
    """All of the process was asked to stop."""
    is_lost: Event = field(default_factory=Event)
    """Another process has taken the run over."""
    is_forward_only: bool = False
    reasons: list[str] = field(default_factory=list)
    on_step: Callable[[str], None] = field(default=lambda _: None)
    undo_pauses_seconds: tuple[float, ...] = field(default_factory=lambda: UNDO_PAUSES_SECONDS)
    signal_seconds: float = SIGNAL_SECONDS

    def check(self) -> None:
        """Raises RunCancelled where the user stopped the run and it can still be undone; called often.

        Halts where another process has taken the run over: what would be undone here is in use there.
        """
        if self.is_lost.is_set():
            raise Halt(ClaimLost(f"Another process has taken over the run {self.run_id}."))
        if self.is_cancelled.is_set() and not self.is_forward_only:
            raise self._cancelled()

    def cause(self, error: Exception) -> Exception:
        """Why a step failed that can be undone: the stop, if one was asked for when ``error`` came.

        What stops us may end our programs, too, such as an ssh (a service manager signals all of a unit): their error
        can be here before the stop is.
        """
        if not isinstance(error, SiteError):
            return error
        is_stopped = self.is_cancelled.wait(self.signal_seconds) or self.is_stopping.is_set()
        return self._cancelled() if is_stopped else error

    def _cancelled(self) -> RunCancelled:
        return RunCancelled(
            f"The run {self.run_id} was stopped on demand; what it had done was undone.",
            hint="Earlier points and the replica are as they were. Start it again when you like.",
        )
