"""Writing, publishing, reading and comparing."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from twinhull.model.errors import AlreadyExists, NotFound, SafetyError, UsageError
from twinhull.model.extents import Extent
from twinhull.model.machine import Consistency, PointId
from twinhull.repository import (
    DiskRoot,
    MemoryStore,
    PointConflict,
    Repository,
    RepositoryDamaged,
    RepositoryError,
    RepositoryMissing,
    RepositoryVersionTooNew,
    WriterOverdue,
    WrongPassphrase,
)
from twinhull.repository.format import packs
from twinhull.repository.format.ids import ChunkKind
from twinhull.repository.writing.writer import SESSION_LIMIT_SECONDS

from .world import (
    CHUNK,
    DATABASE,
    WEB,
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

DISK = noise("disk", 5 * CHUNK) + bytes(70 * CHUNK) + noise("more", 200 * CHUNK) + b"short end"


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def repository(store: MemoryStore) -> Repository:
    return made(store)


def test_a_point_reads_as_it_was_written(store: MemoryStore, repository: Repository) -> None:
    point = capture(repository, DISK)
    assert point.id == f"{WEB}/00000001"
    other = opened(store)
    assert other.points() == [point]
    assert content_of(other, point) == DISK
    root = point.document.disks[0].root
    assert other.reader().read(root, CHUNK - 3, 2 * CHUNK) == DISK[CHUNK - 3 : 3 * CHUNK - 3]


def test_a_document_comes_back_in_every_field(store: MemoryStore, repository: Repository) -> None:
    with repository.writer() as writer:
        roots = {"vda": write_disk(writer, DISK), "vdb": write_disk(writer, bytes(CHUNK)), "vdc": DiskRoot(0, None)}
        sent = document(
            roots,
            captured_at=datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
            consistency=Consistency.APPLICATION,
            epoch=7,
            spec={"name": "wéb", "nested": {"list": [1, None, True]}},
            notes=("one", "zwei"),
        )
        point = writer.publish(sent)
    assert opened(store).point(point.id).document == sent


def test_zeros_are_not_stored(store: MemoryStore, repository: Repository) -> None:
    with repository.writer() as writer:
        root = write_disk(writer, bytes(1000 * CHUNK))
        disk = writer.disk(1000 * CHUNK)
        disk.write(0, bytes(1000 * CHUNK))
        assert disk.finish() == root == DiskRoot(1000 * CHUNK, None)
        assert writer.stats.chunks_zero == 1000
    assert not list(store.list("pack-"))


def test_equal_content_is_stored_once(store: MemoryStore, repository: Repository) -> None:
    capture(repository, DISK)
    before = sum(map(len, store.objects.values()))
    with repository.writer() as writer:
        root = write_disk(writer, DISK)
        writer.publish(document({"vda": root}, DATABASE))
        assert writer.stats.chunks_new == 0
        assert writer.stats.nodes_new == 0
        assert writer.stats.chunks_known == 206
    assert sum(map(len, store.objects.values())) - before < 1000


def test_an_increment_costs_the_change_and_its_path(repository: Repository) -> None:
    huge = 16 * 2**40
    with repository.writer() as writer:
        base = writer.publish(document({"vda": writer.disk(huge).finish()})).document.disks[0].root
    with repository.writer() as writer:
        disk = writer.disk(huge, base)
        disk.write(huge // 3 // CHUNK * CHUNK, noise("x", CHUNK))
        disk.finish()
        assert (writer.stats.chunks_new, writer.stats.nodes_new) == (1, 6)


def test_a_base_is_changed_where_it_was_written(repository: Repository) -> None:
    first = capture(repository, DISK)
    changed = bytearray(DISK)
    changed[7 * CHUNK : 8 * CHUNK] = noise("new", CHUNK)
    changed[100 * CHUNK : 180 * CHUNK] = bytes(80 * CHUNK)
    second = capture(repository, bytes(changed), (first, DISK))
    assert content_of(repository, second) == bytes(changed)
    assert content_of(repository, first) == DISK
    assert capture(repository, bytes(changed)).document.disks == second.document.disks


@pytest.mark.parametrize(
    "size", [0, 1, CHUNK, CHUNK + 1, 64 * CHUNK, 64 * CHUNK + 1, 200 * CHUNK - 5, 5000 * CHUNK + 9]
)
def test_a_disk_may_grow_and_shrink(repository: Repository, size: int) -> None:
    first = capture(repository, DISK)
    resized = DISK[:size].ljust(size, b"\0")
    with repository.writer() as writer:
        root = writer.disk(size, first.document.disks[0].root).finish()
        point = writer.publish(document({"vda": root}))
    assert content_of(repository, point) == resized
    assert root == capture(repository, resized).document.disks[0].root


def test_pieces_may_come_in_any_order_and_the_last_wins(repository: Repository) -> None:
    with repository.writer() as writer:
        disk = writer.disk(10 * CHUNK)
        disk.write(5 * CHUNK, b"b" * CHUNK * 5)
        disk.write(0, b"a" * CHUNK * 7)
        disk.zero(CHUNK, 2 * CHUNK)
        disk.write(2 * CHUNK, b"c" * CHUNK)
        point = writer.publish(document({"vda": disk.finish()}))
    expected = b"a" + b"\0" + b"c" + b"a" * 4 + b"b" * 3
    assert content_of(repository, point) == b"".join(bytes([letter]) * CHUNK for letter in expected)


@pytest.mark.parametrize(
    ("offset", "length"), [(1, CHUNK), (0, 5), (-CHUNK, CHUNK), (9 * CHUNK, 2 * CHUNK), (CHUNK, -1)]
)
def test_pieces_that_do_not_fit_are_refused(repository: Repository, offset: int, length: int) -> None:
    with repository.writer() as writer:
        disk = writer.disk(9 * CHUNK + 100)
        with pytest.raises(UsageError):
            disk.zero(offset, length)
        disk.finish()
        with pytest.raises(UsageError, match="finished"):
            disk.write(0, b"x" * CHUNK)


def test_extents_tell_data_from_zeros(repository: Repository) -> None:
    root = capture(repository, DISK).document.disks[0].root
    reader = repository.reader()
    data = len(DISK) - 75 * CHUNK
    assert list(reader.extents(root)) == [
        Extent(0, 5 * CHUNK),
        Extent(5 * CHUNK, 70 * CHUNK, is_zero=True),
        Extent(75 * CHUNK, data),
    ]
    assert list(reader.extents(root, 4 * CHUNK + 5, CHUNK)) == [
        Extent(4 * CHUNK + 5, CHUNK - 5),
        Extent(5 * CHUNK, 5, is_zero=True),
    ]
    assert list(reader.extents(root, 5 * CHUNK, 0)) == []
    with pytest.raises(UsageError):
        reader.read(root, len(DISK), 1)


def test_diff_names_what_changed_and_nothing_else(repository: Repository) -> None:
    first = capture(repository, DISK)
    changed = bytearray(DISK + bytes(50 * CHUNK))
    changed[0:CHUNK] = bytes(CHUNK)
    changed[9 * CHUNK : 11 * CHUNK] = b"n" * (2 * CHUNK)
    changed[-1:] = b"!"
    second = capture(repository, bytes(changed))
    old, new = first.document.disks[0].root, second.document.disks[0].root
    last = len(changed) // CHUNK * CHUNK
    assert list(repository.diff(old, new)) == [
        Extent(0, CHUNK, is_zero=True),
        Extent(9 * CHUNK, 2 * CHUNK),
        Extent(last, len(changed) - last),
    ]
    assert list(repository.diff(old, old)) == []
    assert list(repository.diff(None, old)) == [e for e in repository.reader().extents(old) if not e.is_zero]


def test_a_foreign_disk_is_compared_by_ids_alone(repository: Repository) -> None:
    root = capture(repository, DISK).document.disks[0].root
    ids = list(repository.reader().chunk_ids(root, 0, len(DISK)))
    pieces = [DISK[start : start + CHUNK] for start in range(0, len(DISK), CHUNK)]
    assert ids == [repository.chunk_id(piece) for piece in pieces]
    assert ids[4] is not None
    assert ids[5] is None
    assert list(repository.reader().chunk_ids(root, 3 * CHUNK, 5 * CHUNK)) == ids[3:8]


def test_nothing_is_visible_before_publish(store: MemoryStore, repository: Repository) -> None:
    with repository.writer() as writer:
        write_disk(writer, DISK)
        assert opened(store).points() == []
    assert opened(store).points() == []
    with pytest.raises(ZeroDivisionError):
        _capture_that_fails(repository)
    assert opened(store).points() == []


def _capture_that_fails(repository: Repository) -> None:
    with repository.writer() as writer:
        write_disk(writer, DISK)
        assert 1 / (len(DISK) - len(DISK))


def test_a_point_cannot_name_what_was_not_written(repository: Repository) -> None:
    stranger = made(MemoryStore(), ports(seed="stranger"))
    root = capture(stranger, DISK).document.disks[0].root
    with repository.writer() as writer, pytest.raises(UsageError, match="not written"):
        writer.publish(document({"vda": root}))
    assert repository.points() == []


def test_a_capture_whose_base_is_gone_is_not_published(store: MemoryStore, repository: Repository) -> None:
    base = capture(repository, DISK)
    with repository.writer() as writer:
        root = writer.disk(len(DISK), base.document.disks[0].root).finish()
        store.delete(f"point-{WEB}-00000001")
        with pytest.raises(NotFound, match="builds on"):
            writer.publish(document({"vda": root}))
    assert repository.points() == []


def test_two_writers_of_one_machine_get_two_numbers(store: MemoryStore) -> None:
    made(store)
    start = threading.Barrier(4)

    def write(number: int) -> None:
        repository = opened(store, seed=f"writer {number}")
        with repository.writer() as writer:
            root = write_disk(writer, noise(number, 3 * CHUNK))
            start.wait()
            writer.publish(document({"vda": root}))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reader = opened(store)
    points = reader.points(WEB)
    assert [point.sequence for point in points] == [1, 2, 3, 4]
    assert {content_of(reader, point) for point in points} == {noise(number, 3 * CHUNK) for number in range(4)}


def test_an_expected_number_that_is_taken_is_a_conflict(repository: Repository) -> None:
    capture(repository, DISK)
    with repository.writer() as writer:
        root = write_disk(writer, b"x" * CHUNK)
        with pytest.raises(PointConflict):
            writer.publish(document({"vda": root}), expected_sequence=1)
        assert writer.publish(document({"vda": root}), expected_sequence=2).sequence == 2


def test_a_capture_that_took_too_long_is_not_published(store: MemoryStore) -> None:
    clock = TurnedClock()
    repository = made(store, ports(clock))
    with repository.writer() as writer:
        root = write_disk(writer, DISK)
        clock.pass_time(SESSION_LIMIT_SECONDS + 1)
        with pytest.raises(WriterOverdue):
            writer.publish(document({"vda": root}))
    assert repository.points() == []


def test_a_removed_point_is_out_of_sight_and_can_be_taken_back(repository: Repository) -> None:
    first, second = capture(repository, DISK), capture(repository, b"2" * CHUNK)
    repository.remove_point(first.id, "too old")
    assert repository.points() == [second]
    assert [(removal.point_id, removal.reason) for removal in repository.removed_points()] == [(first.id, "too old")]
    with pytest.raises(NotFound):
        repository.point(first.id)
    with pytest.raises(NotFound):
        repository.remove_point(first.id)
    assert repository.restore_point(first.id) == first
    assert repository.points() == [first, second]
    with pytest.raises(NotFound):
        repository.restore_point(first.id)


def test_a_number_is_not_given_twice(repository: Repository) -> None:
    repository.remove_point(capture(repository, DISK).id)
    assert capture(repository, DISK).sequence == 2


def test_a_held_point_stays(repository: Repository) -> None:
    point = capture(repository, DISK)
    repository.hold_point(point.id, "evidence")
    repository.hold_point(point.id, "evidence")
    assert repository.held_points() == {point.id}
    assert repository.hold_reason(point.id) == "evidence"
    with pytest.raises(SafetyError, match="held"):
        repository.remove_point(point.id)
    repository.release_point(point.id)
    assert repository.hold_reason(point.id) is None
    with pytest.raises(NotFound, match="not held"):
        repository.release_point(point.id)
    repository.remove_point(point.id)
    assert repository.points() == []


def test_points_are_listed_by_machine(repository: Repository) -> None:
    one, two = capture(repository, DISK), capture(repository, DISK, machine_id=DATABASE)
    assert repository.points(WEB) == [one]
    assert repository.points(DATABASE) == [two]
    assert repository.points() == [one, two]


def test_one_rotten_point_does_not_hide_the_others(store: MemoryStore, repository: Repository) -> None:
    one, two = capture(repository, DISK), capture(repository, DISK)
    name = f"point-{WEB}-00000001"
    store.objects[name] = store.objects[name][:-1]
    with pytest.raises(RepositoryDamaged, match=name):
        repository.points()
    told: dict[PointId, RepositoryError] = {}
    assert repository.points(on_damage=told.__setitem__) == [two]
    assert name in str(told[one.id])
    store.objects["point-00"] = b"of somebody else"
    assert repository.points(on_damage=told.__setitem__) == [two]


@pytest.mark.parametrize("wanted", ["", "x", f"{WEB}/1", f"{WEB}/00000000", WEB.upper() + "/00000001"])
def test_what_is_no_point_id_is_said_to_be_none(repository: Repository, wanted: str) -> None:
    with pytest.raises(UsageError, match="not a point id"):
        repository.point(PointId(wanted))


def test_a_lost_index_is_read_from_the_packs(store: MemoryStore, repository: Repository) -> None:
    point = capture(repository, DISK)
    for info in list(store.list("index-")):
        store.delete(info.name)
    assert content_of(opened(store), point) == DISK


def test_opening_says_what_is_wrong(store: MemoryStore) -> None:
    with pytest.raises(RepositoryMissing):
        opened(store)
    made(store)
    with pytest.raises(AlreadyExists):
        made(store)
    with pytest.raises(WrongPassphrase):
        Repository.open(store, "incorrect horse")
    config = store.objects["config"]
    store.objects["config"] = config.replace(b'"version": 1', b'"version": 2')
    with pytest.raises(RepositoryVersionTooNew, match="version 2"):
        opened(store)
    store.objects["config"] = config.replace(b"4096", b"8192")
    with pytest.raises(RepositoryDamaged, match="config"):
        opened(store)


def test_impossible_settings_are_refused(store: MemoryStore) -> None:
    for size in (0, 1000, 5 * CHUNK, 2**30):
        with pytest.raises(UsageError, match="chunk size"):
            made(store, chunk_size_bytes=size)
    with pytest.raises(UsageError, match="passphrase"):
        Repository.create(store, "")
    assert store.objects == {}


def test_chunks_that_pack_to_nothing_do_not_make_endless_packs(
    store: MemoryStore, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packs, "MAX_PACK_CHUNKS", 100)
    monkeypatch.setattr(packs, "PAYLOAD_CONTENT_BYTES", 10 * CHUNK)
    content = b"".join(bytes([1 + number // 200, 1 + number % 200]) * (CHUNK // 2) for number in range(250))
    point = capture(repository, content)
    data_packs = [entry.pack for table in repository.index.tables for entry in table.places()]
    counts = [data_packs.count(pack) for pack in set(data_packs) if pack.kind is ChunkKind.DATA]
    assert max(counts) <= 100
    assert sum(counts) == 250
    assert content_of(opened(store), point) == content
