"""Threads in the data plane: a handle for each, results in order, and never more in flight than a bound."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from queue import Empty, SimpleQueue
from threading import Lock
from types import TracebackType
from typing import Self, TypeVar

from twinhull.blocks.disk import Disk, DiskOpener

IN_FLIGHT_PER_WORKER = 2
"""How many pieces wait or are worked on, for each worker: the bound on memory."""

Item = TypeVar("Item")
Result = TypeVar("Result")


Stream = Generator[Item, None, None]
"""Something read one by one, and closed by whoever reads it: ``with closing(stream): …``."""


def in_order(items: Stream[Item], work: Callable[[Item], Result], workers: int) -> Stream[Result]:
    """``work`` done by threads; results come in the items' own order, at most a bounded number ahead of the reader.

    Closing it waits for the threads, so that nothing they use is taken away from under them; it closes the items, too.
    """
    executor = ThreadPoolExecutor(workers, "twinhull-data")
    pending: deque[Future[Result]] = deque()
    with closing(items):
        try:
            for item in items:
                pending.append(executor.submit(work, item))
                if len(pending) >= workers * IN_FLIGHT_PER_WORKER:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            executor.shutdown(wait=True, cancel_futures=True)


class Handles:
    """Handles on one disk, lent to one thread at a time, opened as they are needed, closed together."""

    def __init__(self, opener: DiskOpener) -> None:
        self._opener = opener
        self._free: SimpleQueue[Disk] = SimpleQueue()
        self._all: list[Disk] = []
        self._lock = Lock()

    @contextmanager
    def lent(self) -> Iterator[Disk]:
        """A handle that nobody else uses meanwhile."""
        handle = self._take()
        try:
            yield handle
        finally:
            self._free.put(handle)

    def flush(self) -> None:
        """Return when everything written through any handle is durable."""
        for handle in self._all:
            handle.flush()

    def __enter__(self) -> Self:
        """Nothing is opened yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close them all."""
        for handle in self._all:
            handle.close()

    def _take(self) -> Disk:
        try:
            return self._free.get_nowait()
        except Empty:
            handle = self._opener()
            with self._lock:
                self._all.append(handle)
            return handle
