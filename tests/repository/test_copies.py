"""The second copy: made of what it lacks."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from itertools import groupby
from pathlib import Path

import pytest

from twinhull.model.progress import Progress
from twinhull.repository import CopyVerdict, MemoryStore, ReadOnlyStore, Repository, Store, copy_points, open_store
from twinhull.repository.format import packs

from . import copies
from .copies import OTHER, TWO, filled
from .misbehaving import EndedError, ending_at
from .world import CHUNK, DATABASE, WEB, capture, content_of, document, made, noise, opened, ports, write_disk


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
    assert "a different point" in verdicts[0].reason
    assert content_of(second, mine) == b"mine" * CHUNK
    second.remove_point(points[1].id)
    assert "removed" in copy_points(first, second)[1].reason


def _sent(verdicts: list[CopyVerdict]) -> list[str]:
    return [verdict.point_id for verdict in verdicts if verdict.is_copied]


def test_what_the_target_let_go_is_not_sent_again_unless_asked_for(first: Repository) -> None:
    second = copies.second()
    copy_points(first, second)
    oldest, newest, other = (point.id for point in first.points())
    for gone in (oldest, newest):
        second.remove_point(gone)
    second.collect(is_now=True)
    assert not second.removed_points(), "they are gone for good"
    third = capture(first, noise("three", CHUNK))
    verdicts = copy_points(first, second)
    assert _sent(verdicts) == [third.id]
    assert "removed or skipped this one" in verdicts[0].reason
    second.collect(is_now=True)
    assert _sent(copy_points(first, second, is_again=True)) == [oldest, newest]
    assert _contents(second).keys() == {oldest, newest, third.id, other}
    assert second.verify(read_data=True).is_good


def test_the_last_one_that_the_target_let_go_is_not_sent_into_its_own_removal(first: Repository) -> None:
    second = copies.second()
    copy_points(first, second)
    newest = first.points()[1].id
    second.remove_point(newest)
    second.collect(is_now=True)
    for is_again in (False, True):
        verdict = copy_points(first, second, is_again=is_again)[1]
        assert (verdict.is_copied, verdict.reason) == (False, "The target removed it.")


def test_holds_are_carried_over_and_stay_until_they_are_released_there(first: Repository) -> None:
    second = copies.second()
    one, two, _ = (point.id for point in first.points())
    first.hold_point(one, "before the upgrade")
    copy_points(first, second)
    assert second.held_points() == {one}
    assert second.hold_reason(one) == "before the upgrade"
    first.hold_point(two, "the last good one")
    assert "is now held there, as it is here: the last good one" in copy_points(first, second)[1].reason
    first.release_point(one)
    copy_points(first, second)
    assert second.held_points() == {one, two}
    second.release_point(one)
    copy_points(first, second)
    assert second.held_points() == {two}


def test_a_hold_whose_reason_cannot_be_read_is_carried_over_nevertheless(store: MemoryStore, first: Repository) -> None:
    second = copies.second()
    one = first.points()[0].id
    first.hold_point(one, "before the upgrade")
    (name,) = [name for name in store.objects if name.startswith("hold-")]
    store.objects[name] = store.objects[name][:-1] + b"?"
    copy_points(first, second)
    assert second.hold_reason(one) == "held in the original repository"


def test_damage_is_told_and_keeps_no_other_point_from_being_copied(store: MemoryStore, first: Repository) -> None:
    second = copies.second()
    one, two, other = (point.id for point in first.points())
    (name,) = [name for name in store.objects if name.endswith("1-00000001") and name.startswith("point-")]
    store.objects[name] = store.objects[name][:-1] + b"?"
    lost = next(name for name in store.objects if name.startswith("pack-"))
    whole = store.objects.pop(lost)
    verdicts = {verdict.point_id: verdict for verdict in copy_points(opened(store, seed="damaged"), second)}
    assert {point_id for point_id, verdict in verdicts.items() if verdict.is_damaged} == {one, two}
    assert verdicts[other].is_copied
    store.objects[lost] = whole
    assert _sent(copy_points(opened(store, seed="mended"), second)) == [two]


def test_a_copy_that_cannot_read_a_point_of_its_own_takes_the_others(first: Repository) -> None:
    second = copies.second()
    target = second.store
    assert isinstance(target, MemoryStore)
    copy_points(first, second)
    (name,) = [name for name in target.objects if name.endswith("1-00000001") and name.startswith("point-")]
    target.objects[name] = target.objects[name][:-1] + b"?"
    third = capture(first, noise("three", CHUNK))
    verdicts = copy_points(first, second)
    assert _sent(verdicts) == [third.id]
    assert verdicts[0].is_damaged
    assert "cannot read it" in verdicts[0].reason


Elsewhere = Callable[[str], Store]


@pytest.fixture(params=["directory", "bucket"])
def elsewhere(request: pytest.FixtureRequest, tmp_path: Path) -> Elsewhere:
    """Where second copies really lie."""
    if request.param == "directory":
        return lambda name: open_store(str(tmp_path / name))
    endpoint = request.getfixturevalue("s3_endpoint")
    return lambda name: open_store(f"s3://twinhull/{tmp_path.name}/{name}?endpoint={endpoint}")


def _stored(store: Store) -> set[str]:
    return {info.name for kind in ("pack", "index", "point", "hold") for info in store.list(f"{kind}-")}


def test_a_copy_says_how_far_it_is(first: Repository, elsewhere: Elsewhere) -> None:
    told: list[Progress] = []
    second = made(elsewhere("second"), ports(seed="second"))
    verdicts = copy_points(first, second, on_progress=told.append)
    points = {subject: list(heard) for subject, heard in groupby(told, key=lambda progress: progress.subject)}
    assert list(points) == [verdict.point_id for verdict in verdicts]
    assert {progress.phase for progress in told} == {"copy"}
    for verdict, heard in zip(verdicts, points.values(), strict=True):
        assert heard[0].total_bytes is None, "it can be ended before the trees are compared"
        assert [progress.done_bytes for progress in heard] == sorted(progress.done_bytes for progress in heard)
        assert heard[-1].done_bytes == heard[-1].total_bytes == verdict.differing_bytes
    data = 90 * CHUNK + CHUNK // 2
    assert [verdict.differing_bytes for verdict in verdicts] == [data, CHUNK + 2 * CHUNK + CHUNK // 2, len(OTHER)]
    told.clear()
    copy_points(first, second, on_progress=told.append)
    assert told == []


def test_a_copy_that_its_listener_ends_anywhere_is_finished_by_the_next(
    first: Repository, elsewhere: Elsewhere
) -> None:
    good = _contents(first)
    for cut in range(100):
        store = elsewhere(f"second-{cut}")
        second = made(store, ports(seed=f"second {cut}"))
        try:
            copy_points(first, second, on_progress=ending_at(cut))
        except EndedError:
            held = _contents(opened(store))
            assert held.items() <= good.items()
            verdicts = copy_points(first, opened(store, seed="again"))
            assert {verdict.point_id for verdict in verdicts if not verdict.is_copied} == held.keys()
            assert _contents(opened(store)) == good
        else:
            break
    assert cut == 8, "twice for each run of changed chunks, and once before them"


def test_what_was_stored_of_a_point_that_was_not_finished_is_not_sent_again(
    store: MemoryStore, elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packs, "TARGET_PACK_BYTES", 1024 * CHUNK)
    monkeypatch.setattr("os.cpu_count", lambda: 2)  # what is read ahead goes by it
    first = made(store)
    capture(first, noise("large", 4096 * CHUNK))
    second = made(elsewhere("second"), ports(seed="second"))
    with pytest.raises(EndedError):
        copy_points(first, second, on_progress=ending_at(4))
    assert not second.points()
    sent = sum(info.size_bytes for info in second.store.list("pack-"))
    assert sent >= 1024 * CHUNK
    again = opened(second.store, seed="again")
    copy_points(first, again)
    assert sum(info.size_bytes for info in again.store.list("pack-")) < 4200 * CHUNK
    assert _contents(again) == _contents(first)


def test_a_dry_run_says_what_would_be_copied_and_writes_nothing(first: Repository, elsewhere: Elsewhere) -> None:
    second = made(elsewhere("second"), ports(seed="second"))
    copy_points(first, second, WEB)
    newest = capture(first, TWO + noise("three", 3 * CHUNK))
    first.hold_point(newest.id, "before the upgrade")
    second.remove_point(first.points(WEB)[0].id)
    before = _stored(second.store)
    foretold = copy_points(first, opened(ReadOnlyStore(second.store)), is_dry_run=True)
    assert _stored(second.store) == before
    happened = copy_points(first, second)
    assert _sent(foretold) == _sent(happened) == [newest.id, first.points(DATABASE)[0].id]
    assert [each.differing_bytes for each in foretold] == [each.differing_bytes for each in happened]
    removed, there, grown, other = (verdict.reason for verdict in foretold)
    assert removed == "The target removed it."
    assert there == "The target has it already."
    assert "Would be copied: the target does not have it. About 14.0 KiB differ from the point before it." in grown
    assert "It would be held there, as it is here: before the upgrade" in grown
    assert other == "Would be copied: the target does not have it. It holds about 80.0 KiB of data."


def test_a_dry_run_tells_of_a_tree_that_is_damaged(store: MemoryStore, first: Repository) -> None:
    for info in list(store.list("pack-")):
        store.delete(info.name)
    verdicts = copy_points(opened(store), copies.second(), is_dry_run=True)
    assert [(verdict.is_copied, verdict.is_damaged) for verdict in verdicts] == [(False, True)] * 3
