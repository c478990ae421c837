"""Finding one chunk among very many, in memory that does not grow with them."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinhull.repository import MemoryStore, RepositoryDamaged
from twinhull.repository.format import index_table
from twinhull.repository.format.ids import ChunkId, ChunkKind, PackId
from twinhull.repository.format.index_table import MAX_HELD_BYTES, MAX_TABLE_ENTRIES, IndexTable, Place, encode_table
from twinhull.repository.format.keyring import Keys
from twinhull.repository.format.packs import Entry, PackInfo
from twinhull.repository.reading import index as index_module
from twinhull.repository.reading.index import MAX_UNMERGED_TABLES, Index
from twinhull.repository.reading.lanes import Lanes

from .world import CHUNK, capture, content_of, made, noise, opened, ports

PACK = PackInfo(PackId(b"p" * 32), ChunkKind.DATA, 1000, 1)


def _id(number: int) -> ChunkId:
    return ChunkId(hashlib.sha256(number.to_bytes(8, "big")).digest())


def _place(chunk_id: ChunkId, offset: int = 0) -> Place:
    return Place(PACK, Entry(chunk_id, offset, 100))


def test_every_entry_is_found_and_nothing_else() -> None:
    table = IndexTable("index", encode_table([_place(_id(number), number) for number in range(5000)]))
    for number in range(5000):
        position = table.find(_id(number))
        assert position is not None
        assert table.place(position) == _place(_id(number), number)
    assert all(table.find(_id(number)) is None for number in range(5000, 10_000))


@settings(deadline=None)
@given(st.sets(st.binary(min_size=32, max_size=32), max_size=50), st.binary(min_size=32, max_size=32))
def test_ids_need_not_be_evenly_spread(ids: set[bytes], other: bytes) -> None:
    table = IndexTable("index", encode_table([_place(ChunkId(one)) for one in ids]))
    assert {one for one in ids if table.find(ChunkId(one)) is None} == set()
    assert (table.find(ChunkId(other)) is not None) == (other in ids)


@given(st.lists(st.integers(0, 3), max_size=30))
def test_clustered_ids_are_found(numbers: list[int]) -> None:
    """All but one id at one end: the guess is as wrong as it can be."""
    ids = {bytes(31) + bytes([number]) for number in range(200)} | {b"\xff" * 32} | {bytes([n] * 32) for n in numbers}
    table = IndexTable("index", encode_table([_place(ChunkId(one)) for one in ids]))
    assert all(table.find(ChunkId(one)) is not None for one in ids)


def test_an_object_takes_no_more_than_it_may() -> None:
    with pytest.raises(ValueError, match="too many"):
        encode_table([_place(_id(0))] * (MAX_TABLE_ENTRIES + 1))


def test_an_entry_of_an_unlisted_pack_is_damage() -> None:
    content = bytearray(encode_table([_place(_id(1))]))
    content[-12] = 7  # the number of the pack
    with pytest.raises(RepositoryDamaged, match="does not list"):
        IndexTable("index", bytes(content)).place(0)


def test_many_small_index_objects_are_searched_as_few() -> None:
    store = MemoryStore()
    repository = made(store)
    points = [capture(repository, noise(number, CHUNK)) for number in range(60)]
    assert len(list(store.list("index-"))) == 60
    other = opened(store)
    assert len(other.index.tables) <= MAX_UNMERGED_TABLES + 1
    assert len(repository.index.tables) <= MAX_UNMERGED_TABLES + 1
    assert [content_of(other, point) for point in points] == [noise(number, CHUNK) for number in range(60)]
    with other.writer() as writer:
        disk = writer.disk(CHUNK)
        disk.write(0, noise(7, CHUNK))
        disk.finish()
        assert writer.stats.chunks_new == 0
    gone = [info.name for info in store.list("index-")][:50]
    for name in gone:
        store.delete(name)
    other.index.refresh()
    assert len(other.index.stored_tables()) == 10
    assert sum(len(table) for table in other.index.tables) == 20


def test_small_index_objects_take_no_file_descriptors_and_large_ones_no_memory() -> None:
    before = _unnamed_files()
    small = [IndexTable(str(number), encode_table([_place(_id(number))])) for number in range(500)]
    assert not _unnamed_files() - before
    assert [table.find(_id(number)) for number, table in enumerate(small)] == [0] * 500
    many = MAX_HELD_BYTES // 44
    large = IndexTable("large", encode_table([_place(_id(number)) for number in range(many)]))
    assert len(_unnamed_files() - before) == 1
    assert all(large.find(_id(number)) is not None for number in range(many))
    large.rows.close()


def _unnamed_files() -> set[Path]:
    """The files without a name that this process has open; what else earlier tests left to be closed is not counted."""
    found: set[Path] = set()
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found.add(descriptor.readlink())
    return {path for path in found if path.name.endswith("(deleted)")}


def test_tables_of_one_merge_take_one_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_table, "MAX_TABLE_ENTRIES", 50)
    monkeypatch.setattr(index_module, "MAX_SMALL_TABLE_ENTRIES", 0)
    index = Index(MemoryStore(), Keys([bytes(32)]), ports().randomness)
    ids = sorted(_id(number) for number in range(1000))
    index.write_all(_place(one, number) for number, one in enumerate(ids))
    assert len(index.tables) == 20
    assert len(Lanes.of(index.tables).lanes) == 1
    assert [index.find(one) for one in ids] == [_place(one, number) for number, one in enumerate(ids)]
    assert all(index.find(_id(number)) is None for number in range(1000, 2000))


def test_copies_of_a_chunk_are_found_in_every_lane_and_across_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_table, "MAX_TABLE_ENTRIES", 4)
    monkeypatch.setattr(index_module, "MAX_SMALL_TABLE_ENTRIES", 0)
    index = Index(MemoryStore(), Keys([bytes(32)]), ports().randomness)
    places = sorted((_place(_id(number // 3), number) for number in range(60)), key=lambda place: place.entry.chunk_id)
    index.write_all(places)
    index.write_all([_place(_id(5), 1000)])
    for number in range(20):
        found = {place.entry.offset_bytes for place in index.find_all(_id(number))}
        assert found == {3 * number, 3 * number + 1, 3 * number + 2} | ({1000} if number == 5 else set())
