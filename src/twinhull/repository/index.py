"""The index: every index object of the repository, searched as one. A cache of what the packs say of themselves."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from threading import Lock

from twinhull.model.ports import Randomness
from twinhull.repository.envelope import SALT_BYTES, ObjectKind, seal, unseal
from twinhull.repository.errors import ObjectMissing, RepositoryDamaged, RepositoryError, RepositoryVersionTooNew
from twinhull.repository.ids import ChunkId, PackId
from twinhull.repository.index_table import MAX_TABLE_ENTRIES, IndexTable, Place, encode_table
from twinhull.repository.keys import Keys
from twinhull.repository.packs import read_footer
from twinhull.repository.store.contract import Store


class Index:
    """Where each chunk is stored. Safe for threads: tables are immutable and swapped as a whole."""

    def __init__(self, store: Store, keys: Keys, randomness: Randomness) -> None:
        self._store = store
        self._keys = keys
        self._randomness = randomness
        self._lock = Lock()
        self._stored: dict[str, IndexTable] = {}
        self._recovered: dict[PackId, IndexTable] = {}
        self.tables: tuple[IndexTable, ...] = ()
        self.damaged: dict[str, RepositoryError] = {}
        """Index objects that could not be read, by name."""

    def find(self, chunk_id: ChunkId) -> Place | None:
        """A copy of the chunk, if any is stored."""
        for table in self.tables:
            position = table.find(chunk_id)
            if position is not None:
                return table.place(position)
        return None

    def find_all(self, chunk_id: ChunkId) -> Iterator[Place]:
        """Every copy of the chunk: concurrent writers may have stored several."""
        for table in self.tables:
            position = table.find(chunk_id)
            while position is not None and position < len(table) and table.rows[position] == chunk_id:
                yield table.place(position)
                position += 1

    def find_outside(self, chunk_id: ChunkId, avoided: Collection[PackId]) -> Place | None:
        """A copy of the chunk in a pack that is not one of ``avoided``."""
        if not avoided:
            return self.find(chunk_id)
        return next((place for place in self.find_all(chunk_id) if place.pack.pack_id not in avoided), None)

    def refresh(self) -> None:
        """Read the index objects that have come since, and forget those that have gone."""
        with self._lock:
            names = {info.name for info in self._store.list("index-")}
            stored = {name: table for name, table in self._stored.items() if name in names}
            self.damaged = {}
            for name in sorted(names - stored.keys()):
                self._load(name, stored)
            self._stored = stored
            self._swap()

    def recover(self) -> bool:
        """Read the footers of packs that no index object lists; whether any were found."""
        with self._lock:
            known = {pack.pack_id for table in self.tables for pack in table.packs}
            news = [info.name for info in self._store.list("pack-") if _pack_id(info.name) not in known]
            for name in news:
                self._recover_pack(_pack_id(name))
            self._swap()
            return bool(news)

    def write(self, places: Sequence[Place], replaced: Sequence[str] = ()) -> str:
        """Store one more index object (at most MAX_TABLE_ENTRIES places) and search it from now on; its name."""
        salt = self._randomness.token(SALT_BYTES)
        name = f"index-{salt.hex()}"
        content = encode_table(places, [_salt(old) for old in replaced])
        self._store.create(name, [seal(self._keys, ObjectKind.INDEX, name, salt, content)])
        with self._lock:
            self._stored[name] = IndexTable(name, content)
            self._swap()
        return name

    def write_all(self, places: Sequence[Place]) -> list[str]:
        """Store as many index objects as the places need."""
        cuts = range(0, len(places), MAX_TABLE_ENTRIES)
        return [self.write(places[cut : cut + MAX_TABLE_ENTRIES]) for cut in cuts]

    def close(self) -> None:
        """Unmap the tables."""
        with self._lock:
            tables, self.tables, self._stored, self._recovered = self.tables, (), {}, {}
        for table in tables:
            table.rows.close()

    def _load(self, name: str, stored: dict[str, IndexTable]) -> None:
        try:
            content = unseal(self._keys, ObjectKind.INDEX, name, self._store.read(name))
            stored[name] = IndexTable(name, content)
        except (RepositoryDamaged, RepositoryVersionTooNew) as error:
            self.damaged[name] = error
        except ObjectMissing:  # replaced by another since the listing
            return

    def _recover_pack(self, pack_id: PackId) -> None:
        try:
            pack, entries = read_footer(self._keys, self._store, pack_id)
        except (RepositoryDamaged, RepositoryVersionTooNew, ObjectMissing):
            return  # verify tells of it; a reader can only do without
        content = encode_table([Place(pack, entry) for entry in entries])
        self._recovered[pack_id] = IndexTable(pack.name, content)

    def _swap(self) -> None:
        listed = {pack.pack_id for table in self._stored.values() for pack in table.packs}
        self._recovered = {pack_id: table for pack_id, table in self._recovered.items() if pack_id not in listed}
        replaced = {f"index-{salt.hex()}" for table in self._stored.values() for salt in table.replaced}
        current = [table for name, table in self._stored.items() if name not in replaced]
        current.sort(key=len, reverse=True)
        self.tables = (*current, *self._recovered.values())


def _pack_id(name: str) -> PackId:
    return PackId(bytes.fromhex(name.removeprefix("pack-")))


def _salt(index_name: str) -> bytes:
    return bytes.fromhex(index_name.removeprefix("index-"))
