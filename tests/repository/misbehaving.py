"""Stores that fail on purpose."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from random import Random
from threading import Lock
from typing import Generic, TypeVar

from twinhull.model.progress import OnProgress, Progress
from twinhull.repository import ObjectInfo, Store, StoreError, StoreFull
from twinhull.repository.store.contract import MAX_READ_BYTES

MAX_DELAY_SECONDS = 0.01


class CrashedError(BaseException):
    """The process is gone: nothing may catch this and go on."""


class EndedError(Exception):
    """What a listener ends work with."""


def ending_at(call: int) -> OnProgress:
    """A listener that ends the work at that call, counted from 0."""
    heard = count()

    def on_progress(_: Progress) -> None:
        if next(heard) >= call:
            raise EndedError

    return on_progress


Change = Callable[[], None]
Fault = Callable[[Change], None]
"""Called instead of a change to the store, with the change to make or not to make."""


def crash_before(_: Change) -> None:
    raise CrashedError


def crash_after(change: Change) -> None:
    """The change is made, but nobody lives to hear of it."""
    change()
    raise CrashedError


def no_room(_: Change) -> None:
    raise StoreFull("No space left on device.")


def broken(_: Change) -> None:
    raise StoreError("Input/output error.")


def lost_answer(change: Change) -> None:
    """The change is made, and the answer is an error."""
    change()
    raise StoreError("Connection reset by peer.")


Inner = TypeVar("Inner", bound=Store)


class FailingStore(Generic[Inner]):
    """A store that does something else at its n-th change, and at every one behind it.

    The changes are creations and deletions, counted from 0. A process that has crashed once makes no change any more.
    """

    def __init__(self, inner: Inner, at: int | None = None, fault: Fault = crash_before) -> None:
        self.inner = inner
        self.count = 0
        self._at = at
        self._fault = fault
        self._lock = Lock()

    @property
    def url(self) -> str:
        return self.inner.url

    def create(self, name: str, parts: Sequence[bytes]) -> None:
        self._change(lambda: self.inner.create(name, parts))

    def delete(self, name: str) -> None:
        self._change(lambda: self.inner.delete(name))

    def read(self, name: str, max_bytes: int = MAX_READ_BYTES) -> bytes:
        return self.inner.read(name, max_bytes)

    def read_range(self, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        return self.inner.read_range(name, offset_bytes, length_bytes)

    def size(self, name: str) -> int:
        return self.inner.size(name)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return self.inner.list(prefix)

    def locked_until(self, name: str) -> datetime | None:
        return self.inner.locked_until(name)

    def sweep(self) -> int:
        return self.inner.sweep()

    def _change(self, change: Change) -> None:
        with self._lock:
            number = self.count
            self.count += 1
            if self._at is None or number < self._at:
                change()
            elif number == self._at or self._fault in (no_room, broken):
                self._fault(change)
            elif self._fault in (crash_before, crash_after):
                raise CrashedError
            else:
                change()


class SlowStore:
    """A store whose operations begin late and answer late, each by another chance, but never show a lie."""

    def __init__(self, inner: Store, dice: Random) -> None:
        self._inner = inner
        self._dice = dice

    @property
    def url(self) -> str:
        return self._inner.url

    def create(self, name: str, parts: Sequence[bytes]) -> None:
        with self._late():
            self._inner.create(name, parts)

    def delete(self, name: str) -> None:
        with self._late():
            self._inner.delete(name)

    def read(self, name: str, max_bytes: int = MAX_READ_BYTES) -> bytes:
        with self._late():
            return self._inner.read(name, max_bytes)

    def read_range(self, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        with self._late():
            return self._inner.read_range(name, offset_bytes, length_bytes)

    def size(self, name: str) -> int:
        with self._late():
            return self._inner.size(name)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        with self._late():
            found = list(self._inner.list(prefix))
        return iter(found)

    def locked_until(self, name: str) -> datetime | None:
        return self._inner.locked_until(name)

    def sweep(self) -> int:
        return self._inner.sweep()

    @contextmanager
    def _late(self) -> Iterator[None]:
        time.sleep(MAX_DELAY_SECONDS * self._dice.random() ** 4)
        yield
        time.sleep(MAX_DELAY_SECONDS * self._dice.random() ** 4)
