"""The objects ``key-…``: each wraps the ring of repository keys by one passphrase; and the rotation of keys.

They are JSON, so that a person with a text editor and the specification can see what a store holds.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from twinhull.model.errors import UsageError
from twinhull.model.ports import Randomness
from twinhull.model.units import KIB, MIB
from twinhull.repository.documents import Documents
from twinhull.repository.envelope import FORMAT_VERSION
from twinhull.repository.errors import (
    KeysRotated,
    ObjectMissing,
    RepositoryDamaged,
    WrongPassphrase,
)
from twinhull.repository.keys import KEY_BYTES, Keys
from twinhull.repository.rotations import Rotations
from twinhull.repository.store.contract import Store

MAX_ITERATIONS = 64
MAX_LANES = 16
MAX_MEMORY_KIB = 4 * MIB
MAX_PLAIN_BYTES = 64 * KIB
"""The most that is read of an object in plain."""
_NONCE = bytes(12)
_KEY = "key-"
_DAMAGE = (ValueError, KeyError, TypeError, RecursionError, ObjectMissing, RepositoryDamaged)
"""What comes of an object that holds no key."""
RECOVERY_KEY_LETTERS = 30
_RECOVERY_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
"""No letter that is taken for a digit when it is read off paper."""
_RECOVERY_KEY = re.compile(rf"([{_RECOVERY_ALPHABET}]{{5}}-){{5}}[{_RECOVERY_ALPHABET}]{{5}}")


@dataclass(frozen=True, slots=True)
class KdfCost:
    """What one guess at a passphrase costs (Argon2id)."""

    iterations: int = 3
    lanes: int = 4
    memory_kib: int = 128 * KIB

    def __post_init__(self) -> None:
        # The bounds keep a forged key object from eating the reader's memory or its day.
        is_possible = 1 <= self.iterations <= MAX_ITERATIONS and 1 <= self.lanes <= MAX_LANES
        if not is_possible or not 8 * self.lanes <= self.memory_kib <= MAX_MEMORY_KIB:
            raise ValueError(f"the cost {self} is out of bounds")


@dataclass(frozen=True, slots=True)
class KeyObjects:
    """The keys' objects of one repository in its store."""

    store: Store
    repository_id: str
    randomness: Randomness
    cost: KdfCost = field(default_factory=KdfCost)
    """Of what is wrapped from now on."""

    def open(self, passphrase: str) -> Keys:
        """The ring that the passphrase opens; raises WrongPassphrase, also for one of before the last rotation."""
        problems: list[str] = []
        found: list[Keys] = []
        for name in self.names():
            try:
                keys = self._unwrapped(name, passphrase)
            except _DAMAGE as error:
                problems.append(f"'{name}' is damaged ({error!r})")
                continue
            found += [keys] if keys else []
        current = [keys for keys in found if not self._rotations(keys).has_newer()]
        if not current:
            raise self._wrong(problems, is_outdated=bool(found))
        # The rotation's object may be damaged or lost, and nobody shall be locked out for that.
        return max(current, key=lambda keys: (self._rotations(keys).is_in_force(), keys.number))

    def add(self, keys: Keys, passphrase: str) -> str:
        """Wrap the ring by one more passphrase; returns the name of the object. Raises UsageError."""
        if not passphrase:
            raise UsageError("A repository needs a passphrase that is not empty.")
        salt = self.randomness.token(16)
        wrapping = AESGCM(_stretch(passphrase, salt, self.cost))
        document = {
            "kind": "passphrase",
            "version": FORMAT_VERSION,
            "repository_id": self.repository_id,
            "kdf": "argon2id",
            "iterations": self.cost.iterations,
            "lanes": self.cost.lanes,
            "memory_kib": self.cost.memory_kib,
            "salt": salt.hex(),
            "wrapped_keys": wrapping.encrypt(_NONCE, b"".join(keys.ring), self.repository_id.encode()).hex(),
        }
        name = f"{_KEY}{self.randomness.token(8).hex()}"
        self.store.create(name, [signed(keys, json.dumps(document, sort_keys=True).encode())])
        return name

    def add_current(self, keys: Keys, passphrase: str) -> None:
        """As ``add``, for a ring that is in force: a passphrase that opens nothing any more must not be handed out.

        Raises KeysRotated where a rotation comes between, RepositoryDamaged where that cannot be known.
        """
        self.require_current(keys)
        name = self.add(keys, passphrase)
        if not self.is_known(keys):
            self.store.delete(name)
            raise self._rotated()

    def change_passphrase(self, keys: Keys, old: str, new: str) -> None:
        """Replace what ``old`` opens by what ``new`` opens; the new object is there before the old one goes.

        Whoever has read the old object and knows the old passphrase keeps the keys all the same: rotate them.
        """
        replaced = self._opened_by(old)
        self.add_current(keys, new)
        for name in replaced:
            self.store.delete(name)

    def rotate(self, keys: Keys, old: str, new: str) -> None:
        """Seal everything that comes under a new key, which only ``new`` opens; every other passphrase opens nothing.

        Raises WrongPassphrase, KeysRotated. A crash on the way leaves the old keys in force, or the new ones.
        """
        replaced = self.names()
        self._opened_by(old)
        self.require_current(keys)
        key = self.randomness.token(KEY_BYTES)
        rotated = Keys((*keys.ring, key))
        name = self.add(rotated, new)
        try:
            self._put_in_force(rotated)
        except KeysRotated:
            self.store.delete(name)
            raise
        keys.grow(rotated.ring)
        for each in replaced:
            self.store.delete(each)

    def require_current(self, keys: Keys) -> None:
        """Whether something may be written under the newest key of the ring.

        Raises KeysRotated where a rotation has left the ring behind, RepositoryDamaged where that cannot be known.
        """
        self.require_known(keys)
        rotations = self._rotations(keys)
        if rotations.is_in_force():
            return
        if rotations.is_there():
            raise RepositoryDamaged(
                f"It cannot be known which key is in force: '{rotations.name}' is damaged; nothing was changed.",
                hint="Everything can still be read: copy the repository to a new one.",
            )
        self._put_in_force(keys)  # a rotation was cut short, or its object is lost

    def is_known(self, keys: Keys) -> bool:
        """Whether the ring has every key that objects may be sealed under."""
        return not self._rotations(keys).has_newer()

    def is_newer_claimed(self, keys: Keys) -> bool:
        """Whether any object, if only junk, claims that there is a newer key."""
        return self._rotations(keys).is_claimed()

    def require_known(self, keys: Keys, why_not: str = "") -> None:
        """Raises KeysRotated where the ring lacks a key that is in force; ``why_not`` says why it could not be had."""
        if not self.is_known(keys):
            raise self._rotated(why_not)

    def _put_in_force(self, keys: Keys) -> None:
        if not self._rotations(keys).put_in_force():
            raise self._rotated()

    def _rotations(self, keys: Keys) -> Rotations:
        return Rotations(Documents(self.store, keys, self.randomness))

    def names(self) -> list[str]:
        """The objects, each of which wraps a ring."""
        return [info.name for info in self.store.list(_KEY)]

    def _opened_by(self, passphrase: str) -> list[str]:
        """The objects that a passphrase opens; raises WrongPassphrase where there is none."""
        found = []
        for name in self.names():
            with suppress(*_DAMAGE):
                found += [name] if self._unwrapped(name, passphrase) else []
        if not found:
            raise self._wrong([])
        return found

    def _unwrapped(self, name: str, passphrase: str) -> Keys | None:
        raw = json.loads(self.store.read_range(name, 0, MAX_PLAIN_BYTES).partition(b"\n")[0])
        cost = KdfCost(int(raw["iterations"]), int(raw["lanes"]), int(raw["memory_kib"]))
        cipher = AESGCM(_stretch(passphrase, bytes.fromhex(raw["salt"]), cost))
        try:
            ring = cipher.decrypt(_NONCE, bytes.fromhex(raw["wrapped_keys"]), self.repository_id.encode())
        except InvalidTag:
            return None
        return Keys([ring[start : start + KEY_BYTES] for start in range(0, len(ring), KEY_BYTES)])

    def _wrong(self, problems: Sequence[str], *, is_outdated: bool = False) -> WrongPassphrase:
        told = f" And {', '.join(problems)}." if problems else ""
        if is_outdated:
            told = " It opened keys of before the last rotation." + told
        return WrongPassphrase(
            f"No key of the repository in {self.store.url} opens with this passphrase.{told}",
            hint="Check the passphrase; each repository has its own.",
        )

    def _rotated(self, why_not: str = "") -> KeysRotated:
        told = f"were rotated since it was opened; nothing was changed. {why_not}".strip()
        return KeysRotated(
            f"The keys of the repository in {self.store.url} {told}",
            hint="Repeat it with the passphrase of now. 'twinhull serve' goes on by itself once that is where it found "
            "the old one; where it got that from its environment, restart it.",
        )


