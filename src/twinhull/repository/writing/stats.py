"""What a writer has done so far, for progress, for the run's record and for the benchmark."""

from __future__ import annotations

from dataclasses import dataclass, fields
from threading import Lock
from typing import Any


@dataclass(frozen=True, slots=True)
class WriterStats:
    """Sums over one writer. The seconds are summed over its threads, so they may exceed the wall clock."""

    chunks_seen: int = 0
    """Chunks that were handed in as data."""
    chunks_zero: int = 0
    """Of these: all zeros, and therefore not stored."""
    chunks_known: int = 0
    """Of these: in the repository already, or handed in twice."""
    chunks_new: int = 0
    """Of these: stored by this writer."""
    nodes_new: int = 0
    """Tree nodes stored by this writer."""
    packs_stored: int = 0
    bytes_in: int = 0
    """Bytes handed in as data."""
    bytes_stored: int = 0
    """Bytes added to the store: packs, indexes and the point."""
    hash_seconds: float = 0.0
    lookup_seconds: float = 0.0
    compress_seconds: float = 0.0
    seal_seconds: float = 0.0
    store_seconds: float = 0.0
    publish_seconds: float = 0.0


class StatsCounter:
    """Adds up what several threads did."""

    def __init__(self) -> None:
        self._sums: dict[str, Any] = {field.name: field.default for field in fields(WriterStats)}
        self._lock = Lock()

    def add(self, **amounts: float) -> None:
        """Add to the sums of these names, which are those of ``WriterStats``."""
        with self._lock:
            for name, amount in amounts.items():
                self._sums[name] += amount

    @property
    def total(self) -> WriterStats:
        """The sums so far."""
        with self._lock:
            return WriterStats(**self._sums)
