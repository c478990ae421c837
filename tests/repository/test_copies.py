"""The second copy: made of what it lacks."""

from __future__ import annotations

from datetime import timedelta

import pytest

from twinhull.repository import MemoryStore, Repository, copy_points

from . import copies
from .copies import TWO, filled
from .world import CHUNK, capture, content_of, document, noise, write_disk


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def first(store: MemoryStore) -> Repository:
    return filled(store)


def _contents(repository: Repository) -> dict[str, bytes]:
    return {point.id: content_of(repository, point) for point in repository.points()}


@pytest.mark.parametrize("chunk_size_bytes", [CHUNK, 4 * CHUNK, 16 * CHUNK])
def test_a_copy_holds_the_same_points(first: Repository, chunk_size_bytes: int) -> None:
    second = copies.second(chunk_size_bytes)
    assert [verdict.is_copied for verdict in copy_points(first, second)] == [True] * 3
    assert _contents(second) == _contents(first)
    assert [point.document.spec for point in second.points()] == [point.document.spec for point in first.points()]


def test_a_second_copying_copies_what_is_new(first: Repository) -> None:
    second = copies.second()
    copy_points(first, second)
    before = sum(info.size_bytes for info in second.store.list("pack-"))
    newest = capture(first, TWO + noise("three", CHUNK))
    verdicts = copy_points(first, second)
    assert [verdict.point_id for verdict in verdicts if verdict.is_copied] == [newest.id]
    assert _contents(second) == _contents(first)
    assert sum(info.size_bytes for info in second.store.list("pack-")) - before < 20 * CHUNK


def test_what_the_target_removed_or_has_otherwise_is_left_alone(first: Repository) -> None:
    second = copies.second()
    points = first.points()
    with second.writer() as writer:
        root = write_disk(writer, b"mine" * CHUNK)
        mine = writer.publish(document({"vda": root}, captured_at=points[0].captured_at + timedelta(1)))
    verdicts = copy_points(first, second)
    assert [verdict.is_copied for verdict in verdicts] == [False, True, True]
    assert "another point" in verdicts[0].reason
    assert content_of(second, mine) == b"mine" * CHUNK
    second.remove_point(points[1].id)
    assert "removed" in copy_points(first, second)[1].reason
