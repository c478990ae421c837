"""Whatever is published after damage is known can be read back whole, or was refused, or says why it is not.

All kinds of damage, in data and in trees, however it became known, under everything that writes points.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from twinhull.repository import (
    ChunkLost,
    MemoryStore,
    ObjectInfo,
    Point,
    Repository,
    RepositoryError,
    RepositoryHealer,
    copy_points,
    repair,
)
from twinhull.repository.format.documents import Documents
from twinhull.repository.writing.trust import Damage

from .damage import DAMAGES, LEARNING, do_damage, flipped, packs_of
from .world import (
    CHUNK,
    DATABASE,
    SeededRandomness,
    TurnedClock,
    capture,
    content_of,
    document,
    made,
    noise,
    opened,
    ports,
)

OLD = noise("old", 300 * CHUNK)
"""More than one payload: a flipped bit loses the first, and spares the second."""
CHANGED = noise("changed", 3 * CHUNK) + OLD[3 * CHUNK :]

Published = list[tuple[Repository, Point, bytes]]
"""Where each new point is, and what it must hold."""


def _first_capture(repository: Repository, _: Point) -> Published:
    return [(repository, capture(repository, OLD, machine_id=DATABASE), OLD)]


def _increment(repository: Repository, base: Point) -> Published:
    """Only what differs is written, over a base that may need what is damaged."""
    return [(repository, capture(repository, CHANGED, (base, OLD)), CHANGED)]


def _copy_here(repository: Repository, _: Point) -> Published:
    other = made(MemoryStore())
    theirs = capture(other, OLD, machine_id=DATABASE)
    more = capture(other, CHANGED, (theirs, OLD), machine_id=DATABASE)
    verdicts = copy_points(other, repository)
    contents = {theirs.id: OLD, more.id: CHANGED}
    return [
        (repository, repository.point(verdict.point_id), contents[verdict.point_id])
        for verdict in verdicts
        if verdict.is_copied
    ]


def _copy_away(repository: Repository, _: Point) -> Published:
    other = made(MemoryStore())
    verdicts = copy_points(repository, other)
    assert all(verdict.is_copied or verdict.reason for verdict in verdicts)
    return [(other, other.point(verdict.point_id), OLD) for verdict in verdicts if verdict.is_copied]


def _repair(repository: Repository, point: Point) -> Published:
    """From a copy: what it calls repaired is whole."""
    other = made(MemoryStore())
    capture(other, OLD)
    report = repair(repository, [RepositoryHealer(other)])
    assert point.id not in report.lost
    return [(repository, repository.point(point.id), OLD)]


WRITING: dict[str, Callable[[Repository, Point], Published]] = {
    each.__name__.strip("_"): each for each in (_first_capture, _increment, _copy_here, _copy_away, _repair)
}


@pytest.mark.parametrize("writing", WRITING)
@pytest.mark.parametrize("learning", LEARNING)
@pytest.mark.parametrize("kind", ["data", "node"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_published_over_known_damage_is_whole_or_refused(
    damage: str, kind: str, learning: str, writing: str
) -> None:
    store = MemoryStore()
    point = capture(made(store), OLD)
    do_damage(store, damage, kind)
    repository = opened(store)
    LEARNING[learning](repository)
    if learning != "by a read":  # only that process knows of it
        repository = opened(store, seed="fresh")
    published: Published = []
    with suppress(RepositoryError):
        published = WRITING[writing](repository, point)
    if learning == "by the listing" and damage in ("flipped", "rotten"):
        return  # a listing does not show it
    for where, new, content in published:
        assert content_of(opened(where.store, seed="reader"), new) == content


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_first_capture_of_the_same_content_heals_every_older_point(damage: str) -> None:
    store = MemoryStore()
    point = capture(made(store), OLD)
    for kind in ("data", "node"):
        do_damage(store, damage, kind)
    opened(store).verify(read_data=True)
    new = capture(opened(store, seed="later"), OLD, machine_id=DATABASE)
    reading = opened(store, seed="reader")
    assert content_of(reading, new) == content_of(reading, point) == OLD
    assert opened(store).verify(read_data=True).lost_points == ()


def test_a_tree_that_needs_damage_is_refused_unless_the_gaps_are_written() -> None:
    store = MemoryStore()
    base = capture(made(store), OLD)
    flipped(store, packs_of(store, "data")[0])
    opened(store).verify(read_data=True)
    with pytest.raises(ChunkLost, match="would be incomplete"):
        capture(opened(store), CHANGED, (base, OLD))
    assert [point.id for point in opened(store).points()] == [base.id]
    repository = opened(store, seed="again")
    with repository.writer() as writer:
        root = base.document.disks[0].root
        disk = writer.disk(len(OLD), root)
        for gap in writer.gaps(root):
            disk.write(gap.offset_bytes, OLD[gap.offset_bytes : gap.end_bytes])
        new = writer.publish(document({"vda": disk.finish()}))
    reading = opened(store, seed="reader")
    assert content_of(reading, new) == content_of(reading, base) == OLD


@pytest.mark.parametrize("kind", ["data", "node"])
@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_what_the_listing_shows_is_known_at_once_in_the_same_process(damage: str, kind: str) -> None:
    store = MemoryStore()
    repository = made(store)
    point = capture(repository, OLD)
    do_damage(store, damage, kind)
    new = capture(repository, OLD, machine_id=DATABASE)
    reading = opened(store, seed="reader")
    assert content_of(reading, new) == content_of(reading, point) == OLD


def test_a_listing_that_takes_long_is_believed_for_longer() -> None:
    """Captures every few seconds spend a hundredth of their time on it."""
    clock, store = TurnedClock(), MemoryStore()
    repository = made(store, ports(clock))
    listings: list[str] = []
    documents = Documents(store, repository.keys, SeededRandomness())
    damage = Damage(documents, repository.index, clock, ())
    store_list = store.list

    def slow(prefix: str) -> Iterator[ObjectInfo]:
        if prefix == "pack-":
            listings.append(prefix)
            clock.pass_time(1.0)
        return store_list(prefix)

    store.list = slow  # type: ignore[method-assign] # a slow one
    for _ in range(505):
        damage.known()
        clock.pass_time(1.0)
    assert len(listings) == 6


def test_a_damaged_pack_goes_once_all_of_it_lies_elsewhere_and_no_good_copy_goes_for_it() -> None:
    """A collection counts the good copy as used, whichever comes first in the index."""
    for seed in range(4):
        clock, store = TurnedClock(), MemoryStore()
        point = capture(made(store, ports(clock, f"made {seed}")), OLD)
        damaged = packs_of(store, "data")
        flipped(store, damaged[0])
        repository = opened(store, ports(clock, f"opened {seed}"))
        repository.verify(read_data=True)
        new = capture(repository, OLD, machine_id=DATABASE)
        for _ in range(20):
            repository.collect()
            clock.pass_time(86_400)
        assert damaged[0] not in store.objects
        reading = opened(store, ports(clock, "reader"))
        assert content_of(reading, new) == content_of(reading, point) == OLD
        assert reading.verify(read_data=True).is_good


def test_no_gap_is_looked_for_while_nothing_is_damaged() -> None:
    store = MemoryStore()
    repository = made(store)
    base = capture(repository, OLD)
    reads = _Reads(store)
    looking = opened(reads)
    reads.names.clear()
    with looking.writer() as writer:
        assert writer.gaps(base.document.disks[0].root) == []
        assert not [name for name in reads.names if name.startswith("pack-")]


def test_a_walk_is_made_once_for_the_same_damage(monkeypatch: pytest.MonkeyPatch) -> None:
    """The captures after it look at their own few nodes only."""
    store = MemoryStore()
    repository = made(store)
    base = capture(repository, OLD)
    other = capture(repository, noise("other", 10 * CHUNK), machine_id=DATABASE)
    flipped(store, packs_of(store, "data")[-1])
    repository.verify(read_data=True)
    with repository.writer() as writer:
        assert writer.gaps(base.document.disks[0].root) == []
        assert writer.gaps(other.document.disks[0].root) != []
    with repository.writer() as writer:
        monkeypatch.setattr(writer, "load_node", lambda *_: pytest.fail("it was walked once more"))
        assert writer.gaps(base.document.disks[0].root) == []


class _Reads(MemoryStore):
    """Notes the names of what is read."""

    def __init__(self, inner: MemoryStore) -> None:
        super().__init__()
        self.objects = inner.objects
        self.names: list[str] = []

    def read_range(self, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        self.names.append(name)
        return super().read_range(name, offset_bytes, length_bytes)
