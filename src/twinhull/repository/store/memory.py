"""A store in memory: for tests, simulation, and trying things out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from threading import Lock

from twinhull.repository.errors import ObjectExists, ObjectMissing
from twinhull.repository.store.contract import MAX_READ_BYTES, ObjectInfo, check_size, checked_name, found_name


class MemoryStore:
    """Objects in a dict; gone with the process."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.locks: dict[str, datetime] = {}
        """Object locks, for tests."""
        self._lock = Lock()

    @property
    def url(self) -> str:
        """Nothing that another process could open."""
        return "memory:"

    def create(self, name: str, parts: Sequence[bytes]) -> None:
        """See ``Store.create``."""
        data = b"".join(parts)
        with self._lock:
            if checked_name(name) in self.objects:
                raise ObjectExists(f"The object '{name}' exists already.")
            self.objects[name] = data

    def read(self, name: str, max_bytes: int = MAX_READ_BYTES) -> bytes:
        """See ``Store.read``."""
        data = self._held(name)
        check_size(name, len(data), max_bytes)
        return data

    def read_range(self, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        """See ``Store.read_range``."""
        return self._held(name)[offset_bytes : offset_bytes + length_bytes]

    def size(self, name: str) -> int:
        """See ``Store.size``."""
        return len(self._held(name))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See ``Store.list``."""
        with self._lock:
            found = [ObjectInfo(name, len(data)) for name, data in self.objects.items() if name.startswith(prefix)]
        yield from sorted(found, key=lambda info: info.name)

    def delete(self, name: str) -> None:
        """See ``Store.delete``."""
        with self._lock:
            self.objects.pop(name, None)

    def locked_until(self, name: str) -> datetime | None:
        """See ``Store.locked_until``."""
        return self.locks.get(name)

    def sweep(self) -> int:
        """See ``Store.sweep``: nothing is ever half-created here."""
        return 0

    def _held(self, name: str) -> bytes:
        try:
            return self.objects[found_name(name)]
        except KeyError:
            raise ObjectMissing(f"There is no object '{name}'.") from None
