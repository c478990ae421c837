"""What can be put around any store: no changes, no deletions, a limit on bandwidth; and, in ``cached``, a cache.

Trying again what failed for the moment is no wrapper: the S3 library does that (``s3``), and a directory's kernel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from threading import Lock

from twinhull.model.ports import Clock
from twinhull.repository.errors import StoreError
from twinhull.repository.store.contract import MAX_READ_BYTES, ObjectInfo, Store


class Around:
    """Passes everything on."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner

    @property
    def url(self) -> str:
        """See ``Store.url``."""
        return self._inner.url

    def create(self, name: str, parts: Sequence[bytes]) -> None:
        """See ``Store.create``."""
        self._inner.create(name, parts)

    def read(self, name: str, max_bytes: int = MAX_READ_BYTES) -> bytes:
        """See ``Store.read``."""
        return self._inner.read(name, max_bytes)

    def read_range(self, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        """See ``Store.read_range``."""
        return self._inner.read_range(name, offset_bytes, length_bytes)

    def size(self, name: str) -> int:
        """See ``Store.size``."""
        return self._inner.size(name)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See ``Store.list``."""
        return self._inner.list(prefix)

    def delete(self, name: str) -> None:
        """See ``Store.delete``."""
        self._inner.delete(name)

    def locked_until(self, name: str) -> datetime | None:
        """See ``Store.locked_until``."""
        return self._inner.locked_until(name)

    def sweep(self) -> int:
        """See ``Store.sweep``."""
        return self._inner.sweep()


class AppendOnlyStore(Around):
    """Refuses to delete: what everyday syncs need, and all that they should have."""

    def delete(self, name: str) -> None:
        """Refused."""
        raise StoreError(f"'{name}' was not deleted: these credentials can only add to {self.url}.")

    def sweep(self) -> int:
        """Left to somebody who may delete."""
        return 0


class ReadOnlyStore(AppendOnlyStore):
    """Refuses every change: for restores and drills."""

    def create(self, name: str, parts: Sequence[bytes]) -> None:
        """Refused."""
        count = sum(map(len, parts))
        raise StoreError(f"'{name}' ({count} bytes) was not written: {self.url} is open read-only.")


class LimitedStore(Around):
    """Moves no more than so many bytes a second, over all threads, in either direction."""

    def __init__(self, inner: Store, bytes_per_second: float, clock: Clock) -> None:
        super().__init__(inner)
        self._bytes_per_second = bytes_per_second
        self._clock = clock
        self._lock = Lock()
        self._free_at = clock.monotonic()

    def create(self, name: str, parts: Sequence[bytes]) -> None:
        """Wait for the bytes' turn, then pass on."""
        self._wait(sum(map(len, parts)))
        super().create(name, parts)

    def read(self, name: str, max_bytes: int = MAX_READ_BYTES) -> bytes:
        """Pass on, then wait until the next one's turn."""
        data = super().read(name, max_bytes)
        self._wait(len(data))
        return data

    def read_range(self, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        """Pass on, then wait until the next one's turn."""
        data = super().read_range(name, offset_bytes, length_bytes)
        self._wait(len(data))
        return data

    def _wait(self, count: int) -> None:
        with self._lock:
            now = self._clock.monotonic()
            begin = max(self._free_at, now)
            self._free_at = begin + count / self._bytes_per_second
        if self._free_at > now:
            self._clock.sleep(self._free_at - now)
