"""Carrying out a run on a machine: alone on it, and only after what an earlier process left unfinished there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event

from twinhull.actions.context import Context
from twinhull.manager import clockwatch
from twinhull.manager.catalog.catalog import Catalog
from twinhull.manager.catalog.records import RunRecord, RunState
from twinhull.manager.record.claims import Claim, Claims
from twinhull.manager.record.history import RunHistory
from twinhull.manager.repository.vault import nothing_stored, require_there
from twinhull.manager.runs.engine import Engine, Execution, is_undoing, raise_unless_done
from twinhull.manager.runs.keeping import Keeper
from twinhull.manager.runs.kinds.registry import KINDS
from twinhull.manager.runs.overtaking import is_concerned, look_before_going_on
from twinhull.manager.runs.unfinished import claim_of, unfinished_before
from twinhull.manager.runs.wants import Ears, Want
from twinhull.manager.sites.pool import SitePool
from twinhull.model.errors import MachineBusy, RunFailed, RunUnfinished, StaleEpoch, TwinhullError
from twinhull.model.machine import RunId
from twinhull.model.ports import Ports
from twinhull.model.progress import Progress
from twinhull.repository import Repository, RepositoryMissing, StoreError
from twinhull.runs import failures
from twinhull.runs.leash import Leash

_BUSY_PATIENCE_SECONDS = 0.5
_WAIT_SECONDS = 0.2


@dataclass
class Caution:
    """A reason to remove no point for now, or nothing."""

    text: str = ""


@dataclass(frozen=True)
class Dispatcher:
    """Takes a machine's claim, finishes what is unfinished there, then runs. One per process, for several threads."""

    catalog: Catalog
    history: RunHistory
    claims: Claims
    engine: Engine[Context]
    pool: SitePool
    ports: Ports
    repository: Callable[[], Repository]
    origin: str
    active: dict[RunId, Execution] = field(default_factory=dict)
    is_stopping: Event = field(default_factory=Event)
    caution: Caution = field(default_factory=Caution)

    def carry_out(self, want: Want, ears: Ears, *, is_waiting: bool = True) -> RunRecord:
        """Do it, waiting for the end; raises the run's error, and MachineBusy where it may not wait for its turn."""
        left = self._left_of_its_own(want)
        if left:
            return self.resume(left, ears, is_waiting=is_waiting)
        run_id = self._new_run_id(want.kind)
        name = claim_of(want.kind, want.subject, run_id)
        with self._alone(name, want.subject.name, f"{want.kind} {run_id}", ears, is_waiting=is_waiting) as claim:
            for unfinished in unfinished_before(self.history, want):
                finished = self._finish_first(unfinished, claim, want, ears)
                if finished and finished.state is RunState.DONE and want.is_same(finished):
                    return finished
            return self._run(run_id, claim, want, ears)

    def _finish_first(self, unfinished: RunRecord, claim: Claim, want: Want, ears: Ears) -> RunRecord | None:
        """Finish what was left; None where it waits for the repository, for which putting a side right must not wait.

        Says what can be done where the wanted run needs no repository, and the unfinished one does.
        """
        try:
            return self._finish(unfinished, claim, ears, is_hurried=is_undoing(unfinished))
        except RunUnfinished:
            stopped = self.history.run(unfinished.run_id)
            if not is_undoing(stopped):
                raise
            return self._end_half_undone(stopped, claim, want, ears)
        except (RepositoryMissing, StoreError) as error:
            if KINDS.named(want.kind).is_correction:
                return None
            if not want.is_without_repository:
                raise
            raise RunUnfinished(
                f"{unfinished.run_id} was left unfinished, and needs the repository to go on: {error.message} "
                f"Nothing was done with {want.subject.name}.",
                hint=f"Give it up, and repeat: twinhull runs abandon {unfinished.run_id}",
            ) from error

    def _end_half_undone(self, stopped: RunRecord, claim: Claim, want: Want, ears: Ears) -> RunRecord:
        """A run that cannot be undone now keeps no other one back: that one decides on what it finds (ADR 26)."""
        told = f"{stopped.run_id} could not be undone and was ended as it stands; the {want.kind} starts from that."
        ears.on_message(told)
        return self.engine.end_as_it_stands(stopped, claim, RunFailed(stopped.error, hint=stopped.hint), [told])

    def _left_of_its_own(self, want: Want) -> RunRecord | None:
        """What is wanted, if an earlier process began it with a claim of its own, and was killed."""
        left = [run for run in self.history.unfinished_runs(want.subject.key) if KINDS.of(run).is_reading]
        return next((run for run in left if want.is_same(run) and self.claims.is_free(_claim_of(run))), None)

    def resume(self, run: RunRecord, ears: Ears, *, is_waiting: bool = True) -> RunRecord:
        """Go on with an unfinished run to its end; raises its error."""
        what = f"{run.kind} {run.run_id}"
        with self._alone(_claim_of(run), run.subject.name, what, ears, is_waiting=is_waiting) as claim:
            present = self.history.run(run.run_id)
            if not present.state.is_unfinished:
                return raise_unless_done(present)
            return raise_unless_done(self._finish(present, claim, ears))

    def abandon(self, run: RunRecord) -> RunRecord:
        """Give an unfinished run up, leaving things as they are; raises MachineBusy while a process works on it."""
        with self._alone(_claim_of(run), run.subject.name, f"abandon {run.run_id}", Ears(), is_waiting=False) as claim:
            present = self.history.run(run.run_id)
            if not present.state.is_unfinished:
                return present
            return self.engine.abandon(present, claim)

    def _new_run_id(self, kind: str) -> RunId:
        token = self.ports.randomness.token(4).hex()
        return RunId(f"{kind}-{self.ports.clock.now():%Y%m%d-%H%M%S}-{token}")

    @contextmanager
    def _alone(self, name: str, subject: str, what: str, ears: Ears, *, is_waiting: bool) -> Iterator[Claim]:
        holder = f"{what} by {self.origin} ({self.claims.process_name})"
        clock = self.ports.clock
        deadline = clock.monotonic() + _BUSY_PATIENCE_SECONDS
        claim = self.claims.take(name, holder, is_unwanted=lambda: clock.monotonic() > deadline)
        if not claim:
            busy = f"{subject} is being worked on: {self.claims.holder(name)}."
            if not is_waiting:
                raise MachineBusy(
                    f"{busy} Nothing was done.",
                    hint="Leave --no-wait out to wait for it, or see 'twinhull runs list'.",
                )
            ears.on_message(f"{busy} Waiting for it to end (Ctrl-C stops).")
            claim = self.claims.take(name, holder)
        with claim:
            yield claim

    def _finish(self, run: RunRecord, claim: Claim, ears: Ears, *, is_hurried: bool = False) -> RunRecord:
        """Resume it; ``is_hurried``: an undo that fails once more is not waited for, because another run is wanted."""
        ears.on_message(f"Going on with {run.run_id}, which was left unfinished.")
        leash = self._leash(run, claim, ears)
        if is_hurried:
            leash.undo_pauses_seconds = ()
        overtaken = self._look_again(run, leash, ears)
        if overtaken:
            ears.on_message(overtaken.message)
            return self.engine.end_as_it_stands(run, claim, overtaken, leash.reasons)
        execution = self.engine.resume(run, claim, leash, lambda _: self._context(run, leash, ears))
        try:
            return self._see_through(execution, ears)
        except RunUnfinished:
            raise
        except TwinhullError as error:
            ears.on_message(f"{run.run_id} ended without success, and was undone: {error.message}")
            return self.history.run(run.run_id)

    def _look_again(self, run: RunRecord, leash: Leash, ears: Ears) -> StaleEpoch | None:
        """Fence a side that is stale by now; why the run must not go on, where another one has taken its machine."""
        found = self.history.found(run.run_id)
        if not is_concerned(run, found):
            return None
        with self._context(run, leash, ears) as context:
            try:
                return look_before_going_on(context, run, found)
            except Exception as error:  # noqa: BLE001 - whatever it is, the run's own steps meet it and say so
                told = failures.encode(error)["message"]
                context.on_reason(f"Its sites could not be looked at before {run.run_id} went on: {told}")
                return None

    def _run(self, run_id: RunId, claim: Claim, want: Want, ears: Ears) -> RunRecord:
        if not want.is_without_repository:
            require_there(self.repository())
        request = want.make(run_id)
        run = RunRecord(
            run_id=run_id,
            kind=want.kind,
            machine_id=want.subject.key,
            machine_name=want.subject.name,
            origin=self.origin,
            request=request.facts(),
            state=RunState.RUNNING,
            started_at=self.ports.clock.now(),
        )
        leash = self._leash(run, claim, ears)
        execution = self.engine.start(run, claim, leash, lambda _: self._context(run, leash, ears))
        return self._see_through(execution, ears)

    def _see_through(self, execution: Execution, ears: Ears) -> RunRecord:
        run_id = execution.run.run_id
        self.active[run_id] = execution
        if self.is_stopping.is_set():
            execution.cancel()
        try:
            _wait(execution, ears)
        finally:
            del self.active[run_id]
        return execution.result()

    def cancel_all(self) -> None:
        """Ask everything that runs in this process, or is about to, to stop where it can be undone."""
        self.is_stopping.set()
        for execution in list(self.active.values()):
            execution.cancel()

    def _leash(self, run: RunRecord, claim: Claim, ears: Ears) -> Leash:
        return Leash(run.run_id, is_stopping=self.is_stopping, is_lost=claim.is_lost, on_step=ears.on_step)

    def _repository_of(self, run: RunRecord) -> Repository:
        """The repository, or an empty one for a run that asks nothing of it, or nothing any more while it is away."""
        kind = KINDS.of(run)
        request = kind.request_of(run)
        if kind.is_without_repository(request, {}):
            return nothing_stored(self.ports)
        try:
            repository = self.repository()
            require_there(repository)
        except (RepositoryMissing, StoreError):
            if not kind.is_without_repository(request, self.history.found(run.run_id)):
                raise
            return nothing_stored(self.ports)
        return repository

    @contextmanager
    def _context(self, run: RunRecord, leash: Leash, ears: Ears) -> Iterator[Context]:
        def on_progress(progress: Progress) -> None:
            leash.check()
            ears.on_progress(progress)

        def on_reason(reason: str) -> None:
            leash.reasons.append(reason)
            ears.on_reason(reason)

        began = clockwatch.read(self.ports.clock)
        repository = self._repository_of(run)
        keeper = Keeper(
            self.catalog,
            self.history,
            repository,
            lambda: self.caution.text or clockwatch.since(began, self.ports.clock),
        )
        with self.pool.lease() as door:
            yield Context(
                repository=repository,
                sites=door,
                ports=self.ports,
                on_progress=on_progress,
                on_reason=on_reason,
                on_point=keeper.note,
                retain=keeper.after_sync,
                check=leash.check,
            )


def _claim_of(run: RunRecord) -> str:
    return claim_of(run.kind, run.subject, run.run_id)


def _wait(execution: Execution, ears: Ears) -> None:
    """Until it is over. The first Ctrl-C asks it to stop and undo; a second one is passed on."""
    try:
        _wait_quietly(execution)
    except KeyboardInterrupt:
        run_id = execution.run.run_id
        if execution.cancel():
            ears.on_message(f"Stopping {run_id}: what it did is being undone. Ctrl-C again leaves it as it is.")
        else:
            ears.on_message(f"{run_id} is where the only way is forward: it goes on. Ctrl-C again leaves it as it is.")
        _wait_quietly(execution)


def _wait_quietly(execution: Execution) -> None:
    while not execution.is_over(_WAIT_SECONDS):
        continue
