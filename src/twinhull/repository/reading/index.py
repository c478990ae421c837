"""The index: every index object of the repository, searched as one. A cache of what the packs say of themselves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock

from twinhull.model.ports import Randomness
from twinhull.model.units import MIB
from twinhull.repository.errors import ObjectMissing, RepositoryDamaged, RepositoryError, RepositoryVersionTooNew
from twinhull.repository.format.envelope import SALT_BYTES, ObjectKind, seal, unseal
from twinhull.repository.format.ids import ChunkId, PackId
from twinhull.repository.format.index_table import MAX_TABLE_ENTRIES, IndexTable, Place, TableBuilder, encode_table
from twinhull.repository.format.keyring import Keys
from twinhull.repository.format.packs import pack_id_in, read_footer
from twinhull.repository.reading.lanes import Lanes
from twinhull.repository.store.cached import is_worth_another_read
from twinhull.repository.store.contract import Store

MAX_INDEX_BYTES = 64 * MIB
"""The most that is read of an index object; one that is full has 11 MiB and the names of packs and of older ones."""
MAX_SMALL_TABLE_ENTRIES = 1 << 13
MAX_READS_OF_DAMAGED = 2
"""How often a process reads an index object that does not open; the first time may have been the line's fault."""
MAX_UNMERGED_TABLES = 16
"""Every sync leaves a small index object. More of them than this are searched as one, which is made in memory only: the
objects in the store are put together by collection alone, which knows what they may not name any more."""


@dataclass(frozen=True, slots=True)
class _Merged:
    """Many small tables as one."""

    names: frozenset[str]
    table: IndexTable


