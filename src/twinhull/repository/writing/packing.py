"""From new chunks to packs in the store, for one writer: bounded in memory, several packs under way at a time.

A pack is stored before an index object names it, and both before a point is published (see docs/repository-format.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import BoundedSemaphore, Lock

from twinhull.model.ports import Ports
from twinhull.repository.errors import RepositoryDamaged
from twinhull.repository.format.ids import PACK_ID_BYTES, ChunkId, ChunkKind, PackId
from twinhull.repository.format.index_table import Place
from twinhull.repository.format.keyring import Keys
from twinhull.repository.format.packs import PackBuilder, SealedPack, by_payload, chunk_in, open_payload
from twinhull.repository.reading.index import Index
from twinhull.repository.store.contract import Store
from twinhull.repository.writing.stats import StatsCounter

MAX_PACKS_UNDER_WAY = 3
"""Packs that are being checked or stored at one time; with the two being filled, it bounds the memory."""

PLACES_PER_INDEX = 1 << 17
"""A long capture writes an index object every so many chunks: a bound on memory, and on what a crash repeats."""


class Packer:
    """Collects new chunks of one writer into packs. Safe for threads; the first error is raised to everyone."""

    def __init__(
        self, store: Store, keys: Keys, index: Index, *, chunk_size_bytes: int, ports: Ports, stats: StatsCounter
    ) -> None:
        self._store = store
        self._keys = keys
        self._index = index
        self._chunk_size_bytes = chunk_size_bytes
        self._ports = ports
        self._stats = stats
        self._lock = Lock()
        self._room = BoundedSemaphore(MAX_PACKS_UNDER_WAY)
        self._threads = ThreadPoolExecutor(MAX_PACKS_UNDER_WAY, "twinhull-pack")
        self._under_way: set[Future[None]] = set()
        self._filling: dict[ChunkKind, PackBuilder] = {}
        self._claimed: dict[ChunkId, bytes | None] = {}
        self._places: list[Place] = []
        self._failure: BaseException | None = None
        self.stored: set[PackId] = set()
        """The packs that are in the store by now."""

    def claim(self, chunk_id: ChunkId, node: bytes | None = None) -> bool:
        """Whether the caller is the first with this chunk, and must ``add`` it; ``node`` can be read back at once."""
        with self._lock:
            if chunk_id in self._claimed:
                return False
            self._claimed[chunk_id] = node
            return True

    def node(self, chunk_id: ChunkId) -> bytes | None:
        """The content of a claimed tree node that the index does not have yet."""
        return self._claimed.get(chunk_id)

    def add(self, kind: ChunkKind, chunk_ids: Sequence[ChunkId], payload: bytes) -> None:
        """Take these chunks' encoded payload; waits while too many packs are under way. Raises the first error."""
        with self._lock:
            self._raise_failure()
            if kind not in self._filling:
                self._filling[kind] = PackBuilder(self._keys, kind, PackId(self._ports.randomness.token(PACK_ID_BYTES)))
            pack = self._filling[kind]
            number = pack.reserve(chunk_ids, len(payload))
            is_full = pack.is_full
            if is_full:
                del self._filling[kind]
        pack.seal(number, payload)
        if is_full:
            self._start(pack)

    def flush(self) -> None:
        """Store everything that was added, packs first, then their index; raises the first error."""
        with self._lock:
            rest, self._filling = list(self._filling.values()), {}
        for pack in rest:
            self._start(pack)
        self.settle()

    def settle(self) -> None:
        """Wait for the packs under way and index what is stored; raises the first error."""
        for future in list(self._under_way):
            future.result()
        with self._lock:
            self._raise_failure()
        self._write_index(1)

    def close(self) -> None:
        """Wait for the threads to end; what was not flushed is dropped."""
        self._threads.shutdown(cancel_futures=True)

    def _start(self, pack: PackBuilder) -> None:
        self._room.acquire()
        future = self._threads.submit(self._store_pack, pack)
        self._under_way.add(future)
        future.add_done_callback(self._ended)

    def _ended(self, future: Future[None]) -> None:
        if not future.cancelled() and (error := future.exception()):
            self._failure = self._failure or error
        self._under_way.discard(future)
        self._room.release()

    def _raise_failure(self) -> None:
        if self._failure:
            raise self._failure

    def _store_pack(self, builder: PackBuilder) -> None:
        clock = self._ports.clock
        started = clock.monotonic()
        pack = builder.finish()
        self._check(pack)
        sealed = clock.monotonic()
        self._store.create(pack.info.name, pack.parts)
        stored = clock.monotonic()
        self._stats.add(
            packs_stored=1,
            bytes_stored=pack.info.size_bytes,
            seal_seconds=sealed - started,
            store_seconds=stored - sealed,
        )
        with self._lock:
            self.stored.add(pack.info.pack_id)
            self._places += [Place(pack.info, entry) for entry in pack.entries]
        self._write_index(PLACES_PER_INDEX)

    def _check(self, pack: SealedPack) -> None:
        """Read every chunk back before it leaves memory: what is stored is what was meant, or the capture fails."""
        size = self._chunk_size_bytes
        for entries, sealed in zip(by_payload(pack.entries), pack.parts[1:-2], strict=True):
            try:
                content = open_payload(self._keys, pack.info, entries[0], sealed, size)
                for entry in entries:
                    chunk_in(self._keys, pack.info, entry, content, size)
            except RepositoryDamaged:
                raise RepositoryDamaged(
                    "A chunk did not survive compression and encryption. No point was made.",
                    hint="The memory or the processor of this computer may be faulty: test it, then repeat the run.",
                ) from None

    def _write_index(self, least_places: int) -> None:
        with self._lock:
            if len(self._places) < least_places:
                return
            places, self._places = self._places, []
        for name in self._index.write_all(places):
            self._stats.add(bytes_stored=self._store.size(name))
        with self._lock:
            for place in places:
                self._claimed.pop(place.entry.chunk_id, None)
