"""A repository of three points, and another one to copy it to or to mend it from."""

from __future__ import annotations

from twinhull.repository import MemoryStore, Repository

from .world import CHUNK, DATABASE, capture, made, noise, ports

ONE = noise("one", 90 * CHUNK) + bytes(6000 * CHUNK) + noise("end", CHUNK // 2)
TWO = ONE[: 10 * CHUNK] + noise("two", CHUNK) + ONE[11 * CHUNK :] + noise("grown", 2 * CHUNK)
OTHER = noise("other", 20 * CHUNK)


def filled(store: MemoryStore) -> Repository:
    """Two points of one machine, and one of another."""
    repository = made(store)
    point = capture(repository, ONE)
    capture(repository, TWO, (point, ONE))
    capture(repository, OTHER, machine_id=DATABASE)
    return repository


def second(chunk_size_bytes: int = CHUNK) -> Repository:
    """An empty one elsewhere, with keys of its own."""
    return made(MemoryStore(), ports(seed="second"), chunk_size_bytes)
