"""A collection that sleeps in the middle of its deletions, and wakes after a newer one has decided otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest

from twinhull.repository import MemoryStore, ObjectInfo, Point, StoreFull

from .world import CHUNK, DATABASE, capture, content_of, document, made, noise, opened, write_disk

OLD = noise("old", 30 * CHUNK)
NEW = noise("new", 30 * CHUNK)


class Asleep(MemoryStore):
    """The same objects, for a process that sleeps at one of its calls until something has happened."""

    def __init__(self, awake: MemoryStore) -> None:
        super().__init__()
        self.objects = awake.objects
        self.before_delete: Callable[[str], None] = lambda _: None
        self.before_list: Callable[[str], Iterator[ObjectInfo] | None] = lambda _: None
        self.before_create: Callable[[str], None] = lambda _: None

    def create(self, name: str, parts: Sequence[bytes]) -> None:
        self.before_create(name)
        super().create(name, parts)

    def delete(self, name: str) -> None:
        self.before_delete(name)
        super().delete(name)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        seen = self.before_list(prefix)
        return super().list(prefix) if seen is None else seen


class Story:
    """A writer counts on packs that a first collection is about to delete; a second one sees the writer's point.

    In the order of the clock: the writer looks for collections, and finds none. The first collection decides, and
    sleeps before it deletes its first pack. The writer publishes. The second collection runs, and sees the point. The
    writer looks for collections once more. The first collection wakes.
    """

    def __init__(self) -> None:
        self._looks: list[str] = []
        self.store = MemoryStore()
        repository = made(self.store)
        self.removed = capture(repository, OLD)
        self._first_store, self._writers_store = Asleep(self.store), Asleep(self.store)
        self._first_store.before_delete = self._sleep
        self._writers_store.before_list = self._look
        self._writer = opened(self._writers_store, seed="writer").writer()
        self.published: list[Point] = []
        self.refuse: Callable[[str], None] = lambda _: None

    def play(self) -> None:
        self._root = write_disk(self._writer, OLD)
        opened(self.store, seed="remover").remove_point(self.removed.id)
        opened(self._first_store, seed="first").collect(is_now=True)

    def _sleep(self, name: str) -> None:
        if name.startswith("pack-") and not self.published:
            self._first_store.before_delete = lambda _: None
            self.published.append(self._writer.publish(document({"vda": self._root}, DATABASE)))
            self._writer.close()

    def _look(self, prefix: str) -> Iterator[ObjectInfo] | None:
        """The first look was before the first collection; the last one is after the second."""
        if prefix != "collection-" or not any(name.startswith(prefix) for name in self.store.objects):
            return None
        self._looks.append(prefix)
        if len(self._looks) == 1:
            return iter(())
        if len(self._looks) == 2:
            self._collect_again()
        return None

    def _collect_again(self) -> None:
        second = Asleep(self.store)
        second.before_create = self.refuse
        opened(second, seed="second").collect(is_now=True)


def test_a_point_that_a_newer_collection_has_seen_stays_whole() -> None:
    story = Story()
    story.play()
    reader = opened(story.store, seed="reader")
    (point,) = reader.points()
    assert point.id == story.published[0].id
    assert content_of(reader, point) == OLD
    assert reader.verify(read_data=True).is_good


def test_also_where_there_is_no_room_to_copy_what_it_uses() -> None:
    story = Story()

    def full(name: str) -> None:
        if name.startswith("pack-"):
            raise StoreFull("full")

    story.refuse = full
    story.play()
    reader = opened(story.store, seed="reader")
    assert [content_of(reader, point) for point in reader.points()] == [OLD]
    for _ in range(2):
        reader.collect(is_now=True)
    assert reader.verify(read_data=True).is_good


def test_what_a_run_did_not_come_to_delete_goes_with_the_next() -> None:
    store = MemoryStore()
    repository = made(store)
    removed, kept = capture(repository, OLD), capture(repository, NEW, machine_id=DATABASE)
    repository.remove_point(removed.id)
    killed = Asleep(store)

    def die(name: str) -> None:
        if name.startswith("pack-"):
            raise KeyboardInterrupt

    killed.before_delete = die
    with pytest.raises(KeyboardInterrupt):
        opened(killed, seed="killed").collect(is_now=True)
    report = opened(store, seed="next").collect(is_now=True)
    assert report.packs_deleted
    assert content_of(opened(store, seed="reader"), kept) == NEW
    assert sum(info.size_bytes for info in store.list("pack-")) < 1.5 * len(NEW)
