"""Durable runs. The engine is DBOS on SQLite, and this is the only module that meets it.

::

    start ──▶ recorded as pending ──▶ step, recorded ──▶ step, recorded ──▶ … ──▶ end, told to the journal
                                        │ kill -9
    resume ──▶ the same run in another process: recorded steps are read, the others are done

How several processes get along: each has a *slot* (a locked file) and works on a queue of that slot only, so a run that
goes on does so in the process that asked for it. That nobody else works on it is proved by the machine's lock, which
the caller holds from before ``start`` or ``resume`` until the run has ended.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field
from threading import Event, Thread
from threading import Lock as ThreadLock
from typing import Any, Generic, TypeVar

from dbos import DBOS, DBOSConfig, Serializer, SetWorkflowID, WorkflowHandle

from twinhull.manager.catalog.locks import Lock
from twinhull.manager.catalog.records import RunRecord, RunState, StepRecord
from twinhull.manager.catalog.state import StateDirectory, make_private
from twinhull.manager.runs.journal import Journal
from twinhull.model.errors import RunFailed, RunUnfinished, StateError, TwinhullError
from twinhull.model.machine import RunId
from twinhull.model.ports import Ports
from twinhull.model.steps import Action, Facts, JsonValue
from twinhull.runs import failures
from twinhull.runs.leash import Halt, Leash
from twinhull.runs.stepper import Attempt, Outcome, Recorded, Stepper

Context = TypeVar("Context")

_RECORD_VERSION = "1"
"""Pinned, because the engine's own guess (a hash of this source) would orphan unfinished runs at every upgrade."""
_SLOT_COUNT = 64
_QUEUE_POLL_SECONDS = 0.05
_CHECK_SECONDS = 2.0
_DEAD_STATES = ("ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")


class _PlainJson(Serializer):
    """Records are plain JSON: readable for people, and no code hides in them."""

    def serialize(self, data: Any) -> str:  # noqa: ANN401 - the engine's own signature
        return json.dumps(data)

    def deserialize(self, serialized_data: str) -> Any:  # noqa: ANN401 - the engine's own signature
        return json.loads(serialized_data)

    def name(self) -> str:
        return "twinhull_json"


@dataclass
class Execution:
    """A run in this process. Wait for its end with ``is_over``; ``cancel`` asks it to stop where it can be undone."""

    run: RunRecord
    leash: Leash
    is_told: Event = field(default_factory=Event)
    is_put_away: Event = field(default_factory=Event)
    final: RunRecord | None = None
    halt: BaseException | None = None

    def cancel(self) -> bool:
        """Ask the run to stop and undo; False where it is past that point and goes on to its end."""
        self.leash.is_cancelled.set()
        return not self.leash.is_forward_only

    def is_over(self, timeout_seconds: float = 0.0) -> bool:
        """Whether it has ended (or stopped) and all of it is closed, waiting that long for it."""
        return self.is_put_away.wait(timeout_seconds)

    def result(self) -> RunRecord:
        """The run's record, once it is over; raises the run's own error, or RunUnfinished."""
        if not self.final:
            raise RunUnfinished(
                f"The run {self.run.run_id} stopped, and not even that could be written down: {self.halt!r}.",
                hint=f"Mend the state directory, then go on with 'twinhull runs resume {self.run.run_id}'.",
            )
        return raise_unless_done(self.final)

    def tell(self, final: RunRecord | None, halt: BaseException | None = None) -> None:
        """How it ended is known."""
        self.final, self.halt = final, halt
        self.is_told.set()


def is_undoing(run: RunRecord) -> bool:
    """Whether it stopped because an undo failed: resuming it goes on undoing."""
    return run.state is RunState.STOPPED and run.error_kind == RunUnfinished.__name__


def raise_unless_done(run: RunRecord) -> RunRecord:
    """The run, if it was done; raises its own error otherwise."""
    if run.state is RunState.DONE:
        return run
    if run.state.is_unfinished:
        where = "while it was being undone" if is_undoing(run) else "where the only way is forward"
        raise RunUnfinished(
            f"The run {run.run_id} stopped {where}: {run.error}",
            hint=f"{run.hint} When that is mended, resume it: 'twinhull runs resume {run.run_id}'. If it cannot be, "
            f"give it up as it stands: 'twinhull runs abandon {run.run_id}'.".strip(),
        )
    raise failures.decode({"kind": run.error_kind, "message": run.error, "hint": run.hint})


ContextMaker = Callable[[Leash], AbstractContextManager[Context]]
"""Opens what the steps of one run work with, and closes it when the run is over."""


@dataclass
class _Work(Generic[Context]):
    execution: Execution
    context: Context
    cleanup: ExitStack


