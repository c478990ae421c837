"""Stores with less than all rights, or less than all bandwidth."""

from __future__ import annotations

import pytest

from twinhull.repository import AppendOnlyStore, LimitedStore, MemoryStore, ReadOnlyStore, RetentionRules, StoreError

from .world import CHUNK, TurnedClock, capture, content_of, made, noise, opened, ports

ONE = noise("one", 20 * CHUNK)
TWO = ONE[: 5 * CHUNK] + noise("two", CHUNK) + ONE[6 * CHUNK :]


def test_who_may_only_add_can_do_everything_of_every_day() -> None:
    store = MemoryStore()
    made(store)
    repository = opened(AppendOnlyStore(store))
    first = capture(repository, ONE)
    second = capture(repository, TWO, (first, ONE))
    third = capture(repository, ONE, (second, TWO))
    assert repository.verify(read_data=True).is_good
    repository.hold_point(third.id, "evidence")
    repository.retain(first.machine_id, RetentionRules(keep_last=1, minimum_count=1))
    assert repository.points() == [third]
    assert content_of(repository, third) == ONE
    with pytest.raises(StoreError, match="can only add"):
        repository.collect(is_now=True)
    everything = opened(store)
    assert everything.collect(is_now=True).points_gone == (first.id, second.id)
    assert content_of(opened(store), third) == ONE


def test_who_may_only_read_can_restore_and_change_nothing() -> None:
    store = MemoryStore()
    point = capture(made(store), ONE)
    before = dict(store.objects)
    repository = opened(ReadOnlyStore(store))
    assert content_of(repository, point) == ONE
    report = repository.verify(read_data=True)
    assert report.is_good
    assert "could not be recorded" in report.reasons[0]
    with pytest.raises(StoreError, match="is open read-only"):
        capture(repository, TWO)
    with pytest.raises(StoreError, match="is open read-only"):
        repository.remove_point(point.id)
    assert store.objects == before


def test_a_limit_takes_the_time_that_it_must() -> None:
    clock = TurnedClock()
    store = MemoryStore()
    made(store)
    repository = opened(LimitedStore(store, 10_000, clock), ports(clock))
    began = clock.monotonic()
    point = capture(repository, ONE)
    took = clock.monotonic() - began
    assert len(ONE) / 10_000 <= took <= 1.2 * len(ONE) / 10_000
    began = clock.monotonic()
    assert content_of(repository, point) == ONE
    assert clock.monotonic() - began >= len(ONE) / 10_000
