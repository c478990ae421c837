"""Who can open a repository: passphrases, and a key on paper."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

import pytest

from twinhull.model.errors import UsageError
from twinhull.repository import KeysRotated, MemoryStore, Repository, RepositoryDamaged, WrongPassphrase
from twinhull.repository.format.keyring import Keys

from .misbehaving import CrashedError, FailingStore, Fault, crash_after, crash_before
from .world import (
    CHEAP,
    CHUNK,
    DATABASE,
    PASSPHRASE,
    capture,
    content_of,
    document,
    made,
    noise,
    opened,
    ports,
    write_disk,
)

DISK = noise("disk", 5 * CHUNK)


def _open(store: MemoryStore, passphrase: str) -> Repository:
    return Repository.open(store, passphrase, ports=ports(seed=passphrase))


def test_a_changed_passphrase_opens_and_the_old_one_does_not() -> None:
    store = MemoryStore()
    repository = made(store)
    point = capture(repository, DISK)
    repository.change_passphrase(PASSPHRASE, "battery staple", CHEAP)
    assert content_of(_open(store, "battery staple"), point) == DISK
    with pytest.raises(WrongPassphrase):
        opened(store)
    assert len(list(store.list("key-"))) == 1


def test_only_who_knows_the_passphrase_changes_it() -> None:
    store = MemoryStore()
    repository = made(store)
    with pytest.raises(WrongPassphrase):
        repository.change_passphrase("wrong", "new", CHEAP)
    with pytest.raises(UsageError, match="empty"):
        repository.change_passphrase(PASSPHRASE, "", CHEAP)
    assert opened(store).points() == []


def test_a_key_on_paper_opens_however_it_is_typed() -> None:
    store = MemoryStore()
    repository = made(store)
    point = capture(repository, DISK)
    paper = repository.add_recovery_key(CHEAP)
    assert len(paper) == 35
    for typed in (paper, f" {paper.lower()}\n"):
        assert content_of(_open(store, typed), point) == DISK
    assert opened(store).points() == [point], "the passphrase still opens it"
    repository.change_passphrase(PASSPHRASE, "new", CHEAP)
    assert _open(store, paper).verify(read_data=True).is_good


def test_two_keys_on_paper_differ() -> None:
    repository = made(MemoryStore())
    assert repository.add_recovery_key(CHEAP) != repository.add_recovery_key(CHEAP)


def test_a_damaged_key_is_told_and_does_not_shut_out_the_others() -> None:
    store = MemoryStore()
    repository = made(store)
    (first,) = [info.name for info in store.list("key-")]
    paper = repository.add_recovery_key(CHEAP)
    store.objects[first] = b"{"
    assert _open(store, paper).points() == []
    with pytest.raises(WrongPassphrase, match=first):
        opened(store)
    assert [finding.object_name for finding in _open(store, paper).verify().findings] == [first]


NEW = "battery staple"


def _rotated(store: MemoryStore, new: str = PASSPHRASE) -> tuple[Repository, bytes]:
    """A repository whose keys were rotated, and the key that it had before."""
    repository = made(store)
    capture(repository, DISK)
    before = repository.keys.ring[0]
    repository.rotate_keys(PASSPHRASE, new, CHEAP)
    return repository, before


@pytest.mark.parametrize("new", [PASSPHRASE, NEW])
def test_after_a_rotation_old_and_new_points_are_read(new: str) -> None:
    store = MemoryStore()
    repository, _ = _rotated(store, new)
    (first,) = repository.points()
    second = capture(repository, DISK + b"grown", (first, DISK))
    later = _open(store, new)
    assert [content_of(later, point) for point in (first, second)] == [DISK, DISK + b"grown"]
    assert later.verify(read_data=True).is_good
    third = capture(later, noise("third", 3 * CHUNK))
    assert content_of(repository, third) == noise("third", 3 * CHUNK)
    repository.remove_point(first.id)
    repository.collect(is_now=True)
    assert content_of(_open(store, new), second) == DISK + b"grown"


def test_equal_content_is_stored_once_across_a_rotation() -> None:
    store = MemoryStore()
    repository, _ = _rotated(store)
    before = len(list(store.list("pack-")))
    capture(repository, DISK, machine_id=DATABASE)
    assert len(list(store.list("pack-"))) == before


def _key_numbers(store: MemoryStore, names: set[str]) -> set[int]:
    """Under which keys those objects are sealed."""
    return {int.from_bytes(store.objects[name][12:14], "little") for name in names}


def test_who_has_the_key_of_before_reads_nothing_that_came_after() -> None:
    store = MemoryStore()
    repository, before = _rotated(store)
    names = set(store.objects)
    secret = capture(repository, noise("secret", 5 * CHUNK))
    thief = Repository(store, repository.config, Keys([before]), ports(seed="thief"))
    told: list[object] = []
    assert [point.sequence for point in thief.points(on_damage=lambda point_id, _: told.append(point_id))] == [1]
    assert told == [secret.id]
    assert _key_numbers(store, set(store.objects) - names) == {2}


def test_every_other_passphrase_is_shut_out_and_told_why() -> None:
    store = MemoryStore()
    repository = made(store)
    paper = repository.add_recovery_key(CHEAP)
    stolen = dict(store.objects)
    repository.rotate_keys(PASSPHRASE, NEW, CHEAP)
    for shut_out in (PASSPHRASE, paper):
        with pytest.raises(WrongPassphrase):
            _open(store, shut_out)
    store.objects |= {name: data for name, data in stolen.items() if name.startswith("key-")}
    for shut_out in (PASSPHRASE, paper):
        with pytest.raises(WrongPassphrase, match="before the last rotation"):
            _open(store, shut_out)
    assert _open(store, NEW).points() == []


def test_only_who_knows_the_passphrase_rotates() -> None:
    store = MemoryStore()
    repository = made(store)
    before = dict(store.objects)
    with pytest.raises(WrongPassphrase):
        repository.rotate_keys("wrong", NEW, CHEAP)
    assert store.objects == before


WRITES: dict[str, Callable[[Repository], object]] = {
    "capture": lambda old: capture(old, noise("more", 3 * CHUNK)),
    "remove": lambda old: old.remove_point(old.points()[0].id),
    "hold": lambda old: old.hold_point(old.points()[0].id, "just so"),
    "collect": lambda old: old.collect(is_now=True),
    "verify": lambda old: old.verify(read_data=True),
    "rotate": lambda old: old.rotate_keys(PASSPHRASE, PASSPHRASE, CHEAP),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES.keys())
def test_what_was_opened_before_a_rotation_writes_under_the_new_key(write: Callable[[Repository], object]) -> None:
    store = MemoryStore()
    capture(made(store), DISK)
    old = opened(store)
    opened(store, seed="other").rotate_keys(PASSPHRASE, PASSPHRASE, CHEAP)
    before = set(store.objects)
    write(old)
    written = {name for name in set(store.objects) - before if not name.startswith("key-")}
    assert written
    assert 1 not in _key_numbers(store, written)
    assert old.verify(read_data=True).is_good


def test_what_was_opened_before_a_rotation_reads_what_came_after() -> None:
    store = MemoryStore()
    first = capture(made(store), DISK)
    old = opened(store)
    other = opened(store, seed="other")
    other.rotate_keys(PASSPHRASE, PASSPHRASE, CHEAP)
    second = capture(other, noise("more", 3 * CHUNK), (first, DISK))
    other.hold_point(second.id, "just so")
    assert content_of(old, second) == noise("more", 3 * CHUNK), "also what is found by the index alone"
    assert old.points() == [first, second]
    assert old.hold_reason(second.id) == "just so"
    assert old.verify(read_data=True).is_good


def test_a_capture_of_before_a_rotation_publishes_and_the_next_is_under_the_new_key() -> None:
    store = MemoryStore()
    made(store)
    old = opened(store)
    with old.writer() as writer:
        root = write_disk(writer, DISK)
        opened(store, seed="other").rotate_keys(PASSPHRASE, PASSPHRASE, CHEAP)
        first = writer.publish(document({"vda": root}))
    before = set(store.objects)
    second = capture(old, DISK + noise("more", CHUNK), (first, DISK))
    assert _key_numbers(store, set(store.objects) - before) == {2}
    later = opened(store, seed="later")
    assert [content_of(later, point) for point in (first, second)] == [DISK, DISK + noise("more", CHUNK)]


class _KeyReads(FailingStore[MemoryStore]):
    """Counts how often the object of a key was read."""

    count = 0

    def read_range(self, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        self.count += name.startswith("key-")
        return super().read_range(name, offset_bytes, length_bytes)


def test_the_passphrase_of_now_is_asked_for_and_none_is_guessed_with_twice() -> None:
    store = _KeyReads(MemoryStore())
    made(store)
    known = [PASSPHRASE]
    old = Repository.open(store, PASSPHRASE, ports=ports(seed="old"), find_passphrase=lambda: known[0])
    opened(store, seed="other").rotate_keys(PASSPHRASE, NEW, CHEAP)
    before = dict(store.inner.objects)
    counts = []
    for _ in range(3):
        with pytest.raises(KeysRotated, match="opens with this passphrase"):
            capture(old, DISK)
        counts.append(store.count)
    assert counts[0] == counts[2]
    assert store.inner.objects == before
    known[0] = NEW
    assert content_of(_open(store.inner, NEW), capture(old, DISK)) == DISK


def test_a_passphrase_that_cannot_be_found_is_told() -> None:
    store = MemoryStore()
    made(store)

    def find() -> str:
        raise UsageError("The passphrase file is empty.")

    old = Repository.open(store, PASSPHRASE, ports=ports(seed="old"), find_passphrase=find)
    assert capture(old, DISK).sequence == 1, "nobody is asked before a rotation"
    opened(store, seed="other").rotate_keys(PASSPHRASE, PASSPHRASE, CHEAP)
    with pytest.raises(KeysRotated, match=r"The passphrase file is empty\."):
        capture(old, DISK)


def test_a_process_that_does_not_learn_the_new_passphrase_changes_nothing_and_is_told() -> None:
    store = MemoryStore()
    point = capture(made(store), DISK)
    old = opened(store)
    opened(store, seed="other").rotate_keys(PASSPHRASE, NEW, CHEAP)
    before = dict(store.objects)
    attempts: list[Callable[[], object]] = [
        lambda: capture(old, DISK),
        lambda: old.collect(is_now=True),
        lambda: old.remove_point(point.id),
        lambda: old.hold_point(point.id, "just so"),
        old.verify,
        lambda: old.change_passphrase(NEW, "third", CHEAP),
        lambda: old.add_recovery_key(CHEAP),
        lambda: old.rotate_keys(NEW, "third", CHEAP),
    ]
    for attempt in attempts:
        with pytest.raises(KeysRotated, match="rotated since"):
            attempt()
    assert store.objects == before


class _Overtaken(FailingStore[MemoryStore]):
    """Another rotation comes first, between the new key's object and its putting into force."""

    def create(self, name: str, parts: Sequence[bytes]) -> None:
        if name.startswith("rotation-"):
            opened(self.inner, seed="faster").rotate_keys(PASSPHRASE, NEW, CHEAP)
        super().create(name, parts)


