"""The one stepper: do a run's steps, record each, and undo in reverse order if one fails before the point of no return.

::

    do 1 ── do 2 ── do 3 ── … ── done
      │       │       x fails
      │       └─ undo 2 ◀─ undo 3 (what it half did)
      └─ undo 1 ◀─┘                       … ── failed, everything as it was

    … ── do N (point of no return) ── do N+1 x fails ── stopped: resuming goes on at N+1
    … ── undo 2 x fails ─────────────────────────────── stopped: resuming goes on at undo 2 (ADR 26)

What is recorded of a step, and read again instead of doing it when a killed run is resumed::

    {"facts": {…}}                        it was done
    {"error": {…}, "is_begun": true}      it failed; it and all before it are undone
    {}                                    an undo that was done
    nothing                               it was killed in the middle, or the run stopped in it
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Generic, Protocol, TypeVar, cast

from twinhull.model.errors import RunCancelled, RunUnfinished
from twinhull.model.ports import Clock
from twinhull.model.steps import Action, Facts, JsonValue, Step
from twinhull.runs import failures
from twinhull.runs.leash import Halt, Leash

Context = TypeVar("Context")
T = TypeVar("T")
Recorded = dict[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a step, or at its undo; ``position`` counts the action's steps from 0."""

    position: int
    name: str
    is_undo: bool = False


class Record(Protocol):
    """What remembers a run while it runs; it outlives the process."""

    def once(self, name: str, act: Callable[[], Recorded]) -> Recorded:
        """Do a named thing once, across processes, and return what it returned; an exception is not remembered."""

    def begin_step(self, attempt: Attempt) -> None:
        """A step begins, or begins again: for people who look at the run."""

    def end_step(self, attempt: Attempt, seconds: float, error: str) -> None:
        """The attempt ended; ``error`` is empty if it went well."""


class Ending(StrEnum):
    """How a run came to its end."""

    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended, with the facts so far."""

    ending: Ending
    facts: Facts
    error: Facts | None = None


@dataclass(frozen=True)
class Stepper(Generic[Context]):
    """One way through an action's steps."""

    action: Action[Context]
    context: Context
    leash: Leash
    record: Record
    clock: Clock

    def run(self, request: Facts) -> Outcome:
        """Do all steps, or undo them.

        Raises Halt where a step fails beyond the point of no return, or an undo fails: nothing is given up, and
        running once more goes on there.
        """
        facts: dict[str, JsonValue] = dict(request)
        for position, step in enumerate(self.action.steps):
            recorded = self.record.once(step.name, self._doing(position, step, dict(facts)))
            if "error" in recorded:
                error = cast("Mapping[str, JsonValue]", recorded["error"])
                self._undo_from(position if recorded["is_begun"] else position - 1, facts, str(error["message"]))
                is_wish = error["kind"] == RunCancelled.__name__
                return Outcome(Ending.CANCELLED if is_wish else Ending.FAILED, facts, error)
            facts.update(cast("Mapping[str, JsonValue]", recorded["facts"]))
            # Also when it was read from the record: the way back has been closed in an earlier process.
            self.leash.is_forward_only |= step.is_point_of_no_return
        return Outcome(Ending.DONE, facts)

    def _doing(self, position: int, step: Step[Context], facts: Facts) -> Callable[[], Recorded]:
        def do() -> Recorded:
            try:
                self.leash.check()
            except RunCancelled as error:
                return {"error": failures.encode(error), "is_begun": False}
            self.leash.is_forward_only |= step.is_point_of_no_return
            attempt = Attempt(position, step.name)
            try:
                fresh = self._timed(attempt, lambda: step.do(self.context, MappingProxyType(dict(facts))))
            except Exception as error:  # whatever it is, it must be undone
                if self.leash.is_forward_only:
                    raise Halt(error) from error
                return {"error": failures.encode(self.leash.cause(error)), "is_begun": True}
            # The same types whether they come from the step or from the record.
            return {"facts": json.loads(json.dumps(dict(fresh)))}

        return do

    def _undo_from(self, position: int, facts: Facts, why: str) -> None:
        """In reverse order, and none before the later ones are undone: an earlier state is built on theirs."""
        self.leash.is_forward_only = True  # who stopped the run wants it undone, and not the undo stopped
        for index in range(position, -1, -1):
            step = self.action.steps[index]
            if step.undo:
                self.record.once(f"undo {step.name}", self._undoing(index, step, dict(facts), why))

    def _undoing(self, position: int, step: Step[Context], facts: Facts, why: str) -> Callable[[], Recorded]:
        def undo() -> Recorded:
            take_back = step.undo
            if not take_back:
                raise AssertionError(f"the step '{step.name}' has no undo")
            known = MappingProxyType(dict(facts))
            attempt = Attempt(position, step.name, is_undo=True)
            try:
                self._patiently(step.name, lambda: self._timed(attempt, lambda: take_back(self.context, known)))
            except Exception as error:
                raise Halt(self._not_undone(step.name, error, why)) from error
            return {}

        return undo

    def _not_undone(self, name: str, error: Exception, why: str) -> RunUnfinished:
        told = failures.encode(error)
        count = len(self.leash.undo_pauses_seconds) + 1
        attempts = f" in {count} attempts" if count > 1 else ""
        return RunUnfinished(
            f"'{name}' could not be undone{attempts}: {told['message']} The run was being undone because it had "
            f"failed: {why}",
            hint=str(told["hint"]),
        )

    def _patiently(self, name: str, undo: Callable[[], None]) -> None:
        """Try an undo again after each pause (it is safe to repeat): what keeps it from going well may pass."""
        for pause_seconds in self.leash.undo_pauses_seconds:
            try:
                return undo()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again
                told = failures.encode(error)["message"]
                self.leash.reasons.append(
                    f"'{name}' could not be undone, and is tried again after {pause_seconds:.0f} s: {told}"
                )
                self.clock.sleep(pause_seconds)
        return undo()

    def _timed(self, attempt: Attempt, act: Callable[[], T]) -> T:
        self.record.begin_step(attempt)
        self.leash.on_step(f"undo {attempt.name}" if attempt.is_undo else attempt.name)
        started = self.clock.monotonic()
        try:
            result = act()
        except Exception as error:
            self.record.end_step(attempt, self.clock.monotonic() - started, str(failures.encode(error)["message"]))
            raise
        self.record.end_step(attempt, self.clock.monotonic() - started, "")
        return result
