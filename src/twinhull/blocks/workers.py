"""Threads in the data plane: a handle for each, results in order, and never more in flight than a bound."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import cycle
from queue import Empty, SimpleQueue
from threading import Lock
from types import TracebackType
from typing import Protocol, Self, TypeVar, runtime_checkable

from twinhull.blocks.disk import Disk, DiskOpener
from twinhull.model.extents import Extent

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


@runtime_checkable
class Choosy(Protocol):
    """A disk that says itself whether it can be opened once more."""

    def another(self) -> Disk | None:
        """One more handle; None when there can be no more."""
        ...


class InTurn:
    """A handle that threads share, one call after the other: for a server that takes no more connections."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._turn = Lock()
        self.size_bytes = disk.size_bytes

    def extents(self, offset_bytes: int, length_bytes: int) -> Iterator[Extent]:
        """The range as consecutive extents."""
        with self._turn:
            return iter(list(self._disk.extents(offset_bytes, length_bytes)))

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        """The bytes of the range."""
        with self._turn:
            return self._disk.read(offset_bytes, length_bytes)

    def write(self, offset_bytes: int, data: bytes) -> None:
        """Write; durable only after ``flush``."""
        with self._turn:
            self._disk.write(offset_bytes, data)

    def zero(self, offset_bytes: int, length_bytes: int) -> None:
        """Make the range read as zeros."""
        with self._turn:
            self._disk.zero(offset_bytes, length_bytes)

    def flush(self) -> None:
        """Return when everything written is durable."""
        with self._turn:
            self._disk.flush()

    def close(self) -> None:
        """Close the handle; safe to repeat."""
        self._disk.close()

    def another(self) -> Disk | None:
        """One more handle of its own, if the disk can have one."""
        return self._disk.another() if isinstance(self._disk, Choosy) else None


class Handles:
    """Handles on one disk, lent to one thread at a time, opened as they are needed, closed together.

    When no more can be opened, threads share those that are there.
    """

    def __init__(self, opener: DiskOpener) -> None:
        self._opener = opener
        self._free: SimpleQueue[Disk] = SimpleQueue()
        self._all: list[Disk] = []
        self._shared: Iterator[Disk] | None = None
        self._lock = Lock()

    @contextmanager
    def lent(self) -> Iterator[Disk]:
        """A handle that nobody else uses meanwhile, or not at the same instant."""
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
            with self._lock:  # one after the other: the first says whether there can be others
                return self._open()

    def _open(self) -> Disk:
        if self._shared:
            return next(self._shared)
        handle = self._another()
        if handle is None:
            self._shared = cycle(tuple(self._all))
            return next(self._shared)
        self._all.append(handle)
        return handle

    def _another(self) -> Disk | None:
        first = self._all[0] if self._all else None
        if isinstance(first, InTurn):
            further = first.another()
            return InTurn(further) if further else None
        disk = self._opener()
        return InTurn(disk) if isinstance(disk, Choosy) else disk
