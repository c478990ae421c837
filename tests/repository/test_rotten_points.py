"""A point's object that rots where nothing tells it from junk: the last collection knows that it was a point."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from tests.repository.world import CHUNK, WEB, capture, made, noise, opened
from twinhull.manager.repository.damages import point_by_name
from twinhull.model.machine import PointId
from twinhull.repository import MemoryStore, NotAuthentic, Repository, RepositoryDamaged, RepositoryVersionTooNew
from twinhull.repository.format.envelope import HEADER, ObjectKind

NOW = datetime(2026, 1, 1, tzinfo=UTC)
COUNT = 4


def name_of(number: int) -> str:
    return f"point-{WEB}-{number:08d}"


@pytest.fixture
def store() -> MemoryStore:
    """Four points, and a collection that has read them."""
    store = MemoryStore()
    repository = made(store)
    for number in range(1, COUNT + 1):
        capture(repository, noise(number, 3 * CHUNK))
    repository.collect()
    return store


def rot(store: MemoryStore, number: int, at: int) -> None:
    whole = store.objects[name_of(number)]
    store.objects[name_of(number)] = whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]


def problems(repository: Repository) -> dict[PointId, type[Exception]]:
    found: dict[PointId, type[Exception]] = {}

    def note(point_id: PointId, error: Exception) -> None:
        found[point_id] = type(error)

    repository.points(on_damage=note)
    return found


@pytest.mark.parametrize("at", [*range(HEADER.size), -1])
def test_every_rotten_byte_of_a_point_is_damage_and_never_junk(store: MemoryStore, at: int) -> None:
    rot(store, 3, at)
    count = len(store.objects)
    repository = opened(store)
    assert [issubclass(kind, NotAuthentic) for kind in problems(repository).values()] == [False]
    with pytest.raises((RepositoryDamaged, RepositoryVersionTooNew)):
        repository.collect(is_now=True)
    assert len(store.objects) == count, "its content waits for a person"


def test_no_point_is_counted_back_to_over_it_and_the_refusal_names_both_ways_out(store: MemoryStore) -> None:
    rot(store, 3, HEADER.size - 1)
    repository = opened(store)
    with pytest.raises(RepositoryDamaged, match=f"{name_of(3)}' does not open") as refused:
        point_by_name(repository, WEB, "N-2", NOW)
    assert "by its number" in refused.value.hint
    assert point_by_name(repository, WEB, "2", NOW).sequence == 2
    with pytest.raises(RepositoryDamaged) as damaged:
        repository.point(PointId(f"{WEB}/00000003"))
    assert f"twinhull points remove {WEB}/00000003" in damaged.value.hint
    repository.remove_point(PointId(f"{WEB}/00000003"))
    assert point_by_name(repository, WEB, "N-2", NOW).sequence == 1
    assert repository.collect(is_now=True).points_gone == (f"{WEB}/00000003",)
    assert repository.verify(read_data=True).is_good


def test_a_name_that_is_free_again_makes_no_one_a_point(store: MemoryStore) -> None:
    """Who may only add objects takes the names of points that are gone, and of those that never were."""
    repository = opened(store)
    repository.remove_point(PointId(f"{WEB}/00000002"))
    repository.collect(is_now=True)
    for number in (2, COUNT + 1):
        store.objects[name_of(number)] = noise("junk", 700)
    again = opened(store, seed="again")
    assert set(problems(again).values()) == {NotAuthentic}
    assert point_by_name(again, WEB, "N-2", NOW).sequence == 1
    assert again.collect(is_now=True).reasons == ()


def test_the_note_of_an_older_version_says_nothing(store: MemoryStore) -> None:
    documents = opened(store)._catalog.documents
    (note,) = [name for name in store.objects if name.startswith("collection-")]
    found = documents.open(ObjectKind.COLLECTION, note)
    raw = json.loads(found.content)
    del raw["points"]
    del store.objects[note]
    documents.create_plain(ObjectKind.COLLECTION, note, json.dumps(raw).encode())
    rot(store, 3, HEADER.size - 1)
    assert set(problems(opened(store, seed="later")).values()) == {NotAuthentic}