class Engine(Generic[Context]):
    """One per process at a time: DBOS is a process-wide singleton. Close it, or use it as a context manager."""

    def __init__(
        self,
        state: StateDirectory,
        actions: Mapping[str, Action[Context]],
        journal: Journal,
        ports: Ports,
    ) -> None:
        self._state = state
        self._actions = actions
        self._journal = journal
        self._ports = ports
        self._slot: Lock | None = None
        self._queue = ""
        self._work: dict[str, _Work[Context]] = {}
        self._launching = ThreadLock()

    def start(self, run: RunRecord, leash: Leash, open_context: ContextMaker[Context]) -> Execution:
        """Begin a run. The caller holds its lock until it is over."""
        self._launch()
        execution = self._prepare(run, leash, open_context)
        self._journal.begin(run)
        return self._watch(execution, _begin(run))

    def resume(self, run: RunRecord, leash: Leash, open_context: ContextMaker[Context]) -> Execution:
        """Go on with a run that was killed or stopped; its finished steps are not repeated."""
        self._launch()
        execution = self._prepare(run, leash, open_context)
        self._journal.go_on(run.run_id)
        if DBOS.get_workflow_status(run.run_id) is None:
            # Killed between the journal's first line and the engine's: nothing has begun.
            return self._watch(execution, _begin(run))
        return self._watch(execution, DBOS.resume_workflow(run.run_id, queue_name=self._queue))

    def found(self, run_id: RunId) -> Facts:
        """What the finished steps of a run have found; nothing where none has."""
        self._launch()
        facts: dict[str, JsonValue] = {}
        for step in DBOS.list_workflow_steps(run_id):
            recorded = step["output"]
            facts.update((recorded.get("facts") or {}) if isinstance(recorded, dict) else {})
        return facts

    def end_as_it_stands(self, run: RunRecord, error: TwinhullError, reasons: Sequence[str]) -> RunRecord:
        """End an unfinished run as failed, with nothing (more) undone; the caller holds its lock."""
        told = failures.encode(error)
        result = {**run.request, **self.found(run.run_id)}
        # Before it is forgotten: a run that the journal takes for unfinished would begin anew.
        ended = self._journal.end(run.run_id, RunState.FAILED, result=result, reasons=tuple(reasons), error=told)
        self.forget(run.run_id)
        return ended

    def forget(self, run_id: RunId) -> None:
        """Drop the engine's record of a run that the user gave up."""
        self._launch()
        DBOS.cancel_workflow(run_id)
        DBOS.delete_workflow(run_id)

    def close(self) -> None:
        """Let go of the engine; the caller has waited for its runs. Safe to repeat."""
        if self._slot:
            DBOS.destroy()
            self._slot.release()
            self._slot = None
            _Current.engine = None

    def perform(self, run_id: str, kind: str, request: str) -> dict[str, JsonValue]:
        """The run itself, called by DBOS in a thread of its own."""
        work = self._work[run_id]
        leash = work.execution.leash
        record = _Record(leash.run_id, self._journal)
        stepper = Stepper(self._actions[kind], work.context, leash, record, self._ports.clock)
        try:
            work.execution.tell(self._tell_end(leash, stepper.run(json.loads(request))))
        except Halt as halt:
            work.execution.tell(self._tell_stop(leash, halt), halt)
            raise
        except Exception as error:
            # Not a step's failure but ours (no room for the record, say): stay unfinished rather than end wrongly.
            work.execution.tell(None, error)
            raise Halt(error) from error
        finally:
            if not work.execution.is_told.is_set():
                work.execution.tell(None, RunFailed("its thread was ended from outside"))
        return {}

    def _tell_stop(self, leash: Leash, halt: Halt) -> RunRecord:
        error = failures.encode(halt.error)
        return self._journal.end(leash.run_id, RunState.STOPPED, result={}, reasons=tuple(leash.reasons), error=error)

    def _tell_end(self, leash: Leash, outcome: Outcome) -> RunRecord:
        said = outcome.facts.get("reasons")
        reasons = tuple(str(reason) for reason in said) if isinstance(said, list) else ()
        return self._journal.end(
            leash.run_id,
            RunState(outcome.ending.value),
            result=outcome.facts,
            reasons=(*leash.reasons, *reasons),
            error=outcome.error,
        )

    def _prepare(self, run: RunRecord, leash: Leash, open_context: ContextMaker[Context]) -> Execution:
        if run.kind not in self._actions:
            raise StateError(f"The run {run.run_id} is a '{run.kind}', which this Twinhull does not know.")
        execution = Execution(run, leash)
        with ExitStack() as cleanup:
            context = cleanup.enter_context(open_context(execution.leash))
            self._work[run.run_id] = _Work(execution, context, cleanup.pop_all())
        return execution

    def _watch(self, execution: Execution, handle: WorkflowHandle[Any]) -> Execution:
        Thread(target=self._see_off, args=(execution, handle), name=execution.run.run_id, daemon=True).start()
        return execution

    def _see_off(self, execution: Execution, handle: WorkflowHandle[Any]) -> None:
        try:
            self._await_end(execution, handle)
        finally:
            self._work.pop(execution.run.run_id).cleanup.close()
            execution.is_put_away.set()

    def _await_end(self, execution: Execution, handle: WorkflowHandle[Any]) -> None:
        while not execution.is_told.wait(_CHECK_SECONDS):
            status = _status(handle)
            if status in _DEAD_STATES and not execution.is_told.is_set():
                execution.tell(None, RunFailed(f"the engine gave the run up ({status})"))
        if execution.halt is None:
            # The journal has the run now; the engine need not remember it any more, nor be able to forget it.
            with suppress(Exception):
                handle.get_result(polling_interval_sec=_QUEUE_POLL_SECONDS)
                DBOS.delete_workflow(execution.run.run_id)

    def _launch(self) -> None:
        with self._launching:
            if not self._slot:
                self._launch_once()

    def _launch_once(self) -> None:
        if _Current.engine:
            raise StateError("This process has a run engine already.")
        with ExitStack() as undo:
            slot = undo.enter_context(self._take_slot())
            self._queue = slot.path.stem
            _prepare_file(self._state)
            _quieten()
            DBOS(config=self._config())
            undo.callback(DBOS.destroy)
            DBOS.listen_queues([self._queue])
            DBOS.launch()
            DBOS.register_queue(self._queue, polling_interval_sec=_QUEUE_POLL_SECONDS)
            undo.pop_all()
        self._slot, _Current.engine = slot, self

    def _take_slot(self) -> Lock:
        for number in range(_SLOT_COUNT):
            lock = Lock(self._state.lock(f"slot-{number}"))
            if lock.try_take(f"process {os.getpid()}"):
                return lock
        raise StateError(f"More than {_SLOT_COUNT} processes work on {self._state.path} at once.")

    def _config(self) -> DBOSConfig:
        return {
            "name": "twinhull",
            "system_database_url": f"sqlite:///{self._state.runs}",
            "application_version": _RECORD_VERSION,
            # Never that of another process: what the engine would take up by itself at its launch is nothing.
            "executor_id": f"{self._queue}-{self._ports.randomness.uuid()}",
            "serializer": _PlainJson(),
            "log_level": "CRITICAL",
            "enable_otlp": False,
            # How long letting go of the engine takes, too.
            "notification_listener_polling_interval_sec": 0.1,
        }


