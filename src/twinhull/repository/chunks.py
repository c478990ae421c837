"""Chunks by id: found in the index, fetched from their packs, opened, checked, and kept for a while.

A chunk that fails its check is looked for in the other copies that the index knows, then in packs that no index lists,
and only then called lost.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from threading import Lock
from typing import Generic, TypeVar

from twinhull.model.units import KIB, MIB
from twinhull.repository.errors import ChunkLost, ObjectMissing, RepositoryDamaged
from twinhull.repository.ids import ChunkId, ChunkKind
from twinhull.repository.index import Index
from twinhull.repository.index_table import Place
from twinhull.repository.keys import Keys
from twinhull.repository.packs import MAX_PAYLOAD_OVERHEAD_BYTES, open_chunk
from twinhull.repository.store.cached import is_worth_another_read
from twinhull.repository.store.contract import Store
from twinhull.repository.tree import MAX_NODE_BYTES, Slots, decode_node

CACHED_NODE_COUNT = 4096
CACHED_DATA_BYTES = 64 * MIB
MAX_FETCH_BYTES = 8 * MIB
"""The most that is fetched from a pack in one request."""
MAX_GAP_BYTES = 64 * KIB
"""Two chunks of a pack that lie no farther apart are fetched in one request."""

_Value = TypeVar("_Value")


class Chunks:
    """The stored chunks of a repository, for reading. Safe for threads."""

    def __init__(self, store: Store, keys: Keys, index: Index, chunk_size_bytes: int) -> None:
        self._store = store
        self._keys = keys
        self._index = index
        self._chunk_size_bytes = chunk_size_bytes
        self._nodes = _Cache[Slots](CACHED_NODE_COUNT)
        self._data = _Cache[bytes](max(CACHED_DATA_BYTES // chunk_size_bytes, 2))

    def node(self, chunk_id: ChunkId, level: int) -> Slots:
        """The children of a tree node; raises ChunkLost."""
        slots = self._nodes.get(chunk_id)
        if slots is None:
            slots = decode_node(self._load(chunk_id, MAX_NODE_BYTES), level)
            self._nodes.put(chunk_id, slots)
        return slots

    def data(self, chunk_id: ChunkId) -> bytes:
        """A data chunk's content; raises ChunkLost."""
        content = self._data.get(chunk_id)
        if content is None:
            content = self._load(chunk_id, self._chunk_size_bytes)
            self._data.put(chunk_id, content)
        return content

    def data_of(self, chunk_ids: Iterable[ChunkId]) -> dict[ChunkId, bytes]:
        """The content of many data chunks, with few requests to the store; raises ChunkLost."""
        found: dict[ChunkId, bytes] = {}
        missing: list[ChunkId] = []
        for chunk_id in dict.fromkeys(chunk_ids):
            content = self._data.get(chunk_id)
            if content is None:
                missing.append(chunk_id)
            else:
                found[chunk_id] = content
        for chunk_id, content in self._fetch_many(missing):
            found[chunk_id] = content
            self._data.put(chunk_id, content)
        return found

    def fetch(self, place: Place) -> bytes:
        """The content of one stored copy, past the caches in memory; raises RepositoryDamaged, ObjectMissing."""
        self._check_length(place)
        try:
            return self._fetch(place)
        except RepositoryDamaged:
            if not is_worth_another_read(self._store, place.pack.name):
                raise
            return self._fetch(place)

    def _fetch(self, place: Place) -> bytes:
        entry = place.entry
        sealed = self._store.read_range(place.pack.name, entry.offset_bytes, entry.length_bytes)
        return open_chunk(self._keys, place.pack, entry, sealed, self._limit(place))

    def _check_length(self, place: Place) -> None:
        """No index, however it came about, makes us fetch more than a chunk can take."""
        if place.entry.length_bytes > self._limit(place) + MAX_PAYLOAD_OVERHEAD_BYTES:
            raise RepositoryDamaged(f"The index says that a chunk takes {place.entry.length_bytes} bytes.")

    def _limit(self, place: Place) -> int:
        return MAX_NODE_BYTES if place.pack.kind is ChunkKind.NODE else self._chunk_size_bytes

    def _load(self, chunk_id: ChunkId, max_bytes: int) -> bytes:
        for is_last_hope in (False, True):
            for place in list(self._index.find_all(chunk_id)):
                try:
                    if self._limit(place) <= max_bytes:
                        return self.fetch(place)
                except (RepositoryDamaged, ObjectMissing):
                    continue
            if not is_last_hope:
                self._index.refresh()
                self._index.recover()
        raise ChunkLost(
            f"The chunk {chunk_id.hex()[:16]}… is lost: no good copy is in {self._store.url}.",
            hint="'repository verify' lists the points that miss it; other points are not touched by this.",
        )

    def _fetch_many(self, chunk_ids: Sequence[ChunkId]) -> Iterator[tuple[ChunkId, bytes]]:
        places = []
        for chunk_id in chunk_ids:
            place = self._index.find(chunk_id)
            if place is None or place.entry.length_bytes > self._limit(place) + MAX_PAYLOAD_OVERHEAD_BYTES:
                yield chunk_id, self._load(chunk_id, self._chunk_size_bytes)
            else:
                places.append(place)
        places.sort(key=lambda place: (place.pack.pack_id, place.entry.offset_bytes))
        for run in _runs(places):
            yield from self._fetch_run(run)

    def _fetch_run(self, run: Sequence[Place]) -> Iterator[tuple[ChunkId, bytes]]:
        start = run[0].entry.offset_bytes
        length = _end(run[-1]) - start
        try:
            sealed = memoryview(self._store.read_range(run[0].pack.name, start, length))
        except ObjectMissing:
            sealed = memoryview(b"")
        for place in run:
            offset = place.entry.offset_bytes - start
            part = sealed[offset : offset + place.entry.length_bytes]
            yield place.entry.chunk_id, self._opened(place, bytes(part))

    def _opened(self, place: Place, sealed: bytes) -> bytes:
        try:
            return open_chunk(self._keys, place.pack, place.entry, sealed, self._chunk_size_bytes)
        except RepositoryDamaged:
            return self._load(place.entry.chunk_id, self._chunk_size_bytes)


def _end(place: Place) -> int:
    return place.entry.offset_bytes + place.entry.length_bytes


def _runs(places: Sequence[Place]) -> Iterator[Sequence[Place]]:
    """Sorted places, cut into runs that are fetched in one request."""
    if not places:
        return
    start = 0
    for number, (one, next_one) in enumerate(pairwise(places), 1):
        is_near = one.pack == next_one.pack and next_one.entry.offset_bytes - _end(one) <= MAX_GAP_BYTES
        if not is_near or _end(next_one) - places[start].entry.offset_bytes > MAX_FETCH_BYTES:
            yield places[start:number]
            start = number
    yield places[start:]


class _Cache(Generic[_Value]):
    """The values used last, by chunk id."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._values: OrderedDict[ChunkId, _Value] = OrderedDict()
        self._lock = Lock()

    def get(self, chunk_id: ChunkId) -> _Value | None:
        with self._lock:
            value = self._values.get(chunk_id)
            if value is not None:
                self._values.move_to_end(chunk_id)
            return value

    def put(self, chunk_id: ChunkId, value: _Value) -> None:
        with self._lock:
            self._values[chunk_id] = value
            self._values.move_to_end(chunk_id)
            while len(self._values) > self._capacity:
                self._values.popitem(last=False)
