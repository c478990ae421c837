"""Writing restore points: pieces of disks in, one published point out, or nothing at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from itertools import islice
from types import TracebackType
from typing import Self

from twinhull.model.errors import UsageError
from twinhull.model.extents import Extent, merged
from twinhull.model.machine import PointId
from twinhull.model.names import MAX_DISK_BYTES
from twinhull.model.ports import Ports
from twinhull.model.units import format_duration
from twinhull.repository.errors import ChunkLost, RepositoryError, WriterOverdue
from twinhull.repository.format.compression import encode
from twinhull.repository.format.ids import ChunkId, ChunkKind
from twinhull.repository.format.keyring import Keys
from twinhull.repository.format.points import DiskRoot, Point, PointDocument
from twinhull.repository.format.tree import Shape, Slots, decode_node, encode_node
from twinhull.repository.points.catalog import Numbering
from twinhull.repository.reading.chunks import Chunks
from twinhull.repository.reading.index import Index
from twinhull.repository.reading.reader import Reader
from twinhull.repository.store.contract import Store
from twinhull.repository.writing.disk_writer import DiskWriter
from twinhull.repository.writing.gaps import Doubtful, TreeWalk
from twinhull.repository.writing.packing import Packer
from twinhull.repository.writing.stats import StatsCounter, WriterStats
from twinhull.repository.writing.treewriter import TreeWriter
from twinhull.repository.writing.trust import Trust

MAX_GAPS = 1 << 16
"""A base with more of them is compared as a whole."""
MAX_LOOKS = 5
"""How often a writer looks whether all that its point needs is there, and stores it anew if not, before it gives up."""
SESSION_LIMIT_SECONDS = 3 * 86_400.0
"""A writer publishes within this time or not at all: collection waits longer before it removes anything (the format's
document has the argument)."""

Publish = Callable[[PointDocument, Numbering, Collection[DiskRoot]], tuple[Point, int]]
"""Makes a point of a document (with its number, and the roots that it builds on); and its stored size."""
Retract = Callable[[PointId, str], None]
"""Removes a point that turned out not to be whole, with the reason."""


@dataclass(frozen=True, slots=True)
class WriterContext:
    """What a writer needs of its repository."""

    store: Store
    keys: Keys
    index: Index
    chunks: Chunks
    chunk_size_bytes: int
    ports: Ports
    level: int
    trust: Trust
    publish: Publish
    retract: Retract
    started: float
    """The monotonic clock before the index was read."""


class Writer:
    """Writes the disks of one point and publishes it. Leaving the context without publishing leaves nothing visible."""

    def __init__(self, context: WriterContext) -> None:
        self._context = context
        self._trust = context.trust
        self._counter = StatsCounter()
        self._packer = Packer(
            context.store,
            context.keys,
            context.index,
            chunk_size_bytes=context.chunk_size_bytes,
            ports=context.ports,
            stats=self._counter,
        )
        self.worker_count = os.cpu_count() or 1
        self._workers = ThreadPoolExecutor(self.worker_count, "twinhull-ingest")
        self._bases: set[DiskRoot] = set()
        self._zeros = bytes(context.chunk_size_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # What went wrong first is what the caller must hear; the same store failing again on the way out adds nothing.
        with suppress(RepositoryError) if error else nullcontext():
            self.close()

    @property
    def stats(self) -> WriterStats:
        """What was done so far."""
        return self._counter.total

    def disk(self, size_bytes: int, base: DiskRoot | None = None) -> DiskWriter:
        """Begin a disk that holds what ``base`` holds, cut or filled up with zeros to the size.

        ``base`` must be a disk of a point in this repository.
        """
        if not 0 <= size_bytes <= MAX_DISK_BYTES:
            raise UsageError(f"A disk of {size_bytes} bytes cannot be stored.")
        if base:
            self._bases.add(base)
        return DiskWriter(self, size_bytes, base)

    def publish(
        self, document: PointDocument, expected_sequence: int | None = None, *, as_sequence: int | None = None
    ) -> Point:
        """Make the point visible: everything it names is durable first, and this is the last write.

        Without ``expected_sequence`` the point gets the machine's next free number; with it, raises PointConflict where
        another writer was first. Raises WriterOverdue, StoreError. ``as_sequence`` is for copies: the point gets that
        number, or PointConflict.
        """
        clock = self._context.ports.clock
        started = clock.monotonic()
        self._packer.flush()
        for disk in document.disks:
            self._check_root(disk.root)
        age = clock.monotonic() - self._context.started
        if age > SESSION_LIMIT_SECONDS:
            raise WriterOverdue(
                f"The capture of machine {document.machine_id} took {format_duration(age)}. A collection waits "
                f"only {format_duration(SESSION_LIMIT_SECONDS)} for it, so no point was made.",
                hint="Repeat the sync. Data that is already stored is not sent again.",
            )
        self._make_whole(document, is_published=False)
        point, size = self._context.publish(document, Numbering(expected_sequence, as_sequence), self._bases)
        try:
            self._make_whole(document, is_published=True)
        except RepositoryError as error:
            self._context.retract(point.id, f"It is incomplete: {error.message}")
            raise
        self._counter.add(bytes_stored=size, publish_seconds=clock.monotonic() - started)
        return point

    def gaps(self, base: DiskRoot) -> list[Extent]:
        """Where a disk that is built on the base must be written anew, as what it holds there is in damaged packs.

        Raises ChunkLost if nothing can be built on the base, as part of its tree is lost, or too much of it.
        """
        if not self._trust.damaged:
            return []
        size = self.chunk_size_bytes
        numbers = (number for found in self._doubtful(base) for number in found)
        places = (Extent(number * size, min(size, base.size_bytes - number * size)) for number in numbers)
        gaps = list(islice(merged(places), MAX_GAPS + 1))
        if len(gaps) > MAX_GAPS:
            raise ChunkLost("The previous point of this disk is damaged in too many places to build on.")
        return gaps

    def keep(self, kind: ChunkKind, contents: Mapping[ChunkId, bytes | memoryview]) -> None:
        """Store chunks as they are, without those that are stored. Data chunks of one call share a payload."""
        new = {each: content for each, content in contents.items() if not self._is_stored(each)}
        new = {each: content for each, content in new.items() if self._packer.claim(each)}
        together = [list(new)] if kind is ChunkKind.DATA and new else [[each] for each in new]
        for chunk_ids in together:
            payload = encode(b"".join(new[each] for each in chunk_ids), self._context.level)
            self._packer.add(kind, chunk_ids, payload)

    def flush(self) -> None:
        """Make everything durable that was written so far; still nothing is visible."""
        self._packer.flush()

    def close(self) -> None:
        """End the threads. What was stored but not published is indexed, so that a repetition finds it."""
        self._workers.shutdown(cancel_futures=True)
        try:
            self._packer.settle()
        finally:
            self._packer.close()

    def _doubtful(self, root: DiskRoot) -> Iterator[Doubtful]:
        walk = TreeWalk(self._trust.counts_on, self.load_node, self.save_node, self._trust.whole_nodes)
        return walk.doubtful(root, Shape(root.size_bytes, self.chunk_size_bytes))

    def _make_whole(self, document: PointDocument, *, is_published: bool) -> None:
        """Store anew what the point needs and can no longer count on; raises ChunkLost, WriterOverdue."""
        for _ in range(MAX_LOOKS):
            if not self._trust.look_again(self._packer.stored, is_published=is_published):
                return
            nodes_before, is_whole = self.stats.nodes_new, True
            try:
                for disk in document.disks:
                    for doubtful in self._doubtful(disk.root):
                        is_whole = False
                        self.keep(ChunkKind.DATA, self._context.chunks.data_of(doubtful.values()))
            except ChunkLost as error:
                raise self._not_whole(document, error) from error
            if is_whole and self.stats.nodes_new == nodes_before:
                return
            self._packer.flush()
        raise self._not_whole(document, None)

    def _not_whole(self, document: PointDocument, error: ChunkLost | None) -> RepositoryError:
        """Why a point cannot be."""
        if self._trust.gone or not error:
            return WriterOverdue(
                f"A collection deleted data that the capture of machine {document.machine_id} needs. No point was "
                "made.",
                hint="Repeat the sync. Data that is already stored is not sent again.",
            )
        return ChunkLost(
            f"The point of machine {document.machine_id} would be incomplete, and was not made: {error.message}",
            hint="Store again what the machine still holds: twinhull sync MACHINE --full-compare",
        )

    def _check_root(self, root: DiskRoot) -> None:
        index = self._context.index
        if root.node is None or index.find(root.node):
            return
        index.recover()  # the root of an unchanged disk may be older than an index that was lost
        if not index.find(root.node):
            raise UsageError("A disk in the point's document was not written to this repository.")

    def submit(self, piece: memoryview) -> Future[list[ChunkId | None]]:
        """Have a worker store the chunks of a piece; the future gives their ids."""
        return self._workers.submit(self._store_piece, piece)

    def load_node(self, chunk_id: ChunkId, level: int) -> Slots:
        """A tree node, of the repository or of this writer."""
        content = self._packer.node(chunk_id)
        return decode_node(content, level) if content else self._context.chunks.node(chunk_id, level)

    def save_node(self, level: int, slots: Slots) -> ChunkId:
        """Store a tree node, unless it is there."""
        content = encode_node(level, slots)
        chunk_id = self._context.keys.chunk_id(ChunkKind.NODE, content)
        if not self._is_stored(chunk_id) and self._packer.claim(chunk_id, content):
            self._packer.add(ChunkKind.NODE, [chunk_id], encode(content, self._context.level))
            self._counter.add(nodes_new=1)
        return chunk_id

    def tree(self, shape: Shape, base: DiskRoot | None) -> TreeWriter:
        """The tree of a disk that begins as the base."""
        return TreeWriter(shape, base, self.load_node, self.save_node)

    @property
    def chunk_size_bytes(self) -> int:
        """The repository's chunk size."""
        return self._context.chunk_size_bytes

    @property
    def reader(self) -> Reader:
        """Reads what the repository has."""
        return Reader(self._context.chunks, self.chunk_size_bytes)

    def _is_stored(self, chunk_id: ChunkId) -> bool:
        return self._trust.counts_on(chunk_id)

    def _store_piece(self, piece: memoryview) -> list[ChunkId | None]:
        """Store the new chunks of a piece, which are compressed as one; the ids of all."""
        size = self.chunk_size_bytes
        ids: list[ChunkId | None] = []
        new: dict[ChunkId, memoryview] = {}
        for offset in range(0, len(piece), size):
            content = piece[offset : offset + size]
            self._counter.add(chunks_seen=1, bytes_in=len(content))
            if len(content) < size:
                content = memoryview(bytes(content).ljust(size, b"\0"))
            chunk_id = self._named(content)
            ids.append(chunk_id)
            if chunk_id and self._is_new(chunk_id):
                new[chunk_id] = content
        if new:
            is_all = len(new) * size == len(piece)
            self._store_new(list(new), piece if is_all else b"".join(new.values()))
        return ids

    def _named(self, content: memoryview) -> ChunkId | None:
        """A chunk's id, None where it is zeros."""
        if self._zeros.startswith(content):  # the one comparison with part of another buffer that copies nothing
            self._counter.add(chunks_zero=1)
            return None
        clock = self._context.ports.clock
        started = clock.monotonic()
        chunk_id = self._context.keys.chunk_id(ChunkKind.DATA, content)
        self._counter.add(hash_seconds=clock.monotonic() - started)
        return chunk_id

    def _is_new(self, chunk_id: ChunkId) -> bool:
        clock = self._context.ports.clock
        started = clock.monotonic()
        is_new = not self._is_stored(chunk_id) and self._packer.claim(chunk_id)
        self._counter.add(chunks_new=is_new, chunks_known=not is_new, lookup_seconds=clock.monotonic() - started)
        return is_new

    def _store_new(self, chunk_ids: Sequence[ChunkId], content: bytes | memoryview) -> None:
        clock = self._context.ports.clock
        started = clock.monotonic()
        payload = encode(content, self._context.level)
        self._counter.add(compress_seconds=clock.monotonic() - started)
        self._packer.add(ChunkKind.DATA, chunk_ids, payload)
