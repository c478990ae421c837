"""A collection that lets nothing wait, beside a writer: every point that is visible in the end is whole.

Both run as processes of their own that are suspended between any two of their calls to the store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from random import Random
from threading import Condition, Thread

import pytest

from twinhull.model.errors import NotFound, TwinhullError
from twinhull.repository import MemoryStore, ObjectInfo, Point, Repository, Store
from twinhull.repository.store.contract import MAX_READ_BYTES

from .world import CHUNK, DATABASE, capture, content_of, document, made, noise, opened, write_disk

OLD = noise("old", 30 * CHUNK)
NEW = noise("new", 30 * CHUNK)
CHANGED = noise("changed", 3 * CHUNK) + OLD[3 * CHUNK :]
WRITER, COLLECTOR = "writer", "collector"
HANDED_OVER_SECONDS = 20.0


class Turns:
    """Who may call the store: the first for ``first`` calls, the second for ``second``, then each to its end."""

    def __init__(self, order: Sequence[tuple[str, int]]) -> None:
        self._left = list(order)
        self._ended: set[str] = set()
        self._changed = Condition()

    def take(self, who: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._current() in (who, ""), HANDED_OVER_SECONDS)
            if self._left:
                self._left[0] = who, self._left[0][1] - 1
            self._changed.notify_all()

    def end(self, who: str) -> None:
        with self._changed:
            self._ended.add(who)
            self._changed.notify_all()

    def _current(self) -> str:
        while self._left and (self._left[0][1] == 0 or self._left[0][0] in self._ended):
            self._left.pop(0)
        return self._left[0][0] if self._left else ""


class Suspended:
    """A store as one process has it, which waits for its turn before each call."""

    def __init__(self, inner: Store, turns: Turns, who: str) -> None:
        self._inner = inner
        self._turns = turns
        self._who = who

    @property
    def url(self) -> str:
        return self._inner.url

    def create(self, name: str, parts: Sequence[bytes]) -> None:
        self._turns.take(self._who)
        self._inner.create(name, parts)

    def read(self, name: str, max_bytes: int = MAX_READ_BYTES) -> bytes:
        self._turns.take(self._who)
        return self._inner.read(name, max_bytes)

    def read_range(self, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        self._turns.take(self._who)
        return self._inner.read_range(name, offset_bytes, length_bytes)

    def size(self, name: str) -> int:
        self._turns.take(self._who)
        return self._inner.size(name)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        self._turns.take(self._who)
        return iter(list(self._inner.list(prefix)))

    def delete(self, name: str) -> None:
        self._turns.take(self._who)
        self._inner.delete(name)

    def locked_until(self, name: str) -> datetime | None:
        return self._inner.locked_until(name)

    def sweep(self) -> int:
        return self._inner.sweep()


def _first(repository: Repository) -> Point:
    """Everything is in the index, and in packs that no point needs."""
    return capture(repository, OLD, machine_id=DATABASE)


def _increment(repository: Repository) -> Point:
    """Built on a point that is removed at the same time, perhaps."""
    base = next(iter(repository.points()), None)
    if base is None:
        raise NotFound("It was removed before the capture began.")
    with repository.writer() as writer:
        root = write_disk(writer, CHANGED, (base.document.disks[0].root, OLD))
        return writer.publish(document({"vda": root}, DATABASE))


def _new(repository: Repository) -> Point:
    """It has packs of its own, which no point needs until it is published."""
    return capture(repository, NEW, machine_id=DATABASE)


WRITERS: dict[str, Callable[[Repository], Point]] = {
    each.__name__.strip("_"): each for each in (_first, _increment, _new)
}


def _collect(repository: Repository) -> None:
    for point in repository.points():
        if point.machine_id != DATABASE:
            repository.remove_point(point.id)
    repository.collect(is_now=True)


def _play(writing: str, order: Sequence[tuple[str, int]]) -> tuple[MemoryStore, list[object]]:
    """The store in the end, and how both processes ended."""
    store, ends, turns = MemoryStore(), list[object](), Turns(order)
    capture(made(store), OLD)

    def process(who: str, work: Callable[[Repository], object]) -> None:
        try:
            ends.append(work(opened(Suspended(store, turns, who), seed=who)))
        except TwinhullError as error:
            ends.append(error)
        finally:
            turns.end(who)

    threads = [
        Thread(target=process, args=(WRITER, WRITERS[writing])),
        Thread(target=process, args=(COLLECTOR, _collect)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return store, ends


def _order(dice: Random) -> list[tuple[str, int]]:
    """Four stretches; the last calls of each process are where it is decided."""
    lengths = {WRITER: [0, 5, 15, 18, 20, 22, 24, 26, 28, 30, 34, 40], COLLECTOR: list(range(60))}
    first, second = dice.sample((WRITER, COLLECTOR), 2)
    return [(who, dice.choice(lengths[who])) for who in (first, second, first, second)]


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("writing", WRITERS)
def test_of_a_point_and_a_collection_at_least_one_sees_the_other(writing: str, seed: int) -> None:
    order = _order(Random(f"{writing} {seed}"))
    store, ends = _play(writing, order)
    assert len(ends) == 2, order
    reader = opened(store, seed="reader")
    contents = {"first": OLD, "increment": CHANGED, "new": NEW}
    for point in reader.points():
        assert content_of(reader, point) == (contents[writing] if point.machine_id == DATABASE else OLD), order
    published = [end for end in ends if isinstance(end, Point)]
    assert {point.id for point in published} <= {point.id for point in reader.points()}, "it is said, so it is there"
