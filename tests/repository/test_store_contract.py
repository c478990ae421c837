"""What every store promises, put to each of them."""

from __future__ import annotations

import fcntl
import threading
from pathlib import Path

import pytest

from twinhull.model.errors import UsageError
from twinhull.model.ports import SystemClock
from twinhull.repository import CachedStore, DirectoryStore, LimitedStore, MemoryStore, Store, open_store
from twinhull.repository.errors import ObjectExists, ObjectMissing, ObjectUnfit, StoreError

PACK = "pack-" + "ab" * 32


@pytest.fixture(params=["memory", "directory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "memory":
        return MemoryStore()
    if request.param == "directory":
        return DirectoryStore(tmp_path / "deep" / "store")
    endpoint = request.getfixturevalue("s3_endpoint")
    return open_store(f"s3://twinhull/{tmp_path.name}?endpoint={endpoint}")


def test_an_object_comes_back_whole_and_in_parts(store: Store) -> None:
    store.create(PACK, [b"abc", b"", b"defgh"])
    assert store.read(PACK) == b"abcdefgh"
    assert store.size(PACK) == 8
    assert store.read_range(PACK, 2, 3) == b"cde"
    assert store.read_range(PACK, 6, 100) == b"gh"
    assert store.read_range(PACK, 100, 5) == b""


def test_a_name_is_given_once(store: Store) -> None:
    store.create("config", [b"first"])
    with pytest.raises(ObjectExists):
        store.create("config", [b"second"])
    assert store.read("config") == b"first"


def test_of_many_creators_one_wins(store: Store) -> None:
    start = threading.Barrier(8)
    wins: list[int] = []

    def create(number: int) -> None:
        start.wait()
        try:
            store.create("point-00", [bytes([number]) * 1000])
        except ObjectExists:
            return
        wins.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wins) == 1
    assert store.read("point-00") == bytes([wins[0]]) * 1000


def test_what_is_missing_is_said(store: Store) -> None:
    for ask in (store.read, store.size, lambda name: store.read_range(name, 0, 1)):
        with pytest.raises(ObjectMissing):
            ask("config")


def test_listing_is_by_prefix_sorted_and_current(store: Store) -> None:
    names = ["point-00-01", "point-00-02", "point-01-01", PACK, "pack-" + "cd" * 32, "index-" + "ab" * 32]
    for name in reversed(names):
        store.create(name, [name.encode()])
    assert [info.name for info in store.list("point-")] == names[:3]
    assert [info.name for info in store.list("point-00")] == names[:2]
    assert [info.name for info in store.list("pack-")] == names[3:5]
    assert [info.name for info in store.list("pack-abab")] == [PACK]
    assert [info.size_bytes for info in store.list("pack-")] == [69, 69]
    assert list(store.list("hold-")) == []
    store.delete(PACK)
    assert [info.name for info in store.list("pack-")] == [names[4]]


def test_deleting_twice_is_deleting(store: Store) -> None:
    store.create("key-00", [b"x"])
    store.delete("key-00")
    store.delete("key-00")
    with pytest.raises(ObjectMissing):
        store.read("key-00")
    store.create("key-00", [b"y"])
    assert store.read("key-00") == b"y"


@pytest.mark.parametrize("name", ["", "../x", "point-..", "Pack-00", "point-00/01", ".hidden", "a" * 200])
def test_no_name_leads_out_of_the_store(store: Store, name: str) -> None:
    with pytest.raises(UsageError):
        store.create(name, [b"x"])


def test_a_large_object_is_kept(store: Store) -> None:
    block = bytes(range(256)) * 4096
    store.create(PACK, [block] * 20)
    assert store.size(PACK) == 20 * len(block)
    assert store.read_range(PACK, 19 * len(block) + 5, 10) == block[5:15]


def test_a_directory_forgets_the_partial_files_of_the_dead(tmp_path: Path) -> None:
    store = DirectoryStore(tmp_path)
    store.create("config", [b"x"])
    dead = tmp_path / "config" / ".twinhull-partial-00"
    dead.write_bytes(b"half an obj")
    with store._partial(tmp_path / "config") as (living, _):
        assert store.sweep() == 1
        assert living.exists()
        assert not dead.exists()
    assert [path.name for path in (tmp_path / "config").iterdir()] == ["config"]


def test_a_file_swept_before_it_was_locked_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = DirectoryStore(tmp_path)
    lock = fcntl.flock
    swept: list[Path] = []

    def swept_first(descriptor: int, operation: int) -> None:
        if not swept:
            swept.extend(tmp_path.rglob(".twinhull-partial-*"))
            swept[0].unlink()
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", swept_first)
    store.create("config", [b"whole"])
    assert len(swept) == 1
    assert store.read("config") == b"whole"
    assert [path.name for path in (tmp_path / "config").iterdir()] == ["config"]


def test_a_directory_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "point").write_text("a file where a directory must be")
    with pytest.raises(StoreError, match=str(tmp_path)):
        DirectoryStore(tmp_path).create("point-00", [b"x"])


def test_stores_are_opened_by_address(tmp_path: Path) -> None:
    for address in (str(tmp_path), open_store(str(tmp_path / "a b")).url):
        open_store(address).create("config", [b"x"])
    assert (tmp_path / "a b" / "config" / "config").exists()
    with pytest.raises(UsageError, match="address"):
        open_store("gopher://x")
    with pytest.raises(UsageError, match="'endpiont' is not an option"):
        open_store("s3://bucket/prefix?endpiont=http://127.0.0.1")


def test_an_object_is_read_up_to_a_bound_and_not_at_all_beyond_it(store: Store, tmp_path: Path) -> None:
    store.create("point-00", [b"x" * 1000])
    for each in (store, CachedStore(store, tmp_path / "near"), LimitedStore(store, 1e9, SystemClock())):
        assert each.read("point-00", 1000) == b"x" * 1000
        with pytest.raises(ObjectUnfit, match="the limit is 999 B"):
            each.read("point-00", 999)
    store.create("index-00", [b"y" * 1000])
    near = CachedStore(store, tmp_path / "near")
    with pytest.raises(ObjectUnfit):
        near.read("index-00", 999)
    assert near.read("index-00", 1000) == b"y" * 1000


@pytest.mark.parametrize(
    "name", ["point-\u00c4", "point-", "point-00\n", "Point-00", "point-" + "0" * 200, "point-\udcff"]
)
def test_an_odd_name_of_a_listing_is_read_as_no_object(store: Store, name: str) -> None:
    for look in (store.read, store.size, lambda odd: store.read_range(odd, 0, 1)):
        with pytest.raises(ObjectUnfit):
            look(name)
