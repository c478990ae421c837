"""Damage is found, named, and laid at the right points; nothing else is."""

from __future__ import annotations

import pytest

from twinhull.model.progress import Progress
from twinhull.repository import ChunkLost, MemoryStore, Repository, StoreError
from twinhull.repository.store.contract import MAX_READ_BYTES

from .misbehaving import FailingStore
from .world import CHUNK, DATABASE, WEB, capture, content_of, document, made, noise, opened, write_disk

SHARED = noise("shared", 20 * CHUNK)
ONE = SHARED + noise("one", 3 * CHUNK)
TWO = SHARED + noise("two", 3 * CHUNK)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def repository(store: MemoryStore) -> Repository:
    return made(store)


def _packs(store: MemoryStore) -> set[str]:
    return {info.name for info in store.list("pack-")}


def _flip(store: MemoryStore, name: str, offset: int) -> None:
    data = bytearray(store.objects[name])
    data[offset] ^= 0x10
    store.objects[name] = bytes(data)


def test_a_good_repository_has_no_findings(store: MemoryStore, repository: Repository) -> None:
    capture(repository, ONE)
    repository.remove_point(capture(repository, TWO).id)
    report = repository.verify(read_data=True)
    assert report.is_good
    assert (report.point_count, report.pack_count, report.packs_read) == (2, 4, 4)
    assert report.bytes_read == sum(len(store.objects[name]) for name in _packs(store))
    assert repository.verify(read_data=True).is_good


def test_a_bad_chunk_is_laid_at_the_points_that_use_it(store: MemoryStore, repository: Repository) -> None:
    one = capture(repository, ONE)
    before = _packs(store)
    two = capture(repository, TWO, machine_id=DATABASE)
    (new_data,) = (name for name in _packs(store) - before if len(store.objects[name]) > 2 * CHUNK)
    _flip(store, new_data, 100)
    fresh = opened(store)
    assert fresh.verify().is_good, "without reading data, a flipped bit in a pack cannot be seen"
    report = fresh.verify(read_data=True)
    assert {finding.object_name for finding in report.findings} == {new_data}
    assert report.lost_points == (two.id,)
    assert content_of(opened(store), one) == ONE
    with pytest.raises(ChunkLost):
        content_of(opened(store), two)


def test_a_missing_pack_is_found_without_reading_data(store: MemoryStore, repository: Repository) -> None:
    one, two = capture(repository, ONE), capture(repository, TWO, machine_id=DATABASE)
    largest = max(_packs(store), key=lambda name: len(store.objects[name]))
    store.delete(largest)
    report = opened(store).verify()
    assert largest in {finding.object_name for finding in report.findings}
    assert report.lost_points == (one.id, two.id)


def test_a_second_copy_makes_good_for_a_bad_one(store: MemoryStore) -> None:
    made(store)
    left, right = opened(store, seed="left"), opened(store, seed="right")
    with left.writer() as one, right.writer() as other:
        for writer in (one, other):
            root = write_disk(writer, ONE)
            point = writer.publish(document({"vda": root}))
    assert len(_packs(store)) == 4
    largest = max(sorted(_packs(store)), key=lambda name: len(store.objects[name]))
    _flip(store, largest, 5000)
    report = opened(store).verify(read_data=True)
    assert {finding.object_name for finding in report.findings} == {largest}
    assert report.lost_points == ()
    assert content_of(opened(store), point) == ONE


def test_a_lost_or_bad_index_loses_no_point(store: MemoryStore, repository: Repository) -> None:
    point = capture(repository, ONE)
    (index,) = (info.name for info in store.list("index-"))
    _flip(store, index, 60)
    report = opened(store).verify(read_data=True)
    assert [finding.object_name for finding in report.findings] == [index]
    assert report.lost_points == ()
    assert content_of(opened(store), point) == ONE


def test_a_bad_document_is_named(store: MemoryStore, repository: Repository) -> None:
    point = capture(repository, ONE)
    repository.remove_point(point.id)
    names = [name for name in store.objects if name.split("-")[0] in ("point", "removal")]
    for name in names:
        _flip(store, name, len(store.objects[name]) - 1)
    store.objects["hold-00"] = b"what is this"
    findings = {finding.object_name.replace("/", "-") for finding in opened(store).verify().findings}
    (removal,) = (name for name in names if name.startswith("removal-"))
    assert findings == {f"{WEB}-00000001", removal, "hold-00"}


class _ReadsNoted(FailingStore[MemoryStore]):
    """Notes which packs are read as a whole."""

    def __init__(self) -> None:
        super().__init__(MemoryStore())
        self.packs_read: list[str] = []

    def read(self, name: str, max_bytes: int = MAX_READ_BYTES) -> bytes:
        if name.startswith("pack-"):
            self.packs_read.append(name)
        return super().read(name, max_bytes)


def test_samples_add_up_to_everything_before_they_repeat() -> None:
    store = _ReadsNoted()
    repository = made(store)
    for number in range(5):
        capture(repository, noise(number, 8 * CHUNK))
    packs = _packs(store.inner)
    seen: set[str] = set()
    while seen != packs:
        report = opened(store).verify(read_data=True, sample=0.2)
        assert report.is_good
        assert 0 < report.packs_read < len(packs)
        read, store.packs_read = set(store.packs_read), []
        assert read - seen
        assert seen.isdisjoint(read) or seen | read == packs, "only the last sample reads packs again"
        seen |= read


class _Enough(Exception):
    """Somebody tells the verification to stop."""


