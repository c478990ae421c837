"""The check of a store passes good ones and names what is wrong with the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from twinhull.repository import DirectoryStore, MemoryStore, ObjectInfo, Store, check_store, open_store

from .world import SeededRandomness


def _failing(store: Store) -> list[str]:
    return [finding.name for finding in check_store(store, SeededRandomness()) if not finding.holds]


def test_good_stores_hold_everything_and_keep_nothing(tmp_path: Path, s3_endpoint: str) -> None:
    for store in (
        MemoryStore(),
        DirectoryStore(tmp_path / "store"),
        open_store(f"s3://twinhull/{tmp_path.name}?endpoint={s3_endpoint}"),
    ):
        assert _failing(store) == []
        assert list(store.list("check-")) == []


class _Overwrites(MemoryStore):
    def create(self, name: str, parts: Sequence[bytes]) -> None:
        self.objects[name] = b"".join(parts)


class _ListsLate(MemoryStore):
    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        yield from list(super().list(prefix))[:-1]


class _Rounds(MemoryStore):
    """Answers every range with whole blocks of 512 bytes."""

    def read_range(self, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        return super().read_range(name, offset_bytes // 512 * 512, length_bytes)


def test_a_store_that_overwrites_is_found_out() -> None:
    assert _failing(_Overwrites()) == ["a name can be created only once", "one of many concurrent writers wins"]


def test_a_store_that_lists_late_is_found_out() -> None:
    assert "a new object is in the next listing" in _failing(_ListsLate())


def test_a_store_that_rounds_ranges_is_found_out() -> None:
    assert "any range can be read" in _failing(_Rounds())
