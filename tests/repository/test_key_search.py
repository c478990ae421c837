"""Opening a repository: in whatever form the passphrase is typed, and at a bounded cost whatever keys are added."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from twinhull.model.errors import UsageError
from twinhull.repository import KdfCost, MemoryStore, Repository, WrongPassphrase, check_new_passphrase
from twinhull.repository.keys import key_search as searching
from twinhull.repository.keys.key_objects import KeyMemory, signed
from twinhull.repository.keys.key_search import MAX_PARSED, MAX_TOLD, MAX_WORK
from twinhull.repository.keys.passphrases import MIN_PASSPHRASE_LENGTH, stretch
from twinhull.repository.keys.wrapping import shared_salt

from .world import CHEAP, PASSPHRASE, made, noise, opened, ports

Json = dict[str, object]


@pytest.fixture
def cheap_guesses() -> None:
    """Not here: the bounds are on what keys of the product cost."""


class _Stretched:
    """Counts what stretching costs, and stretches cheaply."""

    def __init__(self) -> None:
        self.work = 0

    def __call__(self, form: str, salt: bytes, cost: KdfCost) -> bytes:
        self.work += cost.work
        return stretch(form, salt + repr(cost).encode(), CHEAP) if cost != CHEAP else stretch(form, salt, cost)


@pytest.fixture
def stretched(monkeypatch: pytest.MonkeyPatch) -> _Stretched:
    counter = _Stretched()
    monkeypatch.setattr(searching, "stretch", counter)
    return counter


def _genuine(store: MemoryStore) -> Json:
    (name,) = (name for name in store.objects if name.startswith("key-"))
    return dict(json.loads(store.objects[name].splitlines()[0]))


def _dearest(number: int, raw: Json) -> Json:
    return raw | {"iterations": 64, "lanes": 16, "memory_kib": 1 << 20, "salt": noise(number, 16).hex()}


def _own_salt(number: int, raw: Json) -> Json:
    return raw | {"iterations": 3, "lanes": 4, "memory_kib": 128 * 1024, "salt": noise(number, 16).hex()}


def _shared_salt(number: int, raw: Json) -> Json:
    return raw | {"iterations": 3, "lanes": 4, "memory_kib": 128 * 1024, "commitment": noise(number, 32).hex()}


def _own_cost(number: int, raw: Json) -> Json:
    return raw | {"iterations": 1 + number % 64, "lanes": 1, "memory_kib": 64 * 1024 + number}


def _as_of_version_1_0(number: int, raw: Json) -> Json:
    old = {name: value for name, value in _own_salt(number, raw).items() if name not in ("sealed_keys", "name")}
    return old | {"wrapped_keys": noise(number, 48).hex()}


@pytest.mark.parametrize("forge", [_dearest, _own_salt, _shared_salt, _own_cost, _as_of_version_1_0])
def test_forged_keys_cost_no_more_than_a_bound_and_shut_nobody_out(
    forge: Callable[[int, Json], Json], stretched: _Stretched
) -> None:
    store = MemoryStore()
    made(store)
    raw = _genuine(store)
    for number in range(500):
        name = f"key-{number:016x}"
        store.objects[name] = json.dumps(forge(number, raw) | {"name": name}).encode() + b"\n"
    assert opened(store).points() == []
    with pytest.raises(WrongPassphrase) as refused:
        Repository.open(store, "some other phrase", ports=ports())
    assert stretched.work < 2 * MAX_WORK + 20 * KdfCost().work
    assert len(refused.value.message) < 200 + MAX_TOLD * 200


@pytest.fixture
def of_1_0(stretched: _Stretched) -> MemoryStore:
    """A repository whose key is as those of format 1.0: its salt is its own, its cost the usual one."""
    store = MemoryStore()
    repository = made(store)
    (name,) = (name for name in store.objects if name.startswith("key-"))
    own = {"iterations": 3, "lanes": 4, "memory_kib": 128 * 1024, "salt": "ff" * 16}
    key = stretched(PASSPHRASE, b"\xff" * 16, KdfCost())
    ring = AESGCM(key).encrypt(bytes(12), b"".join(repository.keys.ring), repository.id.encode())
    line = json.dumps({"kdf": "argon2id", **own, "wrapped_keys": ring.hex()}).encode()
    del store.objects[name]
    store.objects["key-ffffffffffffffff"] = signed(repository.keys, line)
    return store


@pytest.mark.parametrize("count", [40, MAX_PARSED + 50])
def test_a_key_that_has_opened_before_is_tried_before_forged_ones(
    of_1_0: MemoryStore, stretched: _Stretched, count: int
) -> None:
    """A key of 1.0 has a salt of its own, as forged ones have: the bound on what is tried would shut its owner out."""
    remembered: dict[str, list[str]] = {}

    def note(repository_id: str, name: str) -> None:
        remembered.setdefault(repository_id, []).append(name)

    memory = KeyMemory(lambda repository_id: remembered.get(repository_id, []), note)
    Repository.open(of_1_0, PASSPHRASE, ports=ports(), memory=memory)
    raw = _genuine(of_1_0)
    for number in range(count):
        of_1_0.objects[f"key-{number:016x}"] = json.dumps(_as_of_version_1_0(number, raw)).encode() + b"\n"
    with pytest.raises(WrongPassphrase):
        Repository.open(of_1_0, PASSPHRASE, ports=ports(seed="stranger"))
    stretched.work = 0
    assert Repository.open(of_1_0, PASSPHRASE, ports=ports(), memory=memory).points() == []
    assert stretched.work < 3 * KdfCost().work
    with pytest.raises(WrongPassphrase):
        Repository.open(of_1_0, "some other phrase", ports=ports(), memory=memory)
    assert stretched.work < 2 * MAX_WORK + 20 * KdfCost().work


def test_among_any_number_of_objects_the_right_one_is_found_by_its_name(
    stretched: _Stretched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twinhull.repository.keys.key_objects.stretch", stretched)
    store = MemoryStore()
    Repository.create(store, PASSPHRASE, ports=ports(seed="made"))
    (name,) = (name for name in store.objects if name.startswith("key-"))
    store.objects |= {f"key-{number:016x}": b"{}" for number in range(MAX_PARSED + 50)}
    assert sorted(each for each in store.objects if each.startswith("key-")).index(name) >= MAX_PARSED
    assert opened(store).points() == []


def test_a_guess_at_a_new_passphrase_is_dear() -> None:
    assert KdfCost() == KdfCost(iterations=3, lanes=4, memory_kib=128 * 1024)
    store = MemoryStore()
    Repository.create(store, PASSPHRASE, ports=ports(seed="made"))
    raw = _genuine(store)
    assert (raw["kdf"], raw["iterations"], raw["lanes"], raw["memory_kib"]) == ("argon2id", 3, 4, 128 * 1024)
    assert opened(store).points() == []


def test_a_forged_key_that_decrypts_is_not_committed_to() -> None:
    store = MemoryStore()
    made(store)
    (name,) = (name for name in store.objects if name.startswith("key-"))
    raw = _genuine(store)
    store.objects[name] = json.dumps(raw | {"commitment": "00" * 32}).encode() + b"\n"
    with pytest.raises(WrongPassphrase):
        opened(store)


def test_all_keys_of_a_repository_share_a_salt_and_none_its_wrapping() -> None:
    store = MemoryStore()
    repository = made(store)
    repository.rotate_keys(PASSPHRASE, PASSPHRASE, CHEAP)
    repository.change_passphrase(PASSPHRASE, PASSPHRASE, CHEAP)
    repository.add_recovery_key(CHEAP)
    raws = [json.loads(data.splitlines()[0]) for name, data in store.objects.items() if name.startswith("key-")]
    assert {raw["salt"] for raw in raws} == {shared_salt(repository.id).hex()}
    assert len({raw["wrap_salt"] for raw in raws}) == len(raws) == 2


COMPOSED = unicodedata.normalize("NFC", "Übergänge für Ångström")
DECOMPOSED = unicodedata.normalize("NFD", COMPOSED)
FORMS = (COMPOSED, DECOMPOSED, f"\ufeff{COMPOSED}", f"{COMPOSED}\r", f"{COMPOSED}\n", f"\ufeff{DECOMPOSED}\r\n")


@pytest.mark.parametrize("typed", FORMS)
@pytest.mark.parametrize("given", FORMS)
def test_a_passphrase_opens_in_every_form(given: str, typed: str) -> None:
    store = MemoryStore()
    Repository.create(store, given, cost=CHEAP, ports=ports(seed="made"))
    assert Repository.open(store, typed, ports=ports()).points() == []
    with pytest.raises(WrongPassphrase, match="opens with this passphrase") as refused:
        Repository.open(store, f"{typed}!", ports=ports())
    assert "Unicode" in (refused.value.hint or "")


@pytest.mark.parametrize("given", FORMS[:5])
def test_a_repository_of_1_0_opens_whatever_form_it_was_made_with(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twinhull.repository.keys.key_objects.new_form", lambda passphrase: passphrase)
    store = MemoryStore()
    Repository.create(store, given, cost=CHEAP, ports=ports(seed="made"))
    monkeypatch.undo()
    assert Repository.open(store, COMPOSED, ports=ports()).points() == []


def test_a_passphrase_that_is_no_unicode_at_all_opens() -> None:
    store = MemoryStore()
    raw = b"caf\xe9 au lait".decode(errors="surrogateescape")
    Repository.create(store, raw, cost=CHEAP, ports=ports(seed="made"))
    assert Repository.open(store, raw, ports=ports()).points() == []


def test_only_a_new_passphrase_has_a_least_length() -> None:
    store = MemoryStore()
    Repository.create(store, "short", cost=CHEAP, ports=ports(seed="made"))
    assert Repository.open(store, "short", ports=ports()).points() == []
    check_new_passphrase("x" * MIN_PASSPHRASE_LENGTH)
    for short in ("x" * (MIN_PASSPHRASE_LENGTH - 1), "\ufeff" + "x" * (MIN_PASSPHRASE_LENGTH - 1) + "\r\n"):
        with pytest.raises(UsageError, match=f"it needs at least {MIN_PASSPHRASE_LENGTH}"):
            check_new_passphrase(short)
