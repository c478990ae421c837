"""A store with a cache nearby: fewer requests, the same bytes, and nothing that is trusted."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from twinhull.model.units import MIB
from twinhull.repository import CachedStore, MemoryStore, Repository
from twinhull.repository.store.cached import BLOCK_BYTES, LOOK_SHARE
from twinhull.repository.store.contract import MAX_READ_BYTES

from .misbehaving import FailingStore
from .world import CHUNK, DATABASE, PASSPHRASE, TurnedClock, capture, content_of, made, noise, opened, ports

ONE = noise("one", 200 * CHUNK)
TWO = ONE[: 5 * CHUNK] + noise("two", CHUNK) + ONE[6 * CHUNK :]


class _Counting(FailingStore[MemoryStore]):
    """Notes what is read of it."""

    def __init__(self, inner: MemoryStore) -> None:
        super().__init__(inner)
        self.asked: list[str] = []

    def read(self, name: str, max_bytes: int = MAX_READ_BYTES) -> bytes:
        self.asked.append(name)
        return super().read(name, max_bytes)

    def read_range(self, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        self.asked.append(name)
        return super().read_range(name, offset_bytes, length_bytes)


@pytest.fixture
def store() -> _Counting:
    return _Counting(MemoryStore())


def _near(store: _Counting, directory: Path, seed: str = "near", max_bytes: int = 1 << 30) -> Repository:
    store.asked.clear()
    cached = CachedStore(store, directory, max_bytes)
    return Repository.open(store, PASSPHRASE, ports=ports(TurnedClock(), seed), near=cached)


def _packs_and_indexes(store: _Counting) -> list[str]:
    return [name for name in store.asked if name.startswith(("index-", "pack-"))]


def test_a_second_opening_asks_for_no_index_and_no_node(store: _Counting, tmp_path: Path) -> None:
    first = capture(made(store), ONE)
    second = capture(opened(store), TWO, (first, ONE))
    older, newer = first.document.disks[0].root, second.document.disks[0].root
    changes = list(_near(store, tmp_path / "cache").diff(older, newer))
    assert _packs_and_indexes(store)
    again = _near(store, tmp_path / "cache")
    assert list(again.diff(older, newer)) == changes
    assert _packs_and_indexes(store) == []
    assert again.reader().read(newer, 5 * CHUNK, CHUNK) == TWO[5 * CHUNK : 6 * CHUNK]
    assert len(_packs_and_indexes(store)) == 1


def test_what_rots_in_the_cache_is_fetched_again(store: _Counting, tmp_path: Path) -> None:
    point = capture(made(store), ONE)
    assert content_of(_near(store, tmp_path), point) == ONE
    for path in tmp_path.iterdir():
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(bytes(data[:-1]) if len(data) % 2 else bytes(data))
    assert content_of(_near(store, tmp_path), point) == ONE
    assert _packs_and_indexes(store)


def test_files_that_are_swapped_are_not_taken_for_one_another(store: _Counting, tmp_path: Path) -> None:
    repository = made(store)
    points = [
        capture(repository, content, machine_id=machine) for content, machine in ((ONE, DATABASE), (TWO, DATABASE))
    ]
    near = _near(store, tmp_path)
    assert [content_of(near, point) for point in points] == [ONE, TWO]
    paths = sorted(tmp_path.iterdir())
    contents = [path.read_bytes() for path in paths]
    for path, content in zip(paths, contents[1:] + contents[:1], strict=True):
        path.write_bytes(content)
    assert [content_of(_near(store, tmp_path), point) for point in points] == [ONE, TWO]


def test_it_stays_within_its_bound(store: _Counting, tmp_path: Path) -> None:
    repository = made(store)
    for number in range(12):
        capture(repository, noise(number, 70 * CHUNK))
    near = _near(store, tmp_path, max_bytes=20_000)
    for point in near.points():
        list(near.diff(None, point.document.disks[0].root))
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 20_000
    assert list(tmp_path.iterdir())


def test_many_processes_stay_within_the_bound_together(store: _Counting, tmp_path: Path) -> None:
    point = capture(made(store), noise("many", 2000 * CHUNK))
    packs = [info for info in store.list("pack-") if info.size_bytes > MIB]
    bound = 16 * BLOCK_BYTES
    processes = [CachedStore(store, tmp_path / "cache", bound) for _ in range(4)]
    for number in range(packs[0].size_bytes // BLOCK_BYTES):
        processes[number % 4].read_range(packs[0].name, number * BLOCK_BYTES, 16)
        kept = sum(path.stat().st_size for path in (tmp_path / "cache").iterdir())
        assert kept <= bound + 4 * (bound * LOOK_SHARE + BLOCK_BYTES)
    assert point.sequence == 1


def test_only_its_owner_can_read_it(store: _Counting, tmp_path: Path) -> None:
    point = capture(made(store), ONE)
    content_of(_near(store, tmp_path / "cache"), point)
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "cache").iterdir()} == {0o600}


def test_a_cache_that_cannot_be_written_is_no_error(store: _Counting, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    point = capture(made(store), ONE)
    assert content_of(_near(store, tmp_path / "file" / "cache"), point) == ONE


def test_verification_reads_what_the_store_holds_and_not_the_cache(store: _Counting, tmp_path: Path) -> None:
    point = capture(made(store), ONE)
    near = _near(store, tmp_path)
    assert content_of(near, point) == ONE
    for name in [name for name in store.inner.objects if name.startswith(("index-", "pack-"))]:
        store.inner.objects[name] = store.inner.objects[name][:-1] + b"?"
    findings = {finding.object_name for finding in near.verify(read_data=True).findings}
    assert {name for name in store.inner.objects if name.startswith(("index-", "pack-"))} <= findings


class _BadLine(_Counting):
    """Turns one bit of the first thing that is read of each object of a kind, as a bad line or bad memory does."""

    def __init__(self, inner: MemoryStore, kind: str) -> None:
        super().__init__(inner)
        self.kind = kind
        self.turned: set[str] = set()

    def _turn(self, name: str, data: bytes) -> bytes:
        if not name.startswith(self.kind) or name in self.turned:
            return data
        self.turned.add(name)
        return data[:100] + bytes([data[100] ^ 1]) + data[101:]

    def read(self, name: str, max_bytes: int = MAX_READ_BYTES) -> bytes:
        return self._turn(name, super().read(name, max_bytes))

    def read_range(self, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        return self._turn(name, super().read_range(name, offset_bytes, length_bytes))


@pytest.mark.parametrize("kind", ["index-", "pack-"])
def test_what_came_damaged_once_is_not_kept_damaged(tmp_path: Path, kind: str) -> None:
    bad = _BadLine(MemoryStore(), kind)
    root = capture(made(bad.inner), ONE).document.disks[0].root
    near = _near(bad, tmp_path)
    assert sum(extent.length_bytes for extent in near.diff(None, root)) == len(ONE)
    assert bad.turned
    assert near.index.damaged == {}
    assert not [name for name in near.index.tables if name.name.startswith("pack-")]
    bad.asked.clear()
    again = _near(bad, tmp_path, seed="again")
    list(again.diff(None, root))
    assert _packs_and_indexes(bad) == []


def test_what_the_store_holds_damaged_is_asked_for_once_more_and_no_more(tmp_path: Path) -> None:
    store = _Counting(MemoryStore())
    capture(made(store), ONE)
    (name,) = [info.name for info in store.list("index-")]
    store.inner.objects[name] = store.inner.objects[name][:-1] + b"?"
    near = _near(store, tmp_path)
    assert list(near.index.damaged) == [name]
    assert store.asked.count(name) == 2
