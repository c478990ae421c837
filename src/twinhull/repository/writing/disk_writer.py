"""One disk of a point that is being written: pieces in any order, and the tree that they make."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING

from twinhull.model.errors import UsageError
from twinhull.repository.format.ids import ChunkId
from twinhull.repository.format.packs import payload_chunks
from twinhull.repository.format.points import DiskRoot
from twinhull.repository.format.tree import Shape

if TYPE_CHECKING:
    from twinhull.repository.writing.writer import Writer

PIECES_PER_WORKER = 3
"""How many pieces wait or are worked on, for each worker: the bound on what is read ahead of the processors."""


class DiskWriter:
    """One disk of a point that is being written, in pieces, in any order. One thread only; later pieces win."""

    def __init__(self, writer: Writer, size_bytes: int, base: DiskRoot | None) -> None:
        self._writer = writer
        self.size_bytes = size_bytes
        self._tree = writer.tree(Shape(size_bytes, writer.chunk_size_bytes), base)
        self._pieces: deque[tuple[int, Future[list[ChunkId | None]] | int]] = deque()
        self._is_finished = False
        if base and base.size_bytes > size_bytes:
            self._cut_last_chunk(base)

    def write(self, offset_bytes: int, data: bytes) -> None:
        """Say what the disk holds from a chunk's beginning to a chunk's or the disk's end.

        ``data`` is kept until a worker is done with it. Raises what went wrong with this or an earlier piece.
        """
        size = self._writer.chunk_size_bytes
        self._check(offset_bytes, len(data))
        view = memoryview(data if isinstance(data, bytes) else bytes(data))
        step = payload_chunks(size) * size
        for start in range(0, len(view), step):
            self._queue((offset_bytes + start) // size, self._writer.submit(view[start : start + step]))

    def zero(self, offset_bytes: int, length_bytes: int) -> None:
        """Say that a range, aligned as for ``write``, is zeros."""
        self._check(offset_bytes, length_bytes)
        size = self._writer.chunk_size_bytes
        if length_bytes:
            self._queue(offset_bytes // size, -(-(offset_bytes + length_bytes) // size))

    def finish(self) -> DiskRoot:
        """The disk's root, once every piece is in; then the disk takes no more."""
        self._apply_all()
        self._is_finished = True
        return DiskRoot(self.size_bytes, self._tree.finish())

    def _check(self, offset_bytes: int, length_bytes: int) -> None:
        if self._is_finished:
            raise UsageError("The disk is finished; start another one from its root.")
        size = self._writer.chunk_size_bytes
        end = offset_bytes + length_bytes
        if offset_bytes < 0 or length_bytes < 0 or end > self.size_bytes:
            raise UsageError(f"The range {offset_bytes}+{length_bytes} is not in the disk of {self.size_bytes} bytes.")
        if offset_bytes % size or (end % size and end != self.size_bytes):
            raise UsageError(f"The range {offset_bytes}+{length_bytes} is not aligned to chunks of {size} bytes.")

    def _queue(self, first: int, piece: Future[list[ChunkId | None]] | int) -> None:
        """Line up a piece under way, or the end of a range of zeros: the tree is changed in the order of the calls."""
        self._pieces.append((first, piece))
        while len(self._pieces) > self._writer.worker_count * PIECES_PER_WORKER:
            self._apply_one()

    def _apply_one(self) -> None:
        first, piece = self._pieces.popleft()
        if isinstance(piece, int):
            self._tree.clear(first, piece)
            return
        for number, chunk_id in enumerate(piece.result(), first):
            self._tree.set(number, chunk_id)

    def _apply_all(self) -> None:
        while self._pieces:
            self._apply_one()

    def _cut_last_chunk(self, base: DiskRoot) -> None:
        """What lies behind the new end must read as zeros, also inside the last chunk."""
        size = self._writer.chunk_size_bytes
        offset = self.size_bytes // size * size
        if offset < self.size_bytes:
            self.write(offset, self._writer.reader.read(base, offset, self.size_bytes - offset))
