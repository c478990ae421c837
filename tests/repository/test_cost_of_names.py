"""What it costs that names prove themselves: a listing reads no more objects than there are points to be shown."""

from __future__ import annotations

from collections import Counter

from twinhull.repository import MemoryStore
from twinhull.repository.format.envelope import ObjectKind, seal
from twinhull.repository.store.contract import MAX_READ_BYTES

from .misbehaving import FailingStore
from .world import CHUNK, WEB, SeededRandomness, capture, made, noise, opened

REMOVED, LEFT = 40, 5


class _Counted(FailingStore[MemoryStore]):
    """Counts what is read, by kind."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())
        self.reads: Counter[str] = Counter()

    def read(self, name: str, max_bytes: int = MAX_READ_BYTES) -> bytes:
        self.reads[name.partition("-")[0]] += 1
        return super().read(name, max_bytes)

    def read_range(self, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        self.reads[name.partition("-")[0]] += 1
        return super().read_range(name, offset_bytes, length_bytes)


def _filled() -> _Counted:
    store = _Counted()
    repository = made(store)
    points = [capture(repository, noise("all the same", CHUNK)) for _ in range(REMOVED + LEFT)]
    for point in points[:REMOVED]:
        repository.remove_point(point.id)
    return store


def test_a_listing_reads_the_points_and_no_removal() -> None:
    store = _filled()
    repository = opened(store)
    store.reads.clear()
    assert len(repository.points()) == LEFT
    assert store.reads == {"point": LEFT}
    store.reads.clear()
    assert repository.held_points() == set()
    assert len(repository.removed_ids()) == REMOVED
    assert repository.high_water()[WEB] == REMOVED + LEFT
    assert store.reads["point"] == 1, "the latest point's name has no tag"
    assert store.reads["removal"] == 0


def test_a_removal_of_version_1_0_is_read_once() -> None:
    store = _filled()
    repository = opened(store)
    draw = SeededRandomness("old")
    for number in range(REMOVED + 1, REMOVED + 1 + LEFT):
        name = f"removal-{WEB}-{number:08d}"
        content = b'{"removed_at": "2026-11-21T12:00:00+00:00", "reason": "old"}'
        store.create(name, [seal(repository.keys, ObjectKind.REMOVAL, name, draw.token(32), content)])
    store.reads.clear()
    for _ in range(3):
        assert repository.points() == []
    assert store.reads == {"removal": LEFT}


def test_opening_and_a_capture_read_what_they_read_before() -> None:
    store = _filled()
    store.reads.clear()
    repository = opened(store)
    assert {kind: count for kind, count in store.reads.items() if kind != "index"} == {"config": 1 + 1, "key": 1}
    store.reads.clear()
    capture(repository, noise("new", CHUNK))
    assert store.reads["removal"] == 0
    assert store.reads["point"] <= 1


def test_a_junk_index_is_not_read_at_each_capture() -> None:
    store = _filled()
    repository = opened(store)
    for number in range(3):
        store.inner.objects[f"index-{number:064x}"] = noise(number, 5000)
    for number in range(4):
        capture(repository, noise(number, CHUNK))
    names = {f"index-{number:064x}" for number in range(3)}
    assert repository.index.damaged.keys() == names
    store.reads.clear()
    for number in range(4, 8):
        capture(repository, noise(number, CHUNK))
    assert store.reads["index"] == 0
    assert names <= {finding.object_name for finding in repository.verify().findings}
