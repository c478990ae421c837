"""A day of a repository's life, cut short at every single change to its store.

Whatever the cut: each point that was published before restores byte-identical, nothing is visible that was not
published whole, and the next day goes on as if nothing had been.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock
from typing import Any

import pytest

from twinhull.model.machine import MachineId, PointId
from twinhull.repository import (
    DirectoryStore,
    MemoryStore,
    Point,
    Repository,
    RepositoryError,
    RepositoryMissing,
    Store,
)
from twinhull.repository.store.directory import PARTIAL_PREFIX

from .misbehaving import CrashedError, FailingStore, Fault, broken, crash_after, crash_before, lost_answer, no_room
from .world import CHUNK, DATABASE, WEB, capture, content_of, made, noise, opened, ports

FIRST = noise("first", 70 * CHUNK) + bytes(10 * CHUNK) + b"tail"
SECOND = FIRST[: 20 * CHUNK] + noise("second", 2 * CHUNK) + FIRST[22 * CHUNK :]
THIRD = SECOND[: 80 * CHUNK]
OTHER = noise("other", 5 * CHUNK)


class Day:
    """What is done, and what has been promised so far."""

    def __init__(self) -> None:
        self.promised: dict[PointId, bytes] = {}
        self.allowed: dict[PointId, bytes] = {}
        """Promised, or on the way of being published or removed when the cut came."""

    def run(self, store: Store) -> None:
        repository = made(store)
        first = self._capture(repository, FIRST)
        second = self._capture(repository, SECOND, (first, FIRST))
        self._capture(repository, OTHER, machine_id=DATABASE)
        self._remove(repository, first)
        self.allowed[first.id] = FIRST
        repository.restore_point(first.id)
        self.promised[first.id] = FIRST
        repository.hold_point(first.id, "evidence")
        repository.release_point(first.id)
        self._remove(repository, second)
        self._collect(repository)
        third = self._capture(repository, THIRD, (first, FIRST))
        self._remove(repository, first)
        self._capture(repository, SECOND, (third, THIRD))
        self._collect(repository)

    def _capture(
        self,
        repository: Repository,
        content: bytes,
        base: tuple[Point, bytes] | None = None,
        machine_id: MachineId = WEB,
    ) -> Point:
        number = 1 + max((int(i[-8:]) for i in self.allowed if i.startswith(machine_id)), default=0)
        self.allowed[PointId(f"{machine_id}/{number:08d}")] = content
        point = capture(repository, content, base, machine_id)
        self.promised[point.id] = content
        return point

    def _remove(self, repository: Repository, point: Point) -> None:
        del self.promised[point.id]
        repository.remove_point(point.id)

    def _collect(self, repository: Repository) -> None:
        """Alone, so that all of a collection's steps come in one run."""
        assert repository.collect(is_now=True).bytes_freed > 0

    def check(self, store: Store) -> None:
        """Restart, look, and go on with one more capture."""
        try:
            repository = opened(store, seed="restarted")
        except RepositoryMissing:
            assert not self.promised
            repository = made(store, ports(seed="made again"))
        found = {point.id: content_of(repository, point) for point in repository.points()}
        assert self.promised.items() <= found.items()
        assert found.items() <= self.allowed.items()
        later = capture(repository, SECOND)
        # Of two copies of a chunk the other one may be chosen after the index was rewritten; then it settles.
        runs = [repository.collect(is_now=True).packs_deleted for _ in range(4)]
        assert runs[2:] == [0, 0]
        after = opened(store, seed="later")
        assert content_of(after, later) == SECOND
        assert {point.id: content_of(after, point) for point in after.points()} == {**found, later.id: SECOND}
        assert after.verify(read_data=True).is_good


def _cuts() -> Iterator[int]:
    store = FailingStore(MemoryStore())
    day = Day()
    day.run(store)
    assert sorted(day.promised.values(), key=len) == sorted([OTHER, SECOND, THIRD], key=len)
    yield from range(store.count)