def new_recovery_key(randomness: Randomness) -> str:
    """A passphrase that nobody has to think up, for printing: 30 letters and digits in groups, 150 random bits."""
    number = int.from_bytes(randomness.token(32), "big")
    letters = []
    for _ in range(RECOVERY_KEY_LETTERS):
        number, rest = divmod(number, len(_RECOVERY_ALPHABET))
        letters.append(_RECOVERY_ALPHABET[rest])
    return "-".join("".join(letters[at : at + 5]) for at in range(0, RECOVERY_KEY_LETTERS, 5))


def check_signed(store: Store, keys: Keys, name: str) -> None:
    """Whether the config, or the object of a key, is what was written; raises RepositoryDamaged, ObjectMissing."""
    data = store.read_range(name, 0, MAX_PLAIN_BYTES)
    line = data.partition(b"\n")[0]
    if not hmac.compare_digest(signed(keys, line), data):
        raise RepositoryDamaged(f"The object '{name}' in {store.url} is not what was written.")


def signed(keys: Keys, line: bytes) -> bytes:
    """A line of JSON as an object: the line, and what proves that it is of this repository."""
    return line + b"\n" + keys.config_seal(line).encode() + b"\n"


def _stretch(passphrase: str, salt: bytes, cost: KdfCost) -> bytes:
    text = passphrase.strip().upper()
    if _RECOVERY_KEY.fullmatch(text):
        passphrase = text  # read off paper: neither case nor a space at the end makes a difference
    return Argon2id(
        salt=salt, length=KEY_BYTES, iterations=cost.iterations, lanes=cost.lanes, memory_cost=cost.memory_kib
    ).derive(passphrase.encode())
