"""Who can open a repository: passphrases, and a key on paper."""

from __future__ import annotations

import pytest

from twinhull.model.errors import UsageError
from twinhull.repository import MemoryStore, Repository, WrongPassphrase

from .world import CHEAP, CHUNK, PASSPHRASE, capture, content_of, made, noise, opened, ports

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