@pytest.mark.parametrize("fault", [crash_before, crash_after, no_room, broken, lost_answer])
def test_a_day_cut_short_at_any_change_loses_nothing(fault: Fault) -> None:
    _cut_short_at_any_change(fault, lambda _: MemoryStore())


@pytest.mark.parametrize("fault", [crash_before, crash_after])
def test_a_day_in_a_directory_cut_short_at_any_change_loses_nothing(fault: Fault, tmp_path: Path) -> None:
    _cut_short_at_any_change(fault, lambda cut: DirectoryStore(tmp_path / str(cut)))


def _cut_short_at_any_change(fault: Fault, make_store: Callable[[int], Store]) -> None:
    cuts = list(_cuts())
    assert len(cuts) > 20
    for cut in cuts:
        store = FailingStore(make_store(cut), cut, fault)
        day = Day()
        with pytest.raises((CrashedError, RepositoryError)):
            day.run(store)
        day.check(store.inner)


CALLS = ("write", "fsync", "link", "unlink", "mkdir")
STRIDE = 1 if os.environ.get("TWINHULL_EXHAUSTIVE") else 13
"""At every how manyth call of the system a day in a directory is cut short: no divisor of a store operation's calls."""


def test_a_day_in_a_directory_cut_short_between_any_two_calls_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inside of an operation, too: half a file, a file that is not linked, a directory that is not synced."""
    calls = _Calls(None)
    with monkeypatch.context() as patched:
        calls.replace(patched)
        Day().run(DirectoryStore(tmp_path / "whole"))
    assert calls.count > 200
    for cut in range(0, calls.count, STRIDE):
        store = DirectoryStore(tmp_path / str(cut))
        day = Day()
        calls = _Calls(cut)
        with monkeypatch.context() as patched:
            calls.replace(patched)
            with pytest.raises(CrashedError):
                day.run(store)
        calls.close_what_is_open()
        day.check(store)
        assert not list(store.root.rglob(f"{PARTIAL_PREFIX}*"))


class _Calls:
    """Calls of the system that change files, counted; from the ``cut``-th on none is made."""

    def __init__(self, cut: int | None) -> None:
        self.count = 0
        self._locked: set[int] = set()
        self._cut = cut
        self._lock = Lock()

    def replace(self, patched: pytest.MonkeyPatch) -> None:
        for name in CALLS:
            patched.setattr(os, name, self._counted(getattr(os, name)))
        lock, close = fcntl.flock, os.close

        def locking(descriptor: int, operation: int) -> None:
            lock(descriptor, operation)
            self._locked.add(descriptor)

        def closing(descriptor: int) -> None:
            self._locked.discard(descriptor)
            close(descriptor)

        patched.setattr(fcntl, "flock", locking)
        patched.setattr(os, "close", closing)

    def close_what_is_open(self) -> None:
        """As the end of a process does: its locks are free then."""
        for descriptor in self._locked:
            os.close(descriptor)

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **more: Any) -> Any:  # noqa: ANN401 - whatever the call takes and gives
            with self._lock:
                self.count += 1
                if self._cut is not None and self.count > self._cut:
                    raise CrashedError
            return call(*arguments, **more)

        return counted


def test_a_second_cut_during_the_restart_loses_nothing() -> None:
    cuts = list(_cuts())
    for cut in cuts[:: max(len(cuts) // 8, 1)]:
        inner = MemoryStore()
        store = FailingStore(inner, cut, crash_after)
        day = Day()
        with pytest.raises(CrashedError):
            day.run(store)
        if "config" not in inner.objects:
            continue
        _cut_the_restart(inner, day.check)


def _cut_the_restart(store: MemoryStore, check: Callable[[Store], None]) -> None:
    """Crash in the first capture of the next day, at its first change, its second, until it comes through."""
    objects = dict(store.objects)
    for again in range(6):
        store.objects = dict(objects)
        half_way = FailingStore(store, again, crash_before)
        try:
            capture(opened(half_way), SECOND)
        except (CrashedError, RepositoryMissing):
            check(store)
        else:
            assert again > 0
            return
    pytest.fail("a capture of one disk made more than six changes to the store")
