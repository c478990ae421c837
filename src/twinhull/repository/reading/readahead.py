"""Reading a disk of a point from its beginning to its end: what comes next is fetched before it is asked for."""

from __future__ import annotations

from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from threading import Lock

from twinhull.model.units import MIB
from twinhull.repository.errors import RepositoryError
from twinhull.repository.format.points import DiskRoot
from twinhull.repository.reading.disk import PointDiskReader
from twinhull.repository.reading.reader import Reader

PIECE_BYTES = 2 * MIB
"""What one fetch brings."""
MAX_PIECES_AHEAD = 4
"""How many pieces are fetched, or wait to be read, ahead of the reader; with two around it, the bound on memory."""
MAX_FETCHES = 4
"""How many pieces are fetched at one time."""


class ReadAheadDisk(PointDiskReader):
    """A ``PointDiskReader`` that notices when it is read in order, by one reader or by many requests at once.

    Safe for threads. Reads here and there are passed on as they are.
    """

    def __init__(self, reader: Reader, root: DiskRoot) -> None:
        super().__init__(reader, root)
        self._lock = Lock()
        self._threads = ThreadPoolExecutor(MAX_FETCHES, "twinhull-read-ahead")
        self._pieces: dict[int, Future[bytes]] = {}
        self._last: int | None = None

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        """The bytes of the range; raises ChunkLost."""
        end = offset_bytes + length_bytes
        if not length_bytes or end > self.size_bytes or offset_bytes < 0:
            return super().read(offset_bytes, length_bytes)
        first, last = offset_bytes // PIECE_BYTES, (end - 1) // PIECE_BYTES
        pieces = self._fetched(first, last)
        parts = []
        for number in range(first, last + 1):
            start = max(offset_bytes, number * PIECE_BYTES)
            stop = min(end, (number + 1) * PIECE_BYTES)
            parts.append(self._part(pieces.get(number), number, start, stop))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def close(self) -> None:
        """End the threads; safe to repeat."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _part(self, piece: Future[bytes] | None, number: int, start: int, stop: int) -> bytes:
        if piece:
            try:
                base = number * PIECE_BYTES
                return piece.result()[start - base : stop - base]
            except (RepositoryError, CancelledError):
                pass  # what is lost may be no part of what is read, and another reader may have given the piece up
        return super().read(start, stop - start)

    def _fetched(self, first: int, last: int) -> dict[int, Future[bytes]]:
        """The pieces of a range that are fetched or under way; reading in order begins to fetch the next ones."""
        with self._lock:
            is_in_order = self._last is not None and self._last <= first <= self._last + 1
            self._last = last
            if is_in_order or first in self._pieces:
                self._go_on(first, last)
            return {number: self._pieces[number] for number in range(first, last + 1) if number in self._pieces}

    def _go_on(self, first: int, last: int) -> None:
        # The piece before stays: requests that were sent in order do not all come in order.
        for number in [number for number in self._pieces if not first - 1 <= number <= last + MAX_PIECES_AHEAD]:
            self._pieces.pop(number).cancel()
        end = min(last + MAX_PIECES_AHEAD, (self.size_bytes - 1) // PIECE_BYTES)
        for number in range(last + 1, end + 1):
            if number not in self._pieces:
                self._pieces[number] = self._threads.submit(self._fetch, number)

    def _fetch(self, number: int) -> bytes:
        offset = number * PIECE_BYTES
        return super().read(offset, min(PIECE_BYTES, self.size_bytes - offset))
