"""A store that does not answer for ever: each call has a time, and one that takes longer is left behind in its thread.

A directory on a server that is gone (NFS, a FUSE file system), or on a disk that hangs, blocks every call that touches
it, and no signal ends that. A bucket's library has times of its own.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from typing import TypeVar

from twinhull.repository.errors import StoreError
from twinhull.repository.store.contract import MAX_READ_BYTES, ObjectInfo, Store
from twinhull.repository.store.wrappers import Around

READ_SECONDS = 60.0
WRITE_SECONDS = 300.0
"""Also for listings: each of some million objects may have to be asked for its size."""
HANGING_SECONDS = 5.0
"""How long each call may take while an earlier one still hangs: a command makes many calls, and is to end soon."""

Answer = TypeVar("Answer")
Outcome = tuple[object, BaseException | None]


@dataclass(frozen=True, slots=True)
class _Worker:
    """A thread that makes one call after another."""

    calls: SimpleQueue[Callable[[], object] | None] = field(default_factory=SimpleQueue)
    outcomes: SimpleQueue[Outcome] = field(default_factory=SimpleQueue)

    def start(self) -> None:
        """A daemon: a call that hangs keeps no process from ending."""
        Thread(target=self._work, name="twinhull-store", daemon=True).start()

    def _work(self) -> None:
        while call := self.calls.get():
            try:
                self.outcomes.put((call(), None))
            except BaseException as error:  # noqa: BLE001 - it is raised where the call was asked for
                self.outcomes.put((None, error))
            del call  # it knows the store, which nobody may need any more


class PatientStore(Around):
    """Passes everything on, and waits no longer than a time. Safe for threads."""

    def __init__(self, inner: Store) -> None:
        super().__init__(inner)
        self._lock = Lock()
        self._idle: list[_Worker] = []
        self._hanging: list[_Worker] = []
        weakref.finalize(self, _dismiss, self._idle)

    def create(self, name: str, parts: Sequence[bytes]) -> None:
        """See ``Store.create``. One that is given up may still be made later, as after any error."""
        self._ask(f"'{name}' was being written", lambda: self._inner.create(name, parts), WRITE_SECONDS)

    def read(self, name: str, max_bytes: int = MAX_READ_BYTES) -> bytes:
        """See ``Store.read``."""
        return self._ask(f"'{name}' was being read", lambda: self._inner.read(name, max_bytes), READ_SECONDS)

    def read_range(self, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        """See ``Store.read_range``."""
        read = lambda: self._inner.read_range(name, offset_bytes, length_bytes)  # noqa: E731 - as in the other calls
        return self._ask(f"'{name}' was being read", read, READ_SECONDS)

    def size(self, name: str) -> int:
        """See ``Store.size``."""
        return self._ask(f"'{name}' was being inspected", lambda: self._inner.size(name), READ_SECONDS)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See ``Store.list``."""
        return iter(self._ask("it was being listed", lambda: list(self._inner.list(prefix)), WRITE_SECONDS))

    def delete(self, name: str) -> None:
        """See ``Store.delete``."""
        self._ask(f"'{name}' was being deleted", lambda: self._inner.delete(name), WRITE_SECONDS)

    def locked_until(self, name: str) -> datetime | None:
        """See ``Store.locked_until``."""
        return self._ask(f"'{name}' was being inspected", lambda: self._inner.locked_until(name), READ_SECONDS)

    def sweep(self) -> int:
        """See ``Store.sweep``."""
        return self._ask("it was being swept", self._inner.sweep, WRITE_SECONDS)

    def _ask(self, action: str, call: Callable[[], Answer], seconds: float) -> Answer:
        worker, patience = self._worker(), self._patience(seconds)
        worker.calls.put(call)
        try:
            answer, error = worker.outcomes.get(timeout=patience)
        except Empty:
            with self._lock:
                self._hanging.append(worker)
            raise StoreError(
                f"The store {self.url} has not answered for {patience:g} s while {action}.",
                hint="Check whether its disk or its server hangs.",
            ) from None
        with self._lock:
            self._idle.append(worker)
        if error:
            raise error
        return answer  # type: ignore[return-value] # what the call gave

    def _worker(self) -> _Worker:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        worker = _Worker()
        worker.start()
        return worker

    def _patience(self, seconds: float) -> float:
        """Short as long as an earlier call hangs; those that have ended since are done with."""
        with self._lock:
            self._hanging = [worker for worker in self._hanging if worker.outcomes.empty()]
            return min(seconds, HANGING_SECONDS) if self._hanging else seconds


def _dismiss(workers: Sequence[_Worker]) -> None:
    """Let threads end that nobody can ask any more."""
    for worker in workers:
        worker.calls.put(None)
