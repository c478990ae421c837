"""What is damaged comes back from wherever it still lies: another repository, a replica's disk, a source's disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path

import pytest

from twinhull.blocks.memory import MemoryDisk
from twinhull.model.errors import DataError
from twinhull.model.extents import Extent
from twinhull.model.machine import DiskKey
from twinhull.model.progress import Progress
from twinhull.repository import (
    ChunkLost,
    DiskHealer,
    Healer,
    MemoryStore,
    ObjectInfo,
    ReadOnlyStore,
    Repository,
    RepositoryHealer,
    Store,
    copy_points,
    diagnose,
    open_store,
    repair,
)
from twinhull.repository.format import packs
from twinhull.repository.format.collection_state import latest_state
from twinhull.repository.format.documents import Documents
from twinhull.repository.format.ids import ChunkKind
from twinhull.repository.format.index_table import Place, payload_of
from twinhull.repository.format.packs import pack_name

from . import copies
from .copies import ONE, OTHER, TWO, filled
from .misbehaving import CrashedError, EndedError, FailingStore, Fault, crash_after, crash_before, ending_at
from .world import CHUNK, DATABASE, WEB, SeededRandomness, content_of, document, made, noise, opened, ports, write_disk

Harm = Callable[[MemoryStore, str], None]


def _flip_a_third(store: MemoryStore, name: str) -> None:
    data = bytearray(store.objects[name])
    data[len(data) // 3] ^= 1
    store.objects[name] = bytes(data)


def _cut_in_half(store: MemoryStore, name: str) -> None:
    store.objects[name] = store.objects[name][: len(store.objects[name]) // 2]


def _lose(store: MemoryStore, name: str) -> None:
    store.delete(name)


HARMS = pytest.mark.parametrize("harm", [_flip_a_third, _cut_in_half, _lose])


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def first(store: MemoryStore) -> Repository:
    return filled(store)


def _disk(content: bytes, machine_id: str = WEB) -> DiskHealer:
    return DiskHealer("a disk", machine_id, DiskKey("vda"), MemoryDisk(len(content), content))  # type: ignore[arg-type]


def _contents(repository: Repository) -> dict[str, bytes]:
    return {point.id: content_of(repository, point) for point in repository.points()}


def _harm_all(store: MemoryStore, harm: Harm) -> None:
    for info in list(store.list("pack-")):
        harm(store, info.name)


@HARMS
@pytest.mark.parametrize("chunk_size_bytes", [CHUNK, 4 * CHUNK])
def test_a_copy_repairs_what_is_damaged(
    store: MemoryStore, first: Repository, harm: Harm, chunk_size_bytes: int
) -> None:
    second = copies.second(chunk_size_bytes)
    copy_points(first, second)
    good = _contents(first)
    _harm_all(store, harm)
    damaged = opened(store)
    assert damaged.verify(read_data=True).lost_points
    report = repair(damaged, [RepositoryHealer(second)])
    assert report.after.is_good
    assert report.lost == ()
    assert len(report.repaired) == 3
    assert any("came from the repository in memory:" in reason for reason in report.reasons)
    assert _contents(opened(store)) == good


@HARMS
def test_disks_repair_what_is_damaged(store: MemoryStore, first: Repository, harm: Harm) -> None:
    """The replica is at the latest point, the source has moved on; between them they have everything."""
    good = _contents(first)
    _harm_all(store, harm)
    report = repair(opened(store), [_disk(ONE), _disk(TWO), _disk(OTHER, DATABASE)])
    assert report.after.is_good
    assert _contents(opened(store)) == good


@pytest.fixture
def ten_chunks_a_payload(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "PAYLOAD_CONTENT_BYTES", 10 * CHUNK)


@pytest.mark.usefixtures("ten_chunks_a_payload")
def test_a_disk_that_has_moved_on_brings_back_what_it_still_has(store: MemoryStore) -> None:
    first = filled(store)
    moved_on = noise("written since", 3 * CHUNK) + ONE[3 * CHUNK :]
    root = first.points(WEB)[0].document.disks[0].root
    for chunk_id in list(first.reader().chunk_ids(root, 20 * CHUNK, 30 * CHUNK)):
        place = first.index.find(chunk_id) if chunk_id else None
        assert place
        start, end = place.entry.offset_bytes, place.entry.offset_bytes + place.entry.length_bytes
        whole = store.objects[place.pack.name]
        store.objects[place.pack.name] = whole[:start] + bytes(end - start) + whole[end:]
    assert len(opened(store).verify(read_data=True).lost_points) == 2
    assert repair(opened(store), [_disk(moved_on)]).lost == ()
    assert opened(store).verify(read_data=True).is_good


def test_a_point_on_its_way_out_is_repaired_too(store: MemoryStore, first: Repository) -> None:
    removed = first.points(DATABASE)[0]
    first.remove_point(removed.id)
    _harm_all(store, _lose)
    assert repair(opened(store), [_disk(OTHER, DATABASE)]).repaired == (removed.id,)
    assert content_of(opened(store), opened(store).restore_point(removed.id)) == OTHER


def test_what_nobody_holds_is_said_and_the_rest_is_kept(store: MemoryStore, first: Repository) -> None:
    second = copies.second()
    copy_points(first, second, DATABASE)
    _harm_all(store, _flip_a_third)
    damaged = opened(store)
    lost_before = damaged.verify(read_data=True).lost_points
    report = repair(damaged, [RepositoryHealer(second)])
    assert set(report.repaired) | set(report.lost) == set(lost_before)
    assert [point for point in report.repaired if point.startswith(DATABASE)]
    assert report.lost
    later = opened(store)
    for point in later.points():
        if point.id in report.lost:
            with pytest.raises(ChunkLost):
                content_of(later, point)
        else:
            assert content_of(later, point) == OTHER


def test_without_any_healer_what_is_left_is_kept(store: MemoryStore, first: Repository) -> None:
    _harm_all(store, _flip_a_third)
    readable = dict(_readable(opened(store)))
    report = repair(opened(store))
    assert report.reasons == ()
    assert dict(_readable(opened(store))) == readable


def _readable(repository: Repository) -> Iterator[tuple[str, bytes]]:
    for point in repository.points():
        try:
            yield point.id, content_of(repository, point)
        except ChunkLost:
            continue


def test_false_content_repairs_nothing(store: MemoryStore, first: Repository) -> None:
    second = copies.second()
    with second.writer() as writer:
        writer.publish(document({"vda": write_disk(writer, noise("false", 20 * CHUNK))}, DATABASE))
    _harm_all(store, _lose)
    report = repair(opened(store), [RepositoryHealer(second), _disk(noise("false", len(ONE)))])
    assert report.repaired == ()
    assert report.reasons == ()


class _Broken(MemoryDisk):
    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        raise DataError(f"No answer at {offset_bytes} for {length_bytes}.")

    def extents(self, offset_bytes: int, length_bytes: int) -> Iterator[Extent]:
        raise DataError(f"No answer at {offset_bytes} for {length_bytes}.")


def test_a_broken_or_short_disk_is_as_good_as_none(store: MemoryStore, first: Repository) -> None:
    _harm_all(store, _lose)
    broken = DiskHealer("broken", DATABASE, DiskKey("vda"), _Broken(len(OTHER)))
    short = _disk(OTHER[: 3 * CHUNK], DATABASE)
    report = repair(opened(store), [broken, short, _disk(OTHER, DATABASE)])
    assert [point.partition("/")[0] for point in report.repaired] == [DATABASE]


@pytest.mark.parametrize("fault", [crash_before, crash_after])
def test_a_repair_cut_short_anywhere_is_finished_by_the_next(fault: Fault, first: Repository) -> None:
    assert isinstance(first.store, MemoryStore)
    good = _contents(first)
    _harm_all(first.store, _flip_a_third)
    damaged = dict(first.store.objects)
    healers = [_disk(ONE), _disk(TWO), _disk(OTHER, DATABASE)]
    cut = 0
    while True:
        store = MemoryStore()
        store.objects = dict(damaged)
        readable = dict(_readable(opened(store)))
        try:
            repair(opened(FailingStore(store, cut, fault), seed="cut"), healers)
        except CrashedError:
            assert readable.items() <= dict(_readable(opened(store))).items()
            again = opened(store, seed="again")
            assert repair(again, healers).lost == ()
            again.collect(is_now=True)  # a damaged pack whose index went before the cut
            assert again.verify(read_data=True).is_good
            assert _contents(opened(store)) == good
            cut += 1
        else:
            break
    assert cut > 5


@pytest.mark.parametrize("fault", [crash_before, crash_after])
def test_a_copy_cut_short_anywhere_is_finished_by_the_next(fault: Fault, first: Repository) -> None:
    good = _contents(first)
    cut = 0
    while True:
        store = MemoryStore()
        made(store, ports(seed="second"))
        try:
            copy_points(first, opened(FailingStore(store, cut, fault), seed="cut"))
        except CrashedError:
            assert _contents(opened(store)).items() <= good.items()
            copy_points(first, opened(store, seed="again"))
            assert _contents(opened(store)) == good
            cut += 1
        else:
            break
    assert cut > 5


def test_a_damaged_index_object_goes_and_nothing_with_it(store: MemoryStore, first: Repository) -> None:
    before = _contents(first)
    name = next(name for name in sorted(store.objects) if name.startswith("index-"))
    _flip_a_third(store, name)
    report = repair(opened(store, seed="damaged"))
    assert report.after.is_good
    assert name not in store.objects
    packs = {info.name for info in store.list("pack-")}
    mended = opened(store, seed="mended")
    assert {pack.name for table in mended.index.tables for pack in table.packs} == packs
    assert _contents(mended) == before


def test_a_copy_that_a_collection_may_be_about_to_delete_is_none_to_rely_on(store: MemoryStore) -> None:
    made(store)
    with opened(store, seed="left").writer() as one, opened(store, seed="right").writer() as other:
        for writer in (one, other):
            point = writer.publish(document({"vda": write_disk(writer, OTHER)}))
    repository = opened(store)
    repository.collect()
    state = latest_state(Documents(store, repository.keys, SeededRandomness()))
    assert state
    condemned = {pack_name(pack_id) for pack_id in state.packs}
    assert len(condemned) == 2
    for info in list(store.list("pack-")):
        if info.name not in condemned:
            _flip_a_third(store, info.name)
    repair(opened(store, seed="repair"))
    for name in condemned:
        store.delete(name)
    assert content_of(opened(store), point) == OTHER


def _rotten(target: Store, store: MemoryStore) -> Store:
    """The same objects elsewhere, with a third of the way into each pack a flipped bit."""
    for name, content in store.objects.items():
        target.create(name, [content])
    for info in list(target.list("pack-")):
        data = bytearray(target.read(info.name))
        data[len(data) // 3] ^= 1
        target.delete(info.name)
        target.create(info.name, [bytes(data)])
    return target


def test_a_repair_says_how_far_it_is(store: MemoryStore, first: Repository, tmp_path: Path) -> None:
    damaged = opened(_rotten(open_store(str(tmp_path)), store))
    told: list[Progress] = []
    report = repair(damaged, [_disk(ONE), _disk(TWO), _disk(OTHER, DATABASE)], on_progress=told.append)
    assert report.after.is_good
    heard = [(key, list(each)) for key, each in groupby(told, key=lambda each: (each.phase, each.subject))]
    assert [" ".join(key) for key, _ in heard] == [
        "read packs",
        "check trees",
        "trace lost chunks",
        "mend damaged packs",
        *(f"mend {point_id}" for point_id in report.repaired),
        "read packs again",
        "check trees again",
    ]
    for (phase, _), progress in heard:
        done = [each.done_bytes for each in progress]
        assert done == sorted(done)
        assert phase in ("check", "trace") or done[-1] == progress[-1].total_bytes
    disks = {heard[number][1][-1].total_bytes for number in (4, 5, 6)}
    assert disks == {3 * len(each) for each in (ONE, TWO, OTHER)}, "once for each healer"


def test_a_repair_that_its_listener_ends_anywhere_is_finished_by_the_next(
    store: MemoryStore, first: Repository, tmp_path: Path
) -> None:
    good = _contents(first)
    healers = [_disk(ONE), _disk(TWO), _disk(OTHER, DATABASE)]
    cut = 0
    while True:
        damaged = opened(_rotten(open_store(str(tmp_path / f"{cut}")), store), seed="damaged")
        readable = dict(_readable(damaged))
        try:
            repair(damaged, healers, on_progress=ending_at(cut))
        except EndedError:
            assert readable.items() <= dict(_readable(opened(damaged.store))).items()
            assert repair(opened(damaged.store, seed="again"), healers).lost == ()
            assert _contents(opened(damaged.store)) == good
            cut += 1 if cut < 20 else 10
        else:
            break
    assert cut > 20


def _payload_sizes(repository: Repository) -> list[int]:
    """How many data chunks each payload holds."""
    places = {place for table in repository.index.tables for place in table.places()}
    data: list[Place] = [place for place in places if place.pack.kind is ChunkKind.DATA]
    data.sort(key=payload_of)
    return sorted(len(list(shared)) for _, shared in groupby(data, key=payload_of))


@pytest.mark.usefixtures("ten_chunks_a_payload")
@pytest.mark.parametrize("harm", [_cut_in_half, _lose])
def test_neighbours_that_are_brought_back_are_stored_together(store: MemoryStore, harm: Harm) -> None:
    first = filled(store)
    second = copies.second()
    copy_points(first, second)
    before = _payload_sizes(opened(store))
    assert before.count(10) == 11
    _harm_all(store, harm)
    assert repair(opened(store), [RepositoryHealer(second)]).after.is_good
    after = _payload_sizes(opened(store))
    assert sum(after) == sum(before)
    assert len(after) <= len(before) + 3, "a payload of which one chunk was known already may come in two"


@pytest.mark.usefixtures("ten_chunks_a_payload")
def test_what_a_damaged_pack_still_holds_is_kept_together(store: MemoryStore) -> None:
    first = filled(store)
    before = _payload_sizes(first)
    names = {place.pack.name for table in first.index.tables for place in table.places()}
    for name in names:
        _flip_last(store, name)
    report = repair(opened(store))
    assert report.after.is_good
    assert not names & store.objects.keys()
    assert _payload_sizes(opened(store)) == before


def _flip_last(store: MemoryStore, name: str) -> None:
    store.objects[name] = store.objects[name][:-1] + b"?"


class _CountingStore(MemoryStore):
    listings = 0
    misses = 0

    def read_range(self, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        self.misses += name not in self.objects
        return super().read_range(name, offset_bytes, length_bytes)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        self.listings += prefix.startswith("point-")
        return super().list(prefix)


def test_a_copy_is_asked_once_for_the_points_of_a_machine(store: MemoryStore, first: Repository) -> None:
    counting = _CountingStore()
    second = made(counting, ports(seed="second"))
    copy_points(first, second)
    _harm_all(store, _lose)
    counting.listings = 0
    assert repair(opened(store), [RepositoryHealer(second)]).lost == ()
    assert counting.listings == 2, "there are two machines"


def test_nothing_is_asked_of_a_pack_of_data_that_is_gone() -> None:
    counting = _CountingStore()
    first = filled(counting)
    data = {pack.name for table in first.index.tables for pack in table.packs if pack.kind is ChunkKind.DATA}
    for name in data:
        counting.delete(name)
    found = diagnose(opened(counting))
    assert [each.chunk_count for each in found.missing] == [91, 93, 20]
    assert len(repair(opened(counting)).lost) == 3
    assert counting.misses == 0


def test_a_diagnosis_says_what_is_missing_and_who_may_have_it_and_writes_nothing(
    store: MemoryStore, first: Repository, tmp_path: Path
) -> None:
    one, two, other = (point.id for point in first.points())
    root = first.points(WEB)[0].document.disks[0].root
    for chunk_id in list(first.reader().chunk_ids(root, 20 * CHUNK, 3 * CHUNK)):
        place = first.index.find(chunk_id) if chunk_id else None
        assert place
        start = place.entry.offset_bytes
        store.objects[place.pack.name] = _zeroed(store.objects[place.pack.name], start, place.entry.length_bytes)
    damaged = open_store(str(tmp_path))
    for name, content in store.objects.items():
        damaged.create(name, [content])
    before = sorted(path for path in tmp_path.rglob("*"))
    second = copies.second()
    copy_points(first, second, DATABASE)
    told: list[Progress] = []
    healers: list[Healer] = [RepositoryHealer(second), _disk(ONE)]
    found = diagnose(opened(ReadOnlyStore(damaged)), healers, on_progress=told.append)
    assert sorted(path for path in tmp_path.rglob("*")) == before
    assert found.found.lost_points == (one, two)
    assert {each.healers for each in found.missing} == {("a disk",)}
    assert {each.point_id: (each.chunk_count, each.node_count) for each in found.missing} == {
        one: (90, 0),
        two: (89, 0),
    }
    assert [progress.subject for progress in told if progress.phase == "look"][-1] == two
    assert other not in {progress.subject for progress in told}
    assert repair(opened(damaged), healers).lost == ()
    assert diagnose(opened(damaged)).missing == ()


def _zeroed(content: bytes, start: int, length: int) -> bytes:
    return content[:start] + bytes(length) + content[start + length :]


def test_a_diagnosis_counts_the_nodes_that_are_lost(store: MemoryStore, first: Repository) -> None:
    _harm_all(store, _lose)
    found = diagnose(opened(store))
    assert len(found.missing) == 3
    assert {(each.chunk_count, each.node_count, each.healers) for each in found.missing} == {(0, 1, ())}
