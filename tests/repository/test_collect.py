"""Space comes back, and nothing that anybody needs goes with it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from twinhull.model.errors import NotFound, SafetyError
from twinhull.repository import (
    CachedStore,
    MemoryStore,
    Point,
    Repository,
    RepositoryDamaged,
    StoreFull,
    WriterOverdue,
    repair,
)
from twinhull.repository.format import packs
from twinhull.repository.format.collection_state import GRACE_SECONDS, latest_state
from twinhull.repository.format.documents import Documents
from twinhull.repository.format.envelope import ObjectKind, seal
from twinhull.repository.format.ids import PackId
from twinhull.repository.format.tree import Shape
from twinhull.repository.reading.lanes import Lanes
from twinhull.repository.store.contract import MAX_READ_BYTES
from twinhull.repository.upkeep import compaction
from twinhull.repository.upkeep.marking import Marks, mark_disks

from .misbehaving import FailingStore
from .world import (
    CHUNK,
    DATABASE,
    PASSPHRASE,
    WEB,
    SeededRandomness,
    TurnedClock,
    capture,
    content_of,
    document,
    made,
    noise,
    opened,
    ports,
    write_disk,
)

DAY = 86_400.0
OLD = noise("old", 40 * CHUNK)
NEW = noise("new", 40 * CHUNK)


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def repository(store: MemoryStore, clock: TurnedClock) -> Repository:
    return made(store, ports(clock))


def _stored_bytes(store: MemoryStore) -> int:
    return sum(info.size_bytes for info in store.list("pack-"))


def _collect_daily(repository: Repository, clock: TurnedClock, days: int) -> list[float]:
    freed: list[float] = []
    for _ in range(days):
        freed.append(repository.collect().bytes_freed)
        clock.pass_time(DAY)
    return freed


def test_a_dry_run_tells_what_the_run_does_then_and_writes_nothing(
    store: MemoryStore, repository: Repository, clock: TurnedClock
) -> None:
    base = capture(repository, OLD)
    mixed = capture(repository, OLD[: 10 * CHUNK] + noise("gone soon", 30 * CHUNK))
    kept = capture(repository, noise("other", 9 * CHUNK) + OLD[9 * CHUNK : 12 * CHUNK])
    repository.remove_point(mixed.id)
    told = []
    for day in range(20):
        if day == 3:
            repository.remove_point(base.id)
        before = dict(store.objects)
        told.append(repository.collect(is_dry_run=True))
        assert store.objects == before
        assert repository.collect() == told[-1]
        clock.pass_time(DAY)
    assert "1 removed points can still be taken back; the first can be freed in 7 d 0 h." in told[0].reasons
    assert "2 removed points can still be taken back; the first can be freed in 3 d 0 h." in told[4].reasons
    assert [point_id for report in told for point_id in report.points_gone] == [mixed.id, base.id]
    assert sum(report.packs_copied for report in told) > 0
    assert sum(report.bytes_freed for report in told) > 60 * CHUNK
    assert told[-1].reasons == ()
    assert repository.points() == [kept]


def test_a_point_that_is_held_and_removed_at_one_moment_stays(
    store: MemoryStore, repository: Repository, clock: TurnedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    point = capture(repository, OLD)
    create = store.create

    def remove_first(name: str, parts: Sequence[bytes]) -> None:
        monkeypatch.undo()
        repository.remove_point(point.id)
        create(name, parts)

    monkeypatch.setattr(store, "create", remove_first)
    with pytest.raises(NotFound, match="removed"):
        repository.hold_point(point.id, "evidence")
    assert _collect_daily(repository, clock, 40) == [0] * 40
    assert content_of(repository, repository.restore_point(point.id)) == OLD
    repository.release_point(point.id)
    repository.remove_point(point.id)
    assert sum(_collect_daily(repository, clock, 40)) > 0


def test_what_is_used_stays(store: MemoryStore, repository: Repository, clock: TurnedClock) -> None:
    points = {capture(repository, content).id: content for content in (OLD, NEW)}
    before = _stored_bytes(store)
    assert _collect_daily(repository, clock, 40) == [0] * 40
    assert _stored_bytes(store) == before
    assert {point.id: content_of(repository, point) for point in repository.points()} == points


def test_a_removal_waits_and_then_its_space_waits_and_then_it_comes_back(
    store: MemoryStore, repository: Repository, clock: TurnedClock
) -> None:
    kept = capture(repository, NEW)
    before = _stored_bytes(store)
    point = capture(repository, OLD)
    repository.remove_point(point.id)
    freed = _collect_daily(repository, clock, 8)
    assert freed == [0] * 8
    assert repository.removed_points() == []
    with pytest.raises(NotFound):
        repository.restore_point(point.id)
    assert _collect_daily(repository, clock, 7)[:-1] == [0] * 6
    assert _stored_bytes(store) == before
    assert repository.points() == [kept]
    assert opened(store, ports(clock)).verify(read_data=True).is_good
    assert capture(repository, OLD).sequence == 3


def test_a_damaged_removal_names_the_way_out_and_leaves_the_point(store: MemoryStore, repository: Repository) -> None:
    point = capture(repository, OLD)
    repository.remove_point(point.id)
    (name,) = (info.name for info in store.list("removal-"))
    store.objects[name] = store.objects[name][:-1] + b"?"
    report = repository.collect(is_now=True)
    assert report.points_gone == ()
    (removal,) = repository.removed_points()
    assert "not what was written" in removal.reason
    assert f"points take-back {point.id}" in removal.reason
    assert content_of(repository, repository.restore_point(point.id)) == OLD
    repository.remove_point(point.id)
    repository.collect()
    assert [removal.point_id for removal in repository.removed_points()] == [point.id]


def test_a_removal_can_be_taken_back_until_the_last_day(repository: Repository, clock: TurnedClock) -> None:
    point = capture(repository, OLD)
    repository.remove_point(point.id)
    _collect_daily(repository, clock, 7)
    repository.restore_point(point.id)
    _collect_daily(repository, clock, 30)
    assert content_of(repository, point) == OLD


def test_a_point_that_is_removed_once_more_waits_for_the_whole_grace_again(
    repository: Repository, clock: TurnedClock
) -> None:
    point = capture(repository, OLD)
    repository.remove_point(point.id)
    _collect_daily(repository, clock, 6)
    repository.restore_point(point.id)
    repository.remove_point(point.id)
    _collect_daily(repository, clock, 7)
    assert repository.restore_point(point.id) == point
    repository.remove_point(point.id)
    _collect_daily(repository, clock, 8)
    assert repository.removed_points() == []


def test_alone_the_space_comes_back_at_once(store: MemoryStore, repository: Repository) -> None:
    repository.remove_point(capture(repository, OLD).id)
    report = repository.collect(is_now=True)
    assert report.bytes_freed > len(OLD)
    assert list(store.list("pack-")) == []
    assert list(store.list("index-")) == []
    plain = f"removal-{WEB}-00000001"
    assert sorted(name.startswith(plain) for name in store.objects if name.startswith("removal-")) == [True, True]
    assert plain in store.objects, "an older version gives that number to no other point"


class _Full(FailingStore[MemoryStore]):
    """Takes no pack and no index object until a pack has gone."""

    def create(self, name: str, parts: Sequence[bytes]) -> None:
        if name.startswith(("pack-", "index-")) and not self.count:
            raise StoreFull("No space left on device.")
        self.inner.create(name, parts)

    def delete(self, name: str) -> None:
        self.count += name.startswith("pack-")
        self.inner.delete(name)


def test_where_there_is_no_room_packs_go_before_the_index_is_rewritten(store: MemoryStore) -> None:
    repository = made(store)
    removed = capture(repository, OLD)
    mixed = capture(repository, OLD[: 10 * CHUNK] + NEW)
    repository.remove_point(removed.id)
    gone_whole = capture(repository, noise("gone", 20 * CHUNK), machine_id=DATABASE)
    repository.remove_point(gone_whole.id)
    report = opened(_Full(store), seed="full").collect(is_now=True)
    assert report.bytes_freed > 20 * CHUNK
    assert any("no room to copy" in reason for reason in report.reasons)
    later = opened(store, seed="later")
    assert later.verify(read_data=True).is_good
    assert content_of(later, mixed) == OLD[: 10 * CHUNK] + NEW
    assert later.collect(is_now=True).packs_copied > 0, "there is room now"


def test_an_older_run_deletes_what_has_waited_for_the_grace(store: MemoryStore, repository: Repository) -> None:
    """Its decision does not list that."""
    pack, young = PackId(b"p" * 32), PackId(b"y" * 32)
    name, salt = "collection-00000007", b"s" * 32
    packs = {pack.hex(): GRACE_SECONDS, young.hex(): GRACE_SECONDS - 1}
    content = {"observed_at": "2026-11-21T12:00:00+00:00", "removals": {}, "final": [], "packs": packs}
    store.create(name, [seal(repository.keys, ObjectKind.COLLECTION, name, salt, json.dumps(content).encode())])
    state = latest_state(Documents(store, repository.keys, SeededRandomness()))
    assert state
    assert state.expired == {pack}


@pytest.mark.parametrize("collecting", ["daily", "at once"])
@pytest.mark.parametrize("is_needed_elsewhere", [True, False])
def test_a_writer_that_was_suspended_for_weeks_makes_a_whole_point_or_none(
    store: MemoryStore,
    repository: Repository,
    clock: TurnedClock,
    collecting: str,
    *,
    is_needed_elsewhere: bool,
) -> None:
    """Its monotonic clock stood still, and what it counted on is collected."""
    first = capture(repository, OLD)
    capture(repository, NEW)
    asleep = TurnedClock()
    with opened(store, ports(asleep), seed="asleep").writer() as writer:
        root = write_disk(writer, OLD)
        if is_needed_elsewhere:
            capture(repository, OLD[: 10 * CHUNK], machine_id=DATABASE)
        repository.remove_point(first.id)
        if collecting == "at once":
            repository.collect(is_now=True)
        else:
            _collect_daily(repository, clock, 20)
        asleep.jump(20 * DAY)
        with pytest.raises(WriterOverdue, match="A collection deleted"):
            writer.publish(document({"vda": root}))
    later = opened(store, seed="later")
    assert content_of(later, capture(later, OLD)) == OLD
    assert later.verify(read_data=True).is_good


def test_a_capture_beside_daily_collections_stores_nothing_twice(
    store: MemoryStore, repository: Repository, clock: TurnedClock
) -> None:
    """What it has stored is in no point yet, and is condemned; it stays long enough."""
    with opened(store, ports(clock), seed="writer").writer() as writer:
        root = write_disk(writer, OLD)
        writer.flush()
        _collect_daily(repository, clock, 2)
        before = writer.stats
        point = writer.publish(document({"vda": root}))
        assert writer.stats.packs_stored == before.packs_stored
    _collect_daily(repository, clock, 20)
    assert content_of(opened(store), point) == OLD


@pytest.mark.parametrize("leap", [3652 * DAY, -3652 * DAY])
def test_a_leap_between_two_runs_counts_as_a_day_at_most(
    store: MemoryStore, repository: Repository, clock: TurnedClock, leap: float
) -> None:
    repository.remove_point(capture(repository, OLD).id)
    repository.collect()
    clock.jump(leap)
    _collect_daily(repository, clock, 6)
    assert repository.removed_points()
    assert _stored_bytes(store) > len(OLD)


def test_one_run_credits_a_seventh_of_the_grace_so_that_three_leaps_undercut_no_writer(
    store: MemoryStore, repository: Repository, clock: TurnedClock
) -> None:
    """The clock leaps three times while a writer is at work that counts on what was condemned after it had begun."""
    repository.remove_point(capture(repository, OLD).id)
    _collect_daily(repository, clock, 7)
    with opened(store, ports(clock, "writer")).writer() as writer:
        assert "wait (" in repository.collect().reasons[-1], "condemned, with no time credited yet"
        root = write_disk(writer, OLD)
        for days in range(6, 3, -1):
            clock.jump(3652 * DAY)
            assert f"the first can be freed in {days} d 0 h" in repository.collect().reasons[-1]
        for left in ("3 d 0 h", "2 d 0 h", "24 h 0 min"):
            clock.pass_time(DAY)
            assert f"the first can be freed in {left}" in repository.collect().reasons[-1]
        point = writer.publish(document({"vda": root}, DATABASE))
    _collect_daily(repository, clock, 30)
    assert content_of(opened(store, ports(clock, "later")), point) == OLD


def test_a_run_that_sees_the_clock_jump_removes_nothing(store: MemoryStore, repository: Repository) -> None:
    clock = TurnedClock()

    class JumpsWhileReading(FailingStore[MemoryStore]):
        def read(self, name: str, max_bytes: int = MAX_READ_BYTES) -> bytes:
            if name.startswith("point-"):
                clock.jump(3652 * DAY)
            return super().read(name, max_bytes)

    capture(repository, NEW)
    repository.remove_point(capture(repository, OLD).id)
    jumping = opened(JumpsWhileReading(store), ports(clock))
    report = jumping.collect(is_now=True)
    assert report.reasons == ("The clock jumped during this run, so nothing was removed.",)
    assert opened(store).removed_points()
    assert _stored_bytes(store) > len(OLD) + len(NEW)


def _condemn(repository: Repository, clock: TurnedClock) -> Point:
    """A point is gone for good, its packs have just been condemned."""
    point = capture(repository, OLD)
    repository.remove_point(point.id)
    _collect_daily(repository, clock, 8)
    return point


def test_a_writer_that_began_before_the_condemnation_wins(
    store: MemoryStore, repository: Repository, clock: TurnedClock
) -> None:
    repository.remove_point(capture(repository, OLD).id)
    _collect_daily(repository, clock, 7)
    other = opened(store, ports(clock, "other"))
    with other.writer() as writer:
        repository.collect()  # now the removal is final, and the packs are condemned
        assert repository.collect().packs_waiting > 0
        root = write_disk(writer, OLD)
        assert writer.stats.chunks_known == 40
        clock.pass_time(2.9 * DAY)
        repository.collect()
        point = writer.publish(document({"vda": root}, DATABASE))
    _collect_daily(repository, clock, 30)
    assert content_of(opened(store, ports(clock, "later")), point) == OLD


def test_a_writer_that_began_later_does_not_build_on_the_condemned(
    store: MemoryStore, repository: Repository, clock: TurnedClock
) -> None:
    _condemn(repository, clock)
    point = capture(repository, OLD, machine_id=DATABASE)
    _collect_daily(repository, clock, 30)
    assert content_of(opened(store, ports(clock, "later")), point) == OLD
    assert _stored_bytes(store) < 2 * len(OLD)


def test_a_writer_with_an_unreadable_collection_builds_on_nothing(
    store: MemoryStore, repository: Repository, clock: TurnedClock
) -> None:
    capture(repository, OLD)
    repository.collect()
    whole = store.objects["collection-00000001"]
    store.objects["collection-00000001"] = whole[:-1] + b"?"
    with repository.writer() as writer:
        write_disk(writer, OLD)
        assert writer.stats.chunks_known == 0
    repository.collect()
    with repository.writer() as writer:
        write_disk(writer, OLD)
        assert writer.stats.chunks_known == 40


def test_what_a_crashed_writer_left_comes_back(store: MemoryStore, repository: Repository, clock: TurnedClock) -> None:
    point = capture(repository, NEW)
    before = _stored_bytes(store)
    with repository.writer() as writer:
        write_disk(writer, OLD)
        writer._packer.flush()
    for info in list(store.list("index-"))[1:]:
        store.delete(info.name)
    assert _stored_bytes(store) > before
    _collect_daily(opened(store, ports(clock, "collector")), clock, 9)
    assert _stored_bytes(store) == before
    assert content_of(opened(store), point) == NEW


def test_mostly_unused_packs_are_emptied(store: MemoryStore, repository: Repository, clock: TurnedClock) -> None:
    first = capture(repository, OLD)
    second = capture(repository, OLD[: 4 * CHUNK] + NEW, (first, OLD))
    repository.remove_point(first.id)
    reports = []
    for _ in range(25):
        reports.append(repository.collect())
        clock.pass_time(DAY)
    assert sum(report.packs_copied for report in reports) > 0
    assert _stored_bytes(store) < 46 * CHUNK
    later = opened(store, ports(clock, "later"))
    assert content_of(later, second) == OLD[: 4 * CHUNK] + NEW
    assert later.verify(read_data=True).is_good


def test_small_packs_and_index_objects_are_put_together(
    store: MemoryStore, repository: Repository, clock: TurnedClock
) -> None:
    points = [capture(repository, noise(number, 2 * CHUNK)) for number in range(40)]
    assert len(list(store.list("pack-"))) == 80
    _collect_daily(repository, clock, 10)
    assert len(list(store.list("pack-"))) == 2
    assert len(list(store.list("index-"))) <= 2
    later = opened(store, ports(clock, "later"))
    assert [content_of(later, point) for point in points] == [noise(number, 2 * CHUNK) for number in range(40)]


def test_a_reader_finds_what_was_moved_away_under_it(
    store: MemoryStore, repository: Repository, clock: TurnedClock
) -> None:
    points = [capture(repository, noise(number, 2 * CHUNK)) for number in range(40)]
    reader = opened(store, ports(clock, "reader"))
    _collect_daily(repository, clock, 10)
    assert [content_of(reader, point) for point in points] == [noise(number, 2 * CHUNK) for number in range(40)]


@pytest.mark.parametrize("kind", ["point-", "pack-"])
def test_where_it_is_not_known_what_is_used_nothing_goes(store: MemoryStore, repository: Repository, kind: str) -> None:
    repository.remove_point(capture(repository, OLD).id)
    capture(repository, NEW, machine_id=DATABASE)
    for info in list(store.list(kind)):
        if info.size_bytes < len(OLD):  # points, or the packs that hold the trees
            store.objects[info.name] = store.objects[info.name][:-1] + b"?"
    if kind == "pack-":
        for info in list(store.list("index-")):
            store.delete(info.name)
    count = len(store.objects)
    with pytest.raises(RepositoryDamaged):
        opened(store).collect(is_now=True)
    assert len(store.objects) == count


def test_a_damaged_point_can_be_removed(store: MemoryStore, repository: Repository) -> None:
    point = capture(repository, OLD)
    store.objects[f"point-{WEB}-00000001"] = b"rotten"
    repository.remove_point(point.id)
    assert repository.collect(is_now=True).points_gone == (point.id,)
    assert _stored_bytes(store) == 0


def test_of_two_collections_at_once_one_gives_way(store: MemoryStore, repository: Repository) -> None:
    repository.remove_point(capture(repository, OLD).id)

    class Overtaken(FailingStore[MemoryStore]):
        def create(self, name: str, parts: object) -> None:
            if name.startswith("collection-") and name not in self.inner.objects:
                assert repository.collect(is_now=True).bytes_freed > 0
            super().create(name, parts)  # type: ignore[arg-type] # passed on

    slow = opened(Overtaken(store), seed="slow")
    assert slow.collect(is_now=True).reasons[0].startswith("Another collection was faster")


def test_an_undo_that_meets_a_collection_is_never_lost_silently(store: MemoryStore, repository: Repository) -> None:
    """The removal is taken back at every step of the collection that carries it out."""
    point = capture(repository, OLD)
    repository.remove_point(point.id)
    objects = dict(store.objects)
    outcomes = set()
    for step in range(6):
        store.objects = dict(objects)
        outcome: list[str] = []
        interrupted = _UndoneAt(store, step, lambda done=outcome: done.append(_undo(store, point)))  # type: ignore[misc]
        opened(interrupted, seed="collector").collect(is_now=True)
        is_there = point.id in [found.id for found in opened(store).points()]
        if outcome == ["taken back"]:
            assert is_there
        outcomes.add((*outcome, is_there))
    assert ("taken back", True) in outcomes
    assert ("too late", False) in outcomes


class _UndoneAt(FailingStore[MemoryStore]):
    def __init__(self, inner: MemoryStore, at: int, undo: Callable[[], None]) -> None:
        super().__init__(inner)
        self._step, self._undo = at, undo

    def _change(self, change: Callable[[], None]) -> None:
        if self.count == self._step:
            self._undo()
        super()._change(change)


def _undo(store: MemoryStore, point: Point) -> str:
    try:
        opened(store, seed="undo").restore_point(point.id)
    except (SafetyError, NotFound):
        return "too late"
    return "taken back"


def test_packs_full_of_tiny_chunks_are_not_copied_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "MAX_PACK_CHUNKS", 16)
    monkeypatch.setattr(compaction, "SMALL_PACK_CHUNKS", 4)
    repository = made(MemoryStore())
    content = b"".join(f"{number}".encode().ljust(CHUNK, b".") for number in range(40 * 16))
    point = capture(repository, content)
    assert repository.collect(is_now=True).packs_copied == 0
    assert content_of(repository, point) == content


def test_a_run_copies_no_more_chunks_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "MAX_COPIED_CHUNKS", 50)
    repository = made(MemoryStore())
    points = [capture(repository, noise(number, 2 * CHUNK)) for number in range(60)]
    copied = [repository.collect(is_now=True).packs_copied for _ in range(2)]
    assert 0 < copied[0] <= 50
    assert [content_of(repository, point) for point in points] == [noise(number, 2 * CHUNK) for number in range(60)]


def test_many_captures_own_tables_become_few_lanes() -> None:
    repository = made(MemoryStore())
    for number in range(20):
        capture(repository, noise(number, 3 * CHUNK))
    assert len(Lanes.of(repository.index.stored_tables()).lanes) > compaction.MAX_LANES
    repository.collect(is_now=True)
    assert len(Lanes.of(repository.index.stored_tables()).lanes) <= compaction.MAX_LANES
    assert repository.verify(read_data=True).is_good


def test_a_misnamed_collection_hinders_nobody() -> None:
    store = MemoryStore()
    repository = made(store)
    repository.remove_point(capture(repository, OLD).id)
    store.objects["collection-ff"] = b"what is this"
    assert repository.collect(is_now=True).bytes_freed > 0
    assert opened(store).collect(is_now=True).packs_deleted == 0
    assert sorted(name for name in store.objects if name.startswith("collection-")) == [
        "collection-00000002",
        "collection-ff",
    ]
    assert [finding.object_name for finding in repository.verify().findings] == ["collection-ff"]


def test_a_pack_that_nobody_can_read_waits_for_the_grace_and_goes(clock: TurnedClock) -> None:
    store = MemoryStore()
    repository = made(store, ports(clock))
    point = capture(repository, OLD)
    stray, misnamed = f"pack-{'ab' * 32}", "pack-abc"
    store.objects |= {stray: b"half a pack of a machine that broke", misnamed: b"what is this"}
    for _ in range(7):
        assert repository.collect().packs_deleted == 0
        clock.pass_time(DAY)
    assert stray in store.objects
    assert repository.collect().packs_deleted == 1
    assert stray not in store.objects
    assert [finding.object_name for finding in repository.verify(read_data=True).findings] == [misnamed]
    assert content_of(opened(store), point) == OLD


def test_the_last_good_copy_of_a_chunk_is_not_collected(store: MemoryStore) -> None:
    """Two writers have stored the same; the copy that counts rots, the one that was to go stays until a repair."""
    point = _stored_twice_and_rotten_where_it_counts(store)
    report = opened(store).collect(is_now=True)
    assert "last good copy" in report.reasons[-1]
    assert content_of(opened(store), point) == OLD
    repair(opened(store, seed="repair"))
    assert opened(store).collect(is_now=True).packs_deleted == 2, "the repair does not rely on them"
    assert opened(store).collect(is_now=True).reasons == ()
    assert opened(store).verify(read_data=True).is_good
    assert content_of(opened(store), point) == OLD


def test_a_cache_does_not_vouch_for_what_the_store_holds(store: MemoryStore, tmp_path: Path) -> None:
    def near() -> Repository:
        return Repository.open(store, PASSPHRASE, ports=ports(seed="near"), near=CachedStore(store, tmp_path))

    def fill_the_cache() -> None:
        (point,) = near().points()[:1]
        list(near().diff(None, point.document.disks[0].root))

    point = _stored_twice_and_rotten_where_it_counts(store, fill_the_cache)
    report = near().collect(is_now=True)
    assert "2 packs stay, because they hold the last good copy" in report.reasons[-1]
    assert content_of(opened(store), point) == OLD


def _stored_twice_and_rotten_where_it_counts(store: MemoryStore, before_it_rots: Callable[[], object] = int) -> Point:
    made(store)
    left, right = opened(store, seed="left"), opened(store, seed="right")
    with left.writer() as one, right.writer() as other:
        for writer in (one, other):
            root = write_disk(writer, OLD)
            point = writer.publish(document({"vda": root}))
    assert len(list(store.list("pack-"))) == 4
    repository = opened(store)
    marks = Marks(repository.index)
    mark_disks(repository.chunks, marks, [(root, Shape(root.size_bytes, CHUNK))], lambda *_: None)
    chosen = {place.pack.name for place, is_marked in marks.places() if is_marked}
    before_it_rots()
    for name in chosen:
        data = bytearray(store.objects[name])
        data[60] ^= 1
        store.objects[name] = bytes(data)
    return point


class _Stopped(Exception):
    """Somebody wants the collection to end."""


class _StopAt:
    """Raises at its n-th call."""

    def __init__(self, number: int) -> None:
        self.left = number

    def __call__(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise _Stopped


def _ready_to_collect(store: MemoryStore) -> Point:
    """One point has to stay, the others to go; packs to be emptied, to be deleted and to be left out of the index."""
    repository = made(store)
    gone = [capture(repository, noise(number, 40 * CHUNK) + NEW, machine_id=DATABASE) for number in range(3)]
    with opened(store, seed="killed").writer() as writer:
        write_disk(writer, noise("never published", 40 * CHUNK))
        writer.flush()
    kept = capture(repository, NEW[: 4 * CHUNK])
    for point in gone:
        repository.remove_point(point.id)
    return kept


def test_a_collection_can_be_stopped_anywhere_and_the_next_one_goes_on() -> None:
    stops = 0
    for number in range(1000):
        store = MemoryStore()
        kept = _ready_to_collect(store)
        try:
            opened(store).collect(is_now=True, check=_StopAt(number))
        except _Stopped:
            stops += 1
        else:
            break
        assert content_of(opened(store, seed="reader"), kept) == NEW[: 4 * CHUNK]
        assert opened(store, seed="verifier").verify(read_data=True).is_good
        for again in range(2):
            opened(store, seed=f"again {again}").collect(is_now=True)
        assert _stored_bytes(store) < 6 * CHUNK
        assert len(opened(store, seed="reader").points()) == 1
    assert stops > 20