def test_of_two_rotations_at_once_one_wins_and_nothing_is_lost() -> None:
    store = MemoryStore()
    point = capture(made(store), DISK)
    slower = opened(_Overtaken(store), seed="slower")
    with pytest.raises(KeysRotated):
        slower.rotate_keys(PASSPHRASE, "third", CHEAP)
    winner = _open(store, NEW)
    assert content_of(winner, point) == DISK
    assert len(list(store.list("key-"))) == 1
    with pytest.raises(WrongPassphrase):
        _open(store, "third")


class _RotatedMeanwhile(FailingStore[MemoryStore]):
    """A rotation comes just before the object of a key."""

    is_done = False

    def create(self, name: str, parts: Sequence[bytes]) -> None:
        if name.startswith("key-") and not self.is_done:
            self.is_done = True
            opened(self.inner, seed="meanwhile").rotate_keys(PASSPHRASE, NEW, CHEAP)
        super().create(name, parts)


@pytest.mark.parametrize(
    "change",
    [
        lambda slower: slower.add_recovery_key(CHEAP),
        lambda slower: slower.change_passphrase(PASSPHRASE, "third", CHEAP),
    ],
    ids=["recovery key", "passphrase"],
)
def test_no_key_is_handed_out_that_a_rotation_has_made_worthless(change: Callable[[Repository], object]) -> None:
    store = MemoryStore()
    point = capture(made(store), DISK)
    with pytest.raises(KeysRotated):
        change(opened(_RotatedMeanwhile(store), seed="slower"))
    assert content_of(_open(store, NEW), point) == DISK
    assert len(list(store.list("key-"))) == 1