def test_a_verification_that_is_ended_stops_soon_and_the_next_one_reads_the_rest() -> None:
    store = _ReadsNoted()
    repository = made(store)
    for number in range(20):
        capture(repository, noise(number, 8 * CHUNK))
    packs = _packs(store.inner)
    heard: list[Progress] = []

    def listen(progress: Progress) -> None:
        heard.append(progress)
        if len(heard) == 3:
            raise _Enough

    with pytest.raises(_Enough):
        opened(store).verify(read_data=True, on_progress=listen)
    assert len(store.packs_read) < len(packs), "what waited in the queue was not read"
    size = {name: len(store.inner.objects[name]) for name in packs}
    noted = sorted(packs)[:3]
    assert [progress.done_bytes for progress in heard] == [sum(size[name] for name in noted[:n]) for n in (1, 2, 3)]
    assert {progress.total_bytes for progress in heard} == {sum(size.values())}
    rest = packs - set(noted)
    del store.packs_read[:]
    opened(store).verify(read_data=True, sample=(sum(size[name] for name in rest) - 0.5) / sum(size.values()))
    assert set(store.packs_read) == rest


def test_a_damaged_pack_is_read_by_every_sample_until_it_is_repaired(store: MemoryStore) -> None:
    repository = made(store)
    for number in range(10):
        capture(repository, noise(number, 8 * CHUNK))
    assert repository.verify(read_data=True).is_good
    largest = max(_packs(store), key=lambda name: len(store.objects[name]))
    good = store.objects[largest]
    _flip(store, largest, 2000)
    assert not repository.verify(read_data=True).is_good
    for _ in range(3):
        assert {found.object_name for found in repository.verify(read_data=True, sample=0.01).findings} == {largest}
    store.objects[largest] = good
    assert repository.verify(read_data=True, sample=0.01).is_good


def test_what_was_found_damaged_is_read_besides_the_sample() -> None:
    reads = _ReadsNoted()
    store, repository = reads.inner, made(reads)
    for number in range(10):
        capture(repository, noise(number, 8 * CHUNK))
    assert repository.verify(read_data=True).is_good
    old = sorted(_packs(store), key=lambda name: len(store.objects[name]))
    for name in old[-3:]:
        _flip(store, name, 2000)
    assert not repository.verify(read_data=True).is_good
    for number in range(10, 20):
        capture(repository, noise(number, 8 * CHUNK))
    del reads.packs_read[:]
    for _ in range(10):
        report = opened(reads).verify(read_data=True, sample=0.1)
        assert {found.object_name for found in report.findings} == set(old[-3:]), "new packs come after them"
    assert set(reads.packs_read) > _packs(store) - set(old), "and they take nothing of the sample"


def test_the_search_for_the_points_that_miss_a_chunk_can_be_ended(store: MemoryStore, repository: Repository) -> None:
    capture(repository, ONE)
    for name in _packs(store):
        _flip(store, name, 100)

    def listen(progress: Progress) -> None:
        if progress.phase == "trace":
            raise _Enough

    with pytest.raises(_Enough):
        opened(store).verify(read_data=True, on_progress=listen)


def test_the_walk_of_the_trees_is_told_and_can_be_ended(store: MemoryStore, repository: Repository) -> None:
    capture(repository, ONE)
    capture(repository, TWO, machine_id=DATABASE)
    heard: list[Progress] = []
    repository.verify(on_progress=heard.append)
    assert {(progress.phase, progress.done_bytes) for progress in heard} == {("check", 0), ("check", len(ONE))}
    assert {progress.total_bytes for progress in heard} == {len(ONE) + len(TWO)}

    def enough(_: Progress) -> None:
        raise _Enough

    with pytest.raises(_Enough):
        repository.verify(on_progress=enough)


class _Unwilling(FailingStore[MemoryStore]):
    """Fails at one read of objects of a kind, the n-th, as a network does."""

    def __init__(self, inner: MemoryStore, kind: str, number: int) -> None:
        super().__init__(inner)
        self.kind = kind
        self.left = number

    def _fail(self, name: str) -> None:
        if name.startswith(self.kind):
            self.left -= 1
            if self.left == -1:
                raise StoreError("Connection reset by peer.")

    def read(self, name: str, max_bytes: int = MAX_READ_BYTES) -> bytes:
        self._fail(name)
        return super().read(name, max_bytes)

    def read_range(self, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        self._fail(name)
        return super().read_range(name, offset_bytes, length_bytes)

    def size(self, name: str) -> int:
        self._fail(name)
        return super().size(name)


@pytest.mark.parametrize("kind", ["pack-", "key-", "config", "removal-", "collection-", "verification-"])
def test_a_store_that_fails_is_no_damage(store: MemoryStore, repository: Repository, kind: str) -> None:
    repository.remove_point(capture(repository, ONE).id)
    repository.collect()
    repository.verify(read_data=True)
    failed = 0
    for number in range(100):
        unwilling = _Unwilling(store, kind, 1_000_000)
        looking = opened(unwilling)
        unwilling.left = number
        try:
            report = looking.verify(read_data=True)
        except StoreError:
            failed += 1
            continue
        assert report.findings == ()
        if unwilling.left >= 0:
            break
    assert failed


def test_a_damaged_note_of_what_was_read_is_followed_by_a_later_one(store: MemoryStore, repository: Repository) -> None:
    capture(repository, ONE)
    for _ in range(3):
        repository.verify(read_data=True)
    repository.collect()
    store.objects["verification-00000003"] = store.objects["verification-00000003"][:-1] + b"?"
    assert repository.verify(read_data=True).reasons == ()
    repository.collect()
    assert [info.name for info in store.list("verification-")] == ["verification-00000004"]
    assert repository.verify().is_good
