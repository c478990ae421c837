"""One run, step by step: do, record, and undo in reverse order where a step fails before the point of no return.

What is recorded of a step, and read again instead of doing it when a killed run goes on::

    {"facts": {…}}                        it was done
    {"error": {…}, "is_begun": true}      it failed; it and all before it are undone
    nothing                               it was killed in the middle, or it failed where the only way is forward
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Event
from types import MappingProxyType
from typing import Generic, TypeVar, cast

from twinhull.manager.catalog import failures
from twinhull.manager.catalog.records import RunState
from twinhull.manager.runs.journal import Journal
from twinhull.model.errors import RunCancelled, SiteError
from twinhull.model.machine import RunId
from twinhull.model.ports import Clock
from twinhull.model.steps import Action, Facts, JsonValue, Step

Context = TypeVar("Context")
T = TypeVar("T")
Recorded = dict[str, JsonValue]
Recorder = Callable[[str, Callable[[], Recorded]], Recorded]
"""Does a named thing once and remembers what it returned, across processes; an exception is not remembered."""


SIGNAL_SECONDS = 0.2
"""How long the error of a site waits for a stop that may have caused it."""


UNDO_PAUSES_SECONDS = (1.0, 5.0, 15.0)
"""How long is waited before an undo that failed is tried again, each time; then it is reported (ADR 21)."""


class Halt(BaseException):
    """The run stops where it is, with nothing recorded: it is gone on with later.

    No ``Exception``, so that nothing on the way records it as the run's end.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass
class Leash:
    """What a run is told from outside while it runs, and what it tells."""

    run_id: RunId
    is_cancelled: Event = field(default_factory=Event)
    is_stopping: Event = field(default_factory=Event)
    """All of the process was asked to stop."""
    is_forward_only: bool = False
    reasons: list[str] = field(default_factory=list)
    on_step: Callable[[str], None] = field(default=lambda _: None)
    """Called with a step's name when it begins (``undo NAME`` for its undo)."""

    def check(self) -> None:
        """Raises RunCancelled where the user stopped the run and it can still be undone; called often."""
        if self.is_cancelled.is_set() and not self.is_forward_only:
            raise self._cancelled()

    def cause(self, error: Exception) -> Exception:
        """Why a step failed that can be undone: the stop, if one was asked for when ``error`` came.

        What stops us may end our programs, too, such as an ssh (a service manager signals all of a unit): their error
        can be here before the stop is.
        """
        if not isinstance(error, SiteError):
            return error
        is_stopped = self.is_cancelled.wait(SIGNAL_SECONDS) or self.is_stopping.is_set()
        return self._cancelled() if is_stopped else error

    def _cancelled(self) -> RunCancelled:
        return RunCancelled(
            f"The run {self.run_id} was stopped on demand; what it had done was undone.",
            hint="Earlier points and the replica are as they were. Start it again when you like.",
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended: ``done``, ``failed`` or ``cancelled``, with the facts so far."""

    state: RunState
    facts: Mapping[str, JsonValue]
    error: Mapping[str, JsonValue] | None = None


@dataclass(frozen=True)
class Walk(Generic[Context]):
    """One way through an action's steps."""

    action: Action[Context]
    context: Context
    leash: Leash
    journal: Journal
    clock: Clock
    record: Recorder

    def to_the_end(self, request: Facts) -> Outcome:
        """Do all steps, or undo; raises Halt where a step fails beyond the point of no return."""
        facts: dict[str, JsonValue] = dict(request)
        for position, step in enumerate(self.action.steps):
            recorded = self.record(step.name, self._doing(position, step, dict(facts)))
            if "error" in recorded:
                error = cast("Mapping[str, JsonValue]", recorded["error"])
                self._undo_from(position if recorded["is_begun"] else position - 1, facts)
                is_wish = error["kind"] == RunCancelled.__name__
                return Outcome(RunState.CANCELLED if is_wish else RunState.FAILED, facts, error)
            facts.update(cast("Mapping[str, JsonValue]", recorded["facts"]))
            # Also when it was read from the record: the way back has been closed in an earlier process.
            self.leash.is_forward_only |= step.is_point_of_no_return
        return Outcome(RunState.DONE, facts)

    def _doing(self, position: int, step: Step[Context], facts: Facts) -> Callable[[], Recorded]:
        def do() -> Recorded:
            try:
                self.leash.check()
            except RunCancelled as error:
                return {"error": failures.encode(error), "is_begun": False}
            self.leash.is_forward_only |= step.is_point_of_no_return
            try:
                fresh = self._timed(position, step.name, lambda: step.do(self.context, MappingProxyType(dict(facts))))
            except Exception as error:  # whatever it is, it must be undone
                if self.leash.is_forward_only:
                    raise Halt(error) from error
                return {"error": failures.encode(self.leash.cause(error)), "is_begun": True}
            # The same types whether they come from the step or from the record.
            return {"facts": json.loads(json.dumps(dict(fresh)))}

        return do

    def _undo_from(self, position: int, facts: Facts) -> None:
        self.leash.is_forward_only = True  # who stopped the run wants it undone, and not the undo stopped
        for index in range(position, -1, -1):
            step = self.action.steps[index]
            if step.undo:
                self.record(f"undo {step.name}", self._undoing(index, step, dict(facts)))

    def _undoing(self, position: int, step: Step[Context], facts: Facts) -> Callable[[], Recorded]:
        def undo() -> Recorded:
            take_back = step.undo
            if not take_back:
                raise AssertionError(f"the step '{step.name}' has no undo")
            known = MappingProxyType(dict(facts))
            once = lambda: self._timed(position, step.name, lambda: take_back(self.context, known), is_undo=True)  # noqa: E731 - one attempt
            try:
                self._patiently(step.name, once)
            except Exception as error:  # noqa: BLE001 - the earlier steps are to be undone nevertheless
                attempts = len(UNDO_PAUSES_SECONDS) + 1
                self.leash.reasons.append(
                    f"'{step.name}' could not be undone in {attempts} attempts ({error}). See how the "
                    "machine was left: twinhull status"
                )
                return {"error": failures.encode(error)}
            return {}

        return undo

    def _patiently(self, name: str, undo: Callable[[], None]) -> None:
        """Try an undo again after each pause (it is safe to repeat): what keeps it from going well may pass."""
        for pause_seconds in UNDO_PAUSES_SECONDS:
            try:
                return undo()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again
                told = failures.encode(error)["message"]
                self.leash.reasons.append(
                    f"'{name}' could not be undone, and is tried again after {pause_seconds:.0f} s: {told}"
                )
                self.clock.sleep(pause_seconds)
        return undo()

    def _timed(self, position: int, name: str, act: Callable[[], T], *, is_undo: bool = False) -> T:
        record = self.journal.begin_step(self.leash.run_id, position, name, is_undo=is_undo)
        self.leash.on_step(f"undo {name}" if is_undo else name)
        started = self.clock.monotonic()
        try:
            result = act()
        except Exception as error:
            told = str(failures.encode(error)["message"])
            self.journal.end_step(self.leash.run_id, record, self.clock.monotonic() - started, told)
            raise
        self.journal.end_step(self.leash.run_id, record, self.clock.monotonic() - started)
        return result