class Index:
    """Where each chunk is stored. Safe for threads: tables are immutable and swapped as a whole."""

    def __init__(self, store: Store, keys: Keys, randomness: Randomness) -> None:
        self._store = store
        self._keys = keys
        self._randomness = randomness
        self._lock = Lock()
        self._stored: dict[str, IndexTable] = {}
        self._recovered: dict[PackId, IndexTable] = {}
        self._current: list[IndexTable] = []
        self._merged: _Merged | None = None
        self.tables: tuple[IndexTable, ...] = ()
        self._lanes = Lanes.of(())
        self.superseded: list[str] = []
        """Index objects that another one has replaced, and that may be deleted."""
        self.damaged: dict[str, RepositoryError] = {}
        """Index objects that could not be read, by name."""
        self._refusals: Counter[tuple[str, int]] = Counter()
        """How often each of them was read with that many keys."""

    def find(self, chunk_id: ChunkId) -> Place | None:
        """A copy of the chunk, if any is stored."""
        for table in self._lanes.around(chunk_id):
            position = table.find(chunk_id)
            if position is not None:
                return table.place(position)
        return None

    def find_all(self, chunk_id: ChunkId) -> Iterator[Place]:
        """Every copy of the chunk: concurrent writers may have stored several."""
        for table in self._lanes.around(chunk_id):
            position = table.find(chunk_id)
            while position is not None and position < len(table) and table.rows[position] == chunk_id:
                yield table.place(position)
                position += 1

    def find_outside(self, chunk_id: ChunkId, avoided: Container[object]) -> Place | None:
        """A copy of the chunk that a new point may build on: indexed, and in a pack that is not one of ``avoided``.

        What was found by footers only may belong to nobody, and be collected without our hearing of it.
        """
        for place in self.find_all(chunk_id):
            if place.pack.pack_id not in avoided and place.pack.pack_id not in self._recovered:
                return place
        return None

    def refresh(self) -> None:
        """Read the index objects that have come since, and forget those that have gone."""
        with self._lock:
            names = {info.name for info in self._store.list("index-")}
            stored = {name: table for name, table in self._stored.items() if name in names}
            refused = {name: self.damaged[name] for name in names & self.damaged.keys() if self._is_refused(name)}
            self.damaged = refused
            for name in sorted(names - stored.keys() - refused.keys()):
                self._load(name, stored)
            self._stored = stored
            self._swap()

    def recover(self) -> bool:
        """Read the footers of packs that no index object lists; whether any came that were not known."""
        with self._lock:
            known = {pack.pack_id for table in self.tables for pack in table.packs}
            there = [pack_id for info in self._store.list("pack-") if (pack_id := pack_id_in(info.name))]
            self._recovered = {pack_id: self._recovered[pack_id] for pack_id in there if pack_id in self._recovered}
            news = [pack_id for pack_id in there if pack_id not in known]
            for pack_id in news:
                self._recover_pack(pack_id)
            self._swap()
            return bool(news)

    def _write(self, builder: TableBuilder, replaced: Sequence[str] = ()) -> str:
        """Store one more index object and search it from now on; its name."""
        salt = self._randomness.token(SALT_BYTES)
        name = f"index-{salt.hex()}"
        content = builder.content([_salt(old) for old in replaced])
        self._store.create(name, [seal(self._keys, ObjectKind.INDEX, name, salt, content)])
        with self._lock:
            self._stored[name] = IndexTable(name, content)
            self._swap()
        return name

    def write_all(self, places: Iterable[Place], replaced: Sequence[str] = ()) -> list[str]:
        """Store as many index objects as the places need; the last one replaces older ones. Returns the names."""
        names = []
        builder = TableBuilder()
        for place in places:
            if builder.is_full:
                names.append(self._write(builder))
                builder = TableBuilder()
            builder.add(place)
        return [*names, self._write(builder, replaced)] if not builder.is_empty else names

    def stored_tables(self) -> list[IndexTable]:
        """The tables of index objects that no other one replaces."""
        return list(self._current)

    def recovered_tables(self) -> list[IndexTable]:
        """The tables of packs that no index object lists."""
        return list(self._recovered.values())

    def close(self) -> None:
        """Unmap the tables."""
        with self._lock:
            tables = {*self._stored.values(), *self.tables}
            self.tables, self._stored, self._recovered, self._current, self._merged = (), {}, {}, [], None
            self._lanes = Lanes.of(())
        for table in tables:
            table.rows.close()

    def _is_refused(self, name: str) -> bool:
        """Whether reading the object again is pointless: junk must not cost a read at each capture."""
        return self._refusals[name, self._keys.number] >= MAX_READS_OF_DAMAGED

    def _load(self, name: str, stored: dict[str, IndexTable]) -> None:
        try:
            stored[name] = self._read(name)
        except (RepositoryDamaged, RepositoryVersionTooNew) as error:
            self.damaged[name] = error
            self._refusals[name, self._keys.number] += 1
        except ObjectMissing:  # replaced by another since the listing
            return

    def _read(self, name: str) -> IndexTable:
        try:
            return self._opened(name)
        except RepositoryDamaged:
            if not is_worth_another_read(self._store, name):
                raise
            return self._opened(name)

    def _opened(self, name: str) -> IndexTable:
        return IndexTable(name, unseal(self._keys, ObjectKind.INDEX, name, self._store.read(name, MAX_INDEX_BYTES)))

    def _recover_pack(self, pack_id: PackId) -> None:
        try:
            pack, entries = read_footer(self._keys, self._store, pack_id)
        except (RepositoryDamaged, RepositoryVersionTooNew, ObjectMissing):
            return  # verify tells of it; a reader can only do without
        content = encode_table([Place(pack, entry) for entry in entries])
        self._recovered[pack_id] = IndexTable(pack.name, content)

    def _swap(self) -> None:
        replaced = {f"index-{salt.hex()}" for table in self._stored.values() for salt in table.replaced}
        self.superseded = sorted(replaced & self._stored.keys())
        current = [table for name, table in self._stored.items() if name not in replaced]
        current.sort(key=len, reverse=True)
        self._current = current
        listed = {pack.pack_id for table in current for pack in table.packs}
        self._recovered = {pack_id: table for pack_id, table in self._recovered.items() if pack_id not in listed}
        self.tables = (*self._searchable(current), *self._recovered.values())
        self._lanes = Lanes.of(self.tables)

    def _searchable(self, current: Sequence[IndexTable]) -> list[IndexTable]:
        """The same entries in fewer tables: what is looked up is looked up in every one."""
        small = {table.name: table for table in current if len(table) <= MAX_SMALL_TABLE_ENTRIES}
        if self._merged and not self._merged.names <= small.keys():
            self._merged = None
        is_merged = self._merged.names if self._merged else frozenset()
        if len(small) - len(is_merged) > MAX_UNMERGED_TABLES:
            chosen = list(_fitting(small.values()))
            places = [place for table in chosen for place in table.places()]
            is_merged = frozenset(table.name for table in chosen)
            self._merged = _Merged(is_merged, IndexTable("many index objects", encode_table(places)))
        rest = [table for table in current if table.name not in is_merged]
        return [*rest, self._merged.table] if self._merged else rest


def _fitting(tables: Iterable[IndexTable]) -> Iterator[IndexTable]:
    """As many tables as fit into one."""
    room = MAX_TABLE_ENTRIES
    for table in tables:
        room -= len(table)
        if room < 0:
            return
        yield table


def _salt(index_name: str) -> bytes:
    return bytes.fromhex(index_name.removeprefix("index-"))
