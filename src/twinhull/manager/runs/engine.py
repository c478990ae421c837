"""Durable runs. The engine is DBOS, on SQLite or PostgreSQL; this module and ``record.py`` alone meet it.

::

    start ──▶ recorded as pending ──▶ step, recorded ──▶ step, recorded ──▶ … ──▶ end, recorded
                                        │ kill -9
    resume ──▶ the same run in another process: recorded steps are read, the others are done

The engine owns the run: its request, its steps with what they found, its end. ``history.py`` reads them.

How several processes get along: each works on a queue of its own only, so a run that is resumed goes on in the process
that asked for it. The caller holds the run's claim from before ``start`` or ``resume`` until the run has ended: each
step checks it before it begins, and the engine records a step's result only for the execution that it last resumed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field
from threading import Event, Thread
from threading import Lock as ThreadLock
from typing import Any, Generic, TypeVar

from dbos import DBOS, DBOSConfig, Serializer, SetWorkflowAttributes, SetWorkflowID

from twinhull.manager.catalog.records import RunRecord, RunState
from twinhull.manager.record import document
from twinhull.manager.record.claims import Claim, Claims
from twinhull.manager.record.database import RunsDatabase
from twinhull.manager.record.history import WORKFLOW, RunHistory
from twinhull.manager.runs.record import EngineRecord
from twinhull.model.errors import ClaimLost, RunFailed, RunUnfinished, StateError, TwinhullError
from twinhull.model.ports import Ports
from twinhull.model.steps import Action, JsonValue
from twinhull.runs import failures
from twinhull.runs.leash import Halt, Leash
from twinhull.runs.stepper import Outcome, Stepper

Context = TypeVar("Context")

RECORD_VERSION = "1"
"""Pinned, because the engine's own guess (a hash of this source) would orphan unfinished runs at every upgrade."""
SERIALIZATION = "twinhull_json"
_QUEUE_PREFIX = "process-"
_QUEUE_POLL_SECONDS = 0.05
_CHECK_SECONDS = 2.0
_END_POLL_SECONDS = 0.02
_END_PATIENCE_SECONDS = 15.0
"""How long the engine may take to write a run's end down before the run counts as unfinished."""
_DEAD_STATES = ("ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")


class _PlainJson(Serializer):
    """Records are plain JSON: readable for people, and no code hides in them."""

    def serialize(self, data: Any) -> str:  # noqa: ANN401 - the engine's own signature
        return json.dumps(data)

    def deserialize(self, serialized_data: str) -> Any:  # noqa: ANN401 - the engine's own signature
        return json.loads(serialized_data)

    def name(self) -> str:
        return SERIALIZATION


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
        if self.final:
            return raise_unless_done(self.final)
        if isinstance(self.halt, Halt) and isinstance(self.halt.error, ClaimLost):
            raise RunUnfinished(
                f"The run {self.run.run_id} stopped here: {self.halt.error.message}",
                hint=f"See how it goes on there: twinhull runs show {self.run.run_id}",
            )
        raise RunUnfinished(
            f"The run {self.run.run_id} stopped, and not even that could be written down: {self.halt!r}.",
            hint=f"Mend the database of runs, then resume it: twinhull runs resume {self.run.run_id}",
        )

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
    record: EngineRecord
    cleanup: ExitStack


