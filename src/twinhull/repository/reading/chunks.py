"""Chunks by id: found in the index, fetched from their packs, opened, checked, and kept for a while.

What is fetched and opened is a payload, with the chunks that were written together; each read checks its own chunk.
A chunk that fails its check is looked for in the other copies that the index knows, then in packs that no index lists,
and only then called lost.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from threading import Lock
from typing import Generic, TypeVar

from twinhull.model.units import KIB, MIB
from twinhull.repository.errors import ChunkLost, ObjectMissing, RepositoryDamaged
from twinhull.repository.format.ids import ChunkId, ChunkKind, PackId
from twinhull.repository.format.index_table import PayloadKey, Place, order_in_packs, payload_of
from twinhull.repository.format.keyring import Keys
from twinhull.repository.format.packs import chunk_in, max_payload_bytes, open_payload
from twinhull.repository.format.tree import Slots, decode_node
from twinhull.repository.reading.index import Index
from twinhull.repository.store.cached import is_worth_another_read
from twinhull.repository.store.contract import Store

CACHED_NODE_COUNT = 4096
CACHED_DATA_BYTES = 64 * MIB
MAX_FETCH_BYTES = 8 * MIB
"""The most that is fetched from a pack in one request."""
MAX_GAP_BYTES = 64 * KIB
"""Two payloads of a pack that lie no farther apart are fetched in one request."""

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Chunks:
    """The stored chunks of a repository, for reading. Safe for threads."""

    def __init__(self, store: Store, keys: Keys, index: Index, chunk_size_bytes: int) -> None:
        self._store = store
        self._keys = keys
        self._index = index
        self._chunk_size_bytes = chunk_size_bytes
        self._nodes = _Cache[ChunkId, Slots](CACHED_NODE_COUNT, lambda _: 1)
        self._payloads = _Cache[PayloadKey, bytes](CACHED_DATA_BYTES, len)
        self.damaged: set[PackId] = set()
        """The packs in which a copy was found damaged, or which an index of now names and the store does not have."""

    def node(self, chunk_id: ChunkId, level: int) -> Slots:
        """The children of a tree node; raises ChunkLost."""
        slots = self._nodes.get(chunk_id)
        if slots is None:
            slots = decode_node(bytes(self._load(chunk_id, ChunkKind.NODE)), level)
            self._nodes.put(chunk_id, slots)
        return slots

    def data_of(self, chunk_ids: Iterable[ChunkId]) -> dict[ChunkId, memoryview]:
        """The content of data chunks, with few requests to the store; raises ChunkLost."""
        found: dict[ChunkId, memoryview] = {}
        missing: list[Place] = []
        for chunk_id in dict.fromkeys(chunk_ids):
            place = self._index.find(chunk_id)
            if place is None or not self._is_sound(place):
                found[chunk_id] = self._load(chunk_id, ChunkKind.DATA)
            elif payload := self._payloads.get(payload_of(place)):
                found[chunk_id] = self._chunk(place, payload)
            else:
                missing.append(place)
        missing.sort(key=order_in_packs)
        for run in _runs(missing):
            found |= self._fetch_run(run)
        return found

    def fetch(self, place: Place) -> memoryview:
        """The content of one stored copy, past the caches in memory; raises RepositoryDamaged, ObjectMissing."""
        return self.fetch_together([place])[0]

    def fetch_together(self, places: Sequence[Place]) -> list[memoryview]:
        """As ``fetch``, of copies in one payload."""
        if not self._is_sound(places[0]):
            # No index, however it came about, makes us fetch more than a payload can take.
            raise RepositoryDamaged(f"The index says that a chunk takes {places[0].entry.length_bytes} bytes.")
        try:
            return self._fetch(places)
        except RepositoryDamaged:
            if not is_worth_another_read(self._store, places[0].pack.name):
                raise
            return self._fetch(places)

    def _fetch(self, places: Sequence[Place]) -> list[memoryview]:
        pack, entry, size = places[0].pack, places[0].entry, self._chunk_size_bytes
        sealed = self._store.read_range(pack.name, entry.offset_bytes, entry.length_bytes)
        content = open_payload(self._keys, pack, entry, sealed, size)
        return [chunk_in(self._keys, pack, place.entry, content, size) for place in places]

    def _is_sound(self, place: Place) -> bool:
        return place.entry.length_bytes <= max_payload_bytes(place.pack.kind, self._chunk_size_bytes)

    def _load(self, chunk_id: ChunkId, kind: ChunkKind) -> memoryview:
        """The first good copy of a chunk, wherever it is."""
        for is_last_hope in (False, True):
            for place in list(self._index.find_all(chunk_id)):
                try:
                    if place.pack.kind is kind:
                        return self.fetch(place)
                except RepositoryDamaged:
                    self.damaged.add(place.pack.pack_id)
                except ObjectMissing:  # at first only the index may be old
                    if is_last_hope:
                        self.damaged.add(place.pack.pack_id)
            if not is_last_hope:
                self._index.refresh()
                self._index.recover()
        raise ChunkLost(
            f"The chunk {chunk_id.hex()[:16]}… is lost: {self._store.url} has no good copy of it.",
            hint="List the points that lack it with 'twinhull repository verify'. Other points are not affected.",
        )

    def _fetch_run(self, run: Sequence[Place]) -> dict[ChunkId, memoryview]:
        start = run[0].entry.offset_bytes
        try:
            fetched = memoryview(self._store.read_range(run[0].pack.name, start, _end(run[-1]) - start))
        except (ObjectMissing, RepositoryDamaged):  # each chunk is then looked for by itself
            fetched = memoryview(b"")
        found: dict[ChunkId, memoryview] = {}
        for _, sharing in groupby(run, key=payload_of):
            places = list(sharing)
            entry = places[0].entry
            offset = entry.offset_bytes - start
            content = self._opened(places[0], bytes(fetched[offset : offset + entry.length_bytes]))
            found |= {place.entry.chunk_id: self._chunk(place, content) for place in places}
        return found

    def _opened(self, place: Place, sealed: bytes) -> bytes:
        """A payload's content, empty where it is damaged."""
        try:
            content = open_payload(self._keys, place.pack, place.entry, sealed, self._chunk_size_bytes)
        except RepositoryDamaged:
            return b""
        self._payloads.put(payload_of(place), content)
        return content

    def _chunk(self, place: Place, payload: bytes) -> memoryview:
        """A data chunk of an opened payload, or where it is not what it should be, of another copy."""
        try:
            return chunk_in(self._keys, place.pack, place.entry, payload, self._chunk_size_bytes)
        except RepositoryDamaged:
            return self._load(place.entry.chunk_id, ChunkKind.DATA)


