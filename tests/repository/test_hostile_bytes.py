"""Bytes that are not what was written: never wrong content, never a surprise, and verify names the damage."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twinhull.model.errors import TwinhullError
from twinhull.repository import MemoryStore, Repository, RepositoryDamaged, RepositoryError
from twinhull.repository.format.compression import PLAIN, ZSTD, decode, encode
from twinhull.repository.format.index_table import IndexTable
from twinhull.repository.format.points import decode_point
from twinhull.repository.format.tree import decode_node

from .world import CHEAP, CHUNK, DATABASE, PASSPHRASE, capture, content_of, made, opened, ports

STRIDE = 1 if os.environ.get("TWINHULL_EXHAUSTIVE") else 13
"""Every how manyth bit is flipped: an odd number, so that every bit of a byte has its turn."""

DISK = b"".join(bytes([letter]) * CHUNK for letter in b"abc") + bytes(70 * CHUNK) + b"z"


@pytest.fixture(scope="module")
def good() -> dict[str, bytes]:
    store = MemoryStore()
    repository = made(store)
    capture(repository, DISK)
    repository.rotate_keys(PASSPHRASE, PASSPHRASE, CHEAP)
    repository.hold_point(capture(repository, DISK, machine_id=DATABASE).id, "evidence")
    repository.remove_point(capture(repository, DISK[:CHUNK]).id)
    assert repository.verify(read_data=True).is_good
    return {name: data for name, data in store.objects.items() if not name.startswith("verification-")}


def _check_damaged(good: dict[str, bytes], name: str, damaged: bytes) -> None:
    store = MemoryStore()
    store.objects = {**good, name: damaged}
    try:
        repository = _reopened(good, store, name)
    except RepositoryError:
        assert name == "config" or name.startswith("key-")
        return
    report = repository.verify(read_data=True)
    named = {finding.object_name for finding in report.findings}
    assert name in named or f"point-{'-'.join(named)}".replace("/", "-").startswith(name), (name, named)
    told: list[object] = []
    for point in repository.points(on_damage=lambda point_id, _: told.append(point_id)):
        try:
            assert content_of(repository, point) in (DISK, DISK[:CHUNK])
        except RepositoryDamaged:
            assert point.id in report.lost_points
    assert len(told) == (1 if name.startswith("point-") and not name.endswith("2") else 0)


def _reopened(good: dict[str, bytes], store: MemoryStore, name: str) -> Repository:
    """Opening costs a passphrase's stretching, so it is done only where it can make a difference."""
    if name == "config" or name.startswith("key-"):
        return opened(store)
    intact = MemoryStore()
    intact.objects = good
    known = _Opened.of(intact)
    return Repository(store, known.config, known.keys, ports())


class _Opened:
    _once: Repository | None = None

    @classmethod
    def of(cls, store: MemoryStore) -> Repository:
        cls._once = cls._once or opened(store)
        return cls._once


def test_no_flipped_bit_goes_unseen(good: dict[str, bytes]) -> None:
    for name, data in good.items():
        for bit in range(0, 8 * len(data), STRIDE):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << (bit % 8)
            _check_damaged(good, name, bytes(flipped))


def test_no_truncation_goes_unseen(good: dict[str, bytes]) -> None:
    for name, data in good.items():
        for length in range(0, len(data), max(STRIDE // 4, 1)):
            _check_damaged(good, name, data[:length])


def test_nothing_may_be_appended(good: dict[str, bytes]) -> None:
    for name, data in good.items():
        _check_damaged(good, name, data + b"\0")


def test_objects_cannot_be_swapped(good: dict[str, bytes]) -> None:
    names = [name for name in good if "-" in name and not name.startswith("key-")]
    for name in names:
        for other in names:
            if name != other:
                _check_damaged(good, name, good[other])


def _only_the_documented(decode_it: Callable[[], object]) -> None:
    try:
        decode_it()
    except (RepositoryDamaged, ValueError) as error:
        assert isinstance(error, RepositoryDamaged | ValueError)  # noqa: PT017 - and no other class came out


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=4,
)
MEMBERS = ("machine_id", "sequence", "captured_at", "consistency", "source_site", "epoch", "notes", "spec", "disks")


@settings(max_examples=200, deadline=None)
@given(st.binary())
def test_decoders_of_any_bytes_give_documented_errors(data: bytes) -> None:
    _only_the_documented(lambda: decode_point(data, "point"))
    _only_the_documented(lambda: decode_node(data, 0))
    _only_the_documented(lambda: IndexTable("index", data))
    _only_the_documented(lambda: decode(data, CHUNK))
    _only_the_documented(lambda: decode(ZSTD + data, CHUNK))


@settings(max_examples=60, deadline=None)
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(MEMBERS, JSON)))
def test_points_of_any_json_give_documented_errors(raw: dict[str, object]) -> None:
    _only_the_documented(lambda: decode_point(json.dumps(raw).encode(), "point"))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 2**32 - 1), min_size=4, max_size=4), st.binary(max_size=200))
def test_index_counts_of_any_size_allocate_nothing(counts: list[int], rest: bytes) -> None:
    head = b"".join(count.to_bytes(4, "little") for count in counts)
    _only_the_documented(lambda: IndexTable("index", head + rest))


def test_a_small_frame_of_a_huge_chunk_is_refused_before_it_is_unpacked() -> None:
    bomb = encode(bytes(64 * 2**20), 1)
    assert len(bomb) < CHUNK
    with pytest.raises(ValueError, match="too large"):
        decode(bomb, CHUNK)
    with pytest.raises(ValueError, match="too large"):
        decode(PLAIN + bytes(CHUNK + 1), CHUNK)


def test_deeply_nested_json_is_damage_and_no_crash() -> None:
    with pytest.raises(RepositoryDamaged):
        decode_point(b"[" * 100_000 + b"]" * 100_000, "point")
    assert issubclass(RepositoryDamaged, TwinhullError)