class Engine(Generic[Context]):
    """One per process at a time: DBOS is a process-wide singleton. Close it."""

    def __init__(
        self, database: RunsDatabase, claims: Claims, actions: Mapping[str, Action[Context]], ports: Ports
    ) -> None:
        """Nothing is loaded or opened before it is needed."""
        self._database = database
        self._claims = claims
        self._actions = actions
        self._ports = ports
        self._history = RunHistory(database)
        self._queue: Claim | None = None
        self._work: dict[str, _Work[Context]] = {}
        self._launching = ThreadLock()

    def start(self, run: RunRecord, claim: Claim, leash: Leash, open_context: ContextMaker[Context]) -> Execution:
        """Begin a run. The caller holds its claim until it is over."""
        self._launch()
        execution = self._prepare(run, claim, leash, open_context)
        attributes = document.header(run, claim.token)
        with SetWorkflowID(run.run_id), SetWorkflowAttributes(attributes):
            DBOS.start_workflow(_perform, run.run_id, run.kind, json.dumps(dict(run.request)))
        return self._watch(execution)

    def resume(self, run: RunRecord, claim: Claim, leash: Leash, open_context: ContextMaker[Context]) -> Execution:
        """Go on with a run that was killed or stopped; its finished steps are not repeated."""
        queue = self._launch()
        execution = self._prepare(run, claim, leash, open_context)
        self._work[run.run_id].record.go_on()
        DBOS.resume_workflow(run.run_id, queue_name=queue)
        return self._watch(execution)

    def end_as_it_stands(self, run: RunRecord, claim: Claim, error: TwinhullError, reasons: Sequence[str]) -> RunRecord:
        """End an unfinished run as failed, with nothing (more) undone; the caller holds its claim."""
        return self._end(run, claim, RunState.FAILED, error, reasons)

    def abandon(self, run: RunRecord, claim: Claim) -> RunRecord:
        """Give an unfinished run up, leaving things as they are; the caller holds its claim."""
        return self._end(run, claim, RunState.ABANDONED, None, ())

    def _end(
        self, run: RunRecord, claim: Claim, state: RunState, error: TwinhullError | None, reasons: Sequence[str]
    ) -> RunRecord:
        self._launch()
        end = document.ending(
            state,
            self._ports.clock.now(),
            result={**run.request, **self._history.found(run.run_id)},
            reasons=tuple(reasons),
            error=failures.encode(error) if error else None,
        )
        ended = EngineRecord(run, claim, self._database, self._ports.clock).end(end)
        # From here on no execution of it, wherever it is, can record anything more.
        DBOS.cancel_workflow(run.run_id)
        return ended

    def make_tables(self) -> None:
        """Let the engine make its tables where they are missing."""
        self._launch()
        self.close()

    def close(self) -> None:
        """Release the engine; the caller has waited for its runs. Safe to repeat."""
        if self._queue:
            with suppress(Exception):
                DBOS.delete_queue(self._queue.name)
            DBOS.destroy()
            self._queue.release()
            self._queue = None
            _Current.engine = None

    def perform(self, run_id: str, kind: str, request: str) -> dict[str, JsonValue]:
        """The run itself, called by DBOS in a thread of its own."""
        work = self._work.get(run_id)
        if work is None:
            # Another execution's; it must not end here, whatever brought it.
            raise Halt(StateError(f"The run {run_id} does not belong to this process."))
        try:
            stepper = Stepper(self._actions[kind], work.context, work.execution.leash, work.record, self._ports.clock)
            end = self._ending(work.execution.leash, stepper.run(json.loads(request)))
            work.execution.tell(document.with_ending(work.execution.run, end))
        except Halt as halt:
            work.execution.tell(self._stopped(work, halt), halt)
            raise
        except Exception as error:
            # Not a step's failure but ours: stay unfinished rather than end wrongly.
            work.execution.tell(None, error)
            raise Halt(error) from error
        finally:
            if not work.execution.is_told.is_set():
                work.execution.tell(None, RunFailed("its thread was ended from outside"))
        return end

    def _stopped(self, work: _Work[Context], halt: Halt) -> RunRecord | None:
        """The run as it is now; None where that cannot be written down, or is not ours to write."""
        end = document.ending(
            RunState.STOPPED,
            self._ports.clock.now(),
            result={},
            reasons=tuple(work.execution.leash.reasons),
            error=failures.encode(halt.error),
        )
        try:
            return work.record.stop(end)
        except Exception:  # noqa: BLE001 - the run stays unfinished, and its execution says why
            return None

    def _ending(self, leash: Leash, outcome: Outcome) -> document.Document:
        said = outcome.facts.get("reasons")
        reasons = tuple(str(reason) for reason in said) if isinstance(said, list) else ()
        return document.ending(
            RunState(outcome.ending.value),
            self._ports.clock.now(),
            result=outcome.facts,
            reasons=(*leash.reasons, *reasons),
            error=outcome.error,
        )

    def _prepare(self, run: RunRecord, claim: Claim, leash: Leash, open_context: ContextMaker[Context]) -> Execution:
        if run.kind not in self._actions:
            raise StateError(f"The run {run.run_id} is a '{run.kind}', which this Twinhull does not know.")
        execution = Execution(run, leash)
        record = EngineRecord(run, claim, self._database, self._ports.clock)
        with ExitStack() as cleanup:
            context = cleanup.enter_context(open_context(execution.leash))
            self._work[run.run_id] = _Work(execution, context, record, cleanup.pop_all())
        return execution

    def _watch(self, execution: Execution) -> Execution:
        Thread(target=self._see_off, args=(execution,), name=execution.run.run_id, daemon=True).start()
        return execution

    def _see_off(self, execution: Execution) -> None:
        try:
            self._await_end(execution)
        finally:
            self._work.pop(execution.run.run_id).cleanup.close()
            execution.is_put_away.set()

    def _await_end(self, execution: Execution) -> None:
        while not execution.is_told.wait(_CHECK_SECONDS):
            status = _status(execution.run.run_id)
            if status in _DEAD_STATES and not execution.is_told.is_set():
                execution.tell(None, RunFailed(f"the engine gave the run up ({status})"))
        if execution.final and not execution.final.state.is_unfinished and not _is_written(execution.run.run_id):
            execution.tell(None, RunFailed("its end could not be recorded"))

    def _launch(self) -> str:
        """The name of this process's queue."""
        with self._launching:
            return (self._queue or self._launch_once()).name

    def _launch_once(self) -> Claim:
        if _Current.engine:
            raise StateError("This process has a run engine already.")
        name = f"{_QUEUE_PREFIX}{self._ports.randomness.uuid()}"
        with ExitStack() as undo:
            queue = undo.enter_context(self._claims.take(name, self._claims.process_name))
            _quieten()
            DBOS(config=self._config(name))
            undo.callback(DBOS.destroy)
            DBOS.listen_queues([name])
            DBOS.launch()
            self._database.make_indexes()
            self._forget_dead_queues()
            DBOS.register_queue(name, polling_interval_sec=_QUEUE_POLL_SECONDS)
            undo.pop_all()
        self._queue, _Current.engine = queue, self
        return queue

    def _forget_dead_queues(self) -> None:
        """Killed processes leave the names of their queues behind."""
        names = [queue.name for queue in DBOS.list_queues() if queue.name.startswith(_QUEUE_PREFIX)]
        living = self._claims.holders(*names)
        for name in names:
            if name not in living:
                DBOS.delete_queue(name)

    def _config(self, name: str) -> DBOSConfig:
        return {
            "name": "twinhull",
            "system_database_url": self._database.url.render_as_string(hide_password=False),
            "application_version": RECORD_VERSION,
            # Never that of another process: what the engine would take up at its launch is nothing.
            "executor_id": name,
            "serializer": _PlainJson(),
            "log_level": "CRITICAL",
            "enable_otlp": False,
            # How long releasing the engine takes, too.
            "notification_listener_polling_interval_sec": 0.1,
        }