def _end(place: Place) -> int:
    return place.entry.offset_bytes + place.entry.length_bytes


def _runs(places: Sequence[Place]) -> Iterator[Sequence[Place]]:
    """Sorted places, cut into runs that are fetched in one request."""
    if not places:
        return
    start = 0
    for number, (one, next_one) in enumerate(pairwise(places), 1):
        is_near = one.pack == next_one.pack and next_one.entry.offset_bytes - _end(one) <= MAX_GAP_BYTES
        is_large = _end(next_one) - places[start].entry.offset_bytes > MAX_FETCH_BYTES
        if not is_near or (is_large and payload_of(one) != payload_of(next_one)):
            yield places[start:number]
            start = number
    yield places[start:]


class _Cache(Generic[_Key, _Value]):
    """The values used last, as many as weigh no more than the capacity together."""

    def __init__(self, capacity: int, weigh: Callable[[_Value], int]) -> None:
        self._capacity = capacity
        self._weigh = weigh
        self._weight = 0
        self._values: OrderedDict[_Key, _Value] = OrderedDict()
        self._lock = Lock()

    def get(self, key: _Key) -> _Value | None:
        with self._lock:
            value = self._values.get(key)
            if value is not None:
                self._values.move_to_end(key)
            return value

    def put(self, key: _Key, value: _Value) -> None:
        with self._lock:
            replaced = self._values.pop(key, None)
            self._values[key] = value
            self._weight += self._weigh(value) - (self._weigh(replaced) if replaced is not None else 0)
            while self._weight > self._capacity and len(self._values) > 1:
                _, dropped = self._values.popitem(last=False)
                self._weight -= self._weigh(dropped)
