"""Many threads over one stream of pieces: a bounded queue, a handle per worker, and the first error wins."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from queue import Full, Queue
from threading import Event, Thread
from typing import Generic, TypeVar

from twinhull.model.errors import RunFailed

QUEUE_PER_WORKER = 4
"""Pieces that wait for each worker, at most: bounds what the producer runs ahead."""

_POLL_SECONDS = 0.2

Piece = TypeVar("Piece")
Worker = Callable[[], AbstractContextManager[Callable[[Piece], None]]]


class Cancelled(RunFailed):
    """The work was called off by whoever asked for it; what was done stays."""


class _Crew(Generic[Piece]):
    def __init__(self, worker: Worker[Piece], count: int) -> None:
        self._worker = worker
        self._queue: Queue[Piece | None] = Queue(maxsize=count * QUEUE_PER_WORKER)
        self._failed = Event()
        self.errors: list[BaseException] = []
        self._threads = [Thread(target=self._work, name=f"twinhull-worker-{n}", daemon=True) for n in range(count)]
        for thread in self._threads:
            thread.start()

    def offer(self, piece: Piece | None) -> bool:
        """Queue a piece, waiting for room; False when a worker has failed."""
        while not self._failed.is_set():
            try:
                self._queue.put(piece, timeout=_POLL_SECONDS)
            except Full:
                continue
            return True
        return False

    def fail(self, error: BaseException) -> None:
        self.errors.append(error)
        self._failed.set()

    def _work(self) -> None:
        try:
            with self._worker() as act:
                while (piece := self._queue.get()) is not None:
                    if self._failed.is_set():
                        return
                    act(piece)
        except BaseException as error:  # noqa: BLE001 - handed to the thread that asked, whatever it is
            self.fail(error)

    def finish(self) -> None:
        """Let the workers end and wait for them; after a failure, wake those that wait for a piece."""
        for _ in self._threads:
            if not self.offer(None):
                break
        while any(thread.is_alive() for thread in self._threads):
            if self._failed.is_set() and self._queue.empty():
                self._queue.put(None)
            for thread in self._threads:
                thread.join(_POLL_SECONDS / 4)


def work_through(
    pieces: Iterable[Piece],
    worker: Worker[Piece],
    *,
    count: int = 4,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Give each piece to one of ``count`` workers; return when all are done.

    ``worker`` opens one worker's tools (its disk handles) as a context that yields what acts on a piece.

    Raises:
        Cancelled: ``is_cancelled`` said so; pieces begun were finished.
        BaseException: the first error of any worker, or of ``pieces`` itself; nobody works any more when it is raised.
    """
    crew = _Crew(worker, count)
    try:
        for piece in pieces:
            if is_cancelled():
                crew.fail(Cancelled("The work was called off; what was done so far stays."))
            if not crew.offer(piece):
                break
    except BaseException as error:  # noqa: BLE001 - raised again below, after the workers have stopped
        crew.fail(error)
    crew.finish()
    if crew.errors:
        raise crew.errors[0]