@pytest.mark.parametrize("fault", [crash_before, crash_after])
@pytest.mark.parametrize("new", [PASSPHRASE, NEW])
def test_a_rotation_cut_short_anywhere_leaves_one_key_in_force(fault: Fault, new: str) -> None:
    for cut in range(4):
        store = MemoryStore()
        point = capture(made(store), DISK)
        with suppress(CrashedError):
            opened(FailingStore(store, cut, fault), seed="cut").rotate_keys(PASSPHRASE, new, CHEAP)
        last = _whichever_opens(store, [new, PASSPHRASE], "after")
        later = capture(last, noise("later", CHUNK))
        again = _whichever_opens(store, [PASSPHRASE, new], "again")
        assert [content_of(again, each) for each in (point, later)] == [DISK, noise("later", CHUNK)]
        assert again.verify(read_data=True).is_good


def _whichever_opens(store: MemoryStore, passphrases: list[str], seed: str) -> Repository:
    for passphrase in passphrases:
        with suppress(WrongPassphrase):
            return Repository.open(store, passphrase, ports=ports(seed=f"{seed} {passphrase}"))
    pytest.fail("no passphrase opens it")


def test_a_lost_or_damaged_rotation_shuts_nobody_out() -> None:
    store = MemoryStore()
    repository, _ = _rotated(store)
    point = capture(repository, noise("new", CHUNK))
    (name,) = [name for name in store.objects if name.startswith("rotation-")]
    whole = store.objects[name]
    store.objects[name] = whole[:-1] + b"?"
    assert content_of(opened(store, seed="damaged"), point) == noise("new", CHUNK)
    with pytest.raises(RepositoryDamaged, match="which key is current"):
        capture(opened(store, seed="careful"), DISK)
    store.delete(name)
    capture(opened(store, seed="lost"), DISK)
    assert opened(store, seed="healed").verify(read_data=True).is_good


def test_a_misnamed_rotation_is_named_and_hinders_nobody() -> None:
    store = MemoryStore()
    repository, _ = _rotated(store)
    store.objects["rotation-ff"] = b"what is this"
    assert capture(opened(store), noise("new", CHUNK)).sequence == 2
    assert [finding.object_name for finding in repository.verify().findings] == ["rotation-ff"]
