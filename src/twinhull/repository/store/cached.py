"""A store whose index objects and tree nodes are kept nearby, in a directory of this machine.

What is kept is what the store holds, sealed as it is there, so that the directory gives away no more than the store
does. It may be deleted at any time. Nothing of it is trusted: each file carries its checksum, and what it holds is
opened and checked as if it had come from the store. A cache that cannot be read or written is no cache, and no error.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from threading import Lock

from blake3 import blake3

from twinhull.model.units import GIB, KIB
from twinhull.repository.store.contract import MAX_READ_BYTES, Store
from twinhull.repository.store.wrappers import Around

MAX_CACHE_BYTES = GIB
"""How much the directory holds; what was not used for longest goes first."""
SPARED_SHARE = 0.75
"""How much of that is left when something had to go, so that it is not looked for at every write."""
LOOK_SHARE = 1 / 16
"""How much of that a process adds before it looks again what all of them have added."""
MAX_SMALL_RANGE_BYTES = 4 * KIB
"""Ranges no longer than this are kept: tree nodes and footers are read again, data chunks are not."""
BLOCK_BYTES = 64 * KIB
"""What is fetched for a small range: the nodes of one disk lie side by side."""
_INDEX = "index-"
_DIGEST_BYTES = 32


class CachedStore(Around):
    """Passes everything on, but reads what is asked for again from its directory. Safe for threads and processes."""

    def __init__(self, inner: Store, directory: Path, max_bytes: int = MAX_CACHE_BYTES) -> None:
        super().__init__(inner)
        self.directory = directory
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._unseen_bytes: int | None = None

    def read(self, name: str, max_bytes: int = MAX_READ_BYTES) -> bytes:
        """See ``Store.read``; index objects are kept."""
        if not name.startswith(_INDEX):
            return super().read(name, max_bytes)
        data = self._kept(name)
        if data is None:
            data = super().read(name, max_bytes)
            self._keep(name, data)
        return data

    def read_range(self, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        """See ``Store.read_range``; small ranges are kept, with what lies around them."""
        if length_bytes > MAX_SMALL_RANGE_BYTES:
            return super().read_range(name, offset_bytes, length_bytes)
        first, last = offset_bytes // BLOCK_BYTES, max(offset_bytes + length_bytes - 1, 0) // BLOCK_BYTES
        data = b"".join(self._block(name, number) for number in range(first, last + 1))
        start = offset_bytes - first * BLOCK_BYTES
        return data[start : start + length_bytes]

    def forget(self, name: str) -> bool:
        """Keep nothing more of an object; whether anything was kept."""
        kept = [path for path in (self.directory / name, *self.directory.glob(f"{name}.*")) if path.exists()]
        for path in kept:
            path.unlink(missing_ok=True)
        return bool(kept)

    def _block(self, name: str, number: int) -> bytes:
        key = f"{name}.{number}"
        data = self._kept(key)
        if data is None:
            data = super().read_range(name, number * BLOCK_BYTES, BLOCK_BYTES)
            self._keep(key, data)
        return data

    def _kept(self, key: str) -> bytes | None:
        path = self.directory / key
        try:
            content = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        data = content[_DIGEST_BYTES:]
        if content[:_DIGEST_BYTES] == _digest(key, data):
            return data
        with suppress(OSError):
            path.unlink()
        return None

    def _keep(self, key: str, data: bytes) -> None:
        with suppress(OSError), self._lock:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = self.directory / f".{key}.{os.getpid()}"
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(_digest(key, data) + data)
                fresh.replace(self.directory / key)
            finally:
                fresh.unlink(missing_ok=True)
            self._make_room(_DIGEST_BYTES + len(data))

    def _make_room(self, added_bytes: int) -> None:
        if self._unseen_bytes is not None and self._unseen_bytes + added_bytes < self._max_bytes * LOOK_SHARE:
            self._unseen_bytes += added_bytes
            return
        self._unseen_bytes = 0
        kept = [(entry.stat(), entry.path) for entry in os.scandir(self.directory)]
        excess = sum(status.st_size for status, _ in kept) - self._max_bytes
        if excess > 0:
            excess += int(self._max_bytes * (1 - SPARED_SHARE))
        for status, path in sorted(kept, key=lambda each: each[0].st_mtime_ns):
            if excess <= 0:
                return
            Path(path).unlink(missing_ok=True)
            excess -= status.st_size


def is_worth_another_read(store: Store, name: str) -> bool:
    """After an object was read that is not what was written: whether that may have been the cache's fault alone.

    What once came damaged, by a bad line or bad memory, must not stay damaged for as long as it is kept.
    """
    return isinstance(store, CachedStore) and store.forget(name)


def _digest(key: str, data: bytes) -> bytes:
    return blake3(key.encode() + b"\0" + data).digest()