@dataclass
class _Current:
    engine: Engine[Any] | None = None


@DBOS.workflow(name=WORKFLOW, max_recovery_attempts=None)
def _perform(run_id: str, kind: str, request: str) -> dict[str, JsonValue]:
    engine = _Current.engine
    if not engine:
        raise Halt(StateError("No engine is there to do the run."))
    return engine.perform(run_id, kind, request)


def _status(run_id: str) -> str:
    """Empty where the engine cannot say: then its thread may live, and all that it works with is kept open."""
    try:
        found = DBOS.get_workflow_status(run_id)
    except Exception:  # noqa: BLE001 - it is asked again, and the run itself tells its end
        return ""
    return found.status if found else ""


def _is_written(run_id: str) -> bool:
    """Whether the engine has recorded the run's end, waiting a while for it."""
    pause, attempts = Event(), int(_END_PATIENCE_SECONDS / _END_POLL_SECONDS)
    return any(_status(run_id) == "SUCCESS" or pause.wait(_END_POLL_SECONDS) for _ in range(attempts))


def _quieten() -> None:
    """The engine's own log is not for the user's terminal: what matters is in the run's record."""
    log = logging.getLogger("dbos")
    log.propagate = False
    if not log.handlers:
        log.addHandler(logging.NullHandler())