@dataclass
class _Current:
    engine: Engine[Any] | None = None


@DBOS.workflow(name="twinhull.run", max_recovery_attempts=None)
def _perform(run_id: str, kind: str, request: str) -> dict[str, JsonValue]:
    engine = _Current.engine
    if not engine:
        raise StateError("No engine is there to do the run.")
    return engine.perform(run_id, kind, request)


def _begin(run: RunRecord) -> WorkflowHandle[Any]:
    with SetWorkflowID(run.run_id):
        return DBOS.start_workflow(_perform, run.run_id, run.kind, json.dumps(dict(run.request)))


def _status(handle: WorkflowHandle[Any]) -> str:
    """Empty where the engine cannot say: then its thread may live, and all that it works with is kept open."""
    try:
        return handle.get_status().status
    except Exception:  # noqa: BLE001 - it is asked again, and the run itself tells its end
        return ""


@dataclass
class _Record:
    """What the stepper records: results with the engine, times with the journal."""

    run_id: RunId
    journal: Journal
    _begun: StepRecord | None = None

    def once(self, name: str, act: Callable[[], Recorded]) -> Recorded:
        return DBOS.run_step({"name": name}, act)

    def begin_step(self, attempt: Attempt) -> None:
        self._begun = self.journal.begin_step(self.run_id, attempt.position, attempt.name, is_undo=attempt.is_undo)

    def end_step(self, attempt: Attempt, seconds: float, error: str) -> None:
        del attempt
        if self._begun:
            self.journal.end_step(self.run_id, self._begun, seconds, error)


def _prepare_file(state: StateDirectory) -> None:
    """Readers and writers of several processes must not hold up one another."""
    make_private(state.runs)
    with sqlite3.connect(state.runs, timeout=30.0) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    connection.close()


def _quieten() -> None:
    """The engine's own log is not for the user's terminal: what matters is in the run's record."""
    log = logging.getLogger("dbos")
    log.propagate = False
    if not log.handlers:
        log.addHandler(logging.NullHandler())
