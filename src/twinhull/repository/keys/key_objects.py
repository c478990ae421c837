"""The objects ``key-…``: each wraps the ring of repository keys by one passphrase; and the rotation of keys.

They are JSON, so that a person with a text editor and the specification can see what a store holds.
"""

from __future__ import annotations

import hmac
import json
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from twinhull.model.ports import Randomness
from twinhull.repository.errors import KeysRotated, ObjectExists, RepositoryDamaged, WrongPassphrase
from twinhull.repository.format.documents import Documents
from twinhull.repository.format.keyring import KEY_BYTES, Keys
from twinhull.repository.keys.key_search import MAX_PLAIN_BYTES, KeySearch, told
from twinhull.repository.keys.passphrases import KdfCost, new_form, stretch
from twinhull.repository.keys.rotations import Rotations
from twinhull.repository.keys.wrapping import PREFIX, shared_salt, wrap
from twinhull.repository.store.contract import Store

MAX_NAME_ATTEMPTS = 8
_NAME = re.compile(r"key-[0-9a-f]{16}", re.ASCII)


@dataclass(frozen=True, slots=True)
class KeyMemory:
    """What a caller that outlives this process remembers of each repository: the objects that have opened before.

    It is a hint: what opens is found without it, unless someone has added some thirty objects with costs of their own.
    """

    names: Callable[[str], Sequence[str]] = lambda _: ()
    note: Callable[[str, str], None] = lambda _, __: None


@dataclass(frozen=True, slots=True)
class KeyObjects:
    """The keys' objects of one repository in its store."""

    store: Store
    repository_id: str
    randomness: Randomness
    cost: KdfCost = field(default_factory=KdfCost)
    """Of what is wrapped from now on."""

    def open(self, passphrase: str, memory: KeyMemory | None = None) -> Keys:
        """The ring that the passphrase opens; raises WrongPassphrase, also for one of before the last rotation."""
        memory = memory or KeyMemory()
        name, keys = self._find(passphrase, memory.names(self.repository_id))
        memory.note(self.repository_id, name)
        return keys

    def _find(self, passphrase: str, opened_before: Sequence[str]) -> tuple[str, Keys]:
        search = KeySearch.of(self.store, self.repository_id, opened_before)
        found: list[tuple[str, Keys]] = []
        for name, keys in search.rings(passphrase):
            rotations = self._rotations(keys)
            if rotations.is_in_force() and not rotations.is_claimed():
                return name, keys
            found.append((name, keys))
        current = [(name, keys) for name, keys in found if not self._rotations(keys).has_newer()]
        if not current:
            raise self._wrong(search.problems, is_outdated=bool(found))
        # The rotation's object may be damaged or lost, and nobody shall be locked out for that.
        return max(current, key=lambda each: (self._rotations(each[1]).is_in_force(), each[1].number))

    def add(self, keys: Keys, passphrase: str) -> str:
        """Wrap the ring by one more passphrase; returns the name of the object. Raises UsageError."""
        form = new_form(passphrase)
        stretched = stretch(form, shared_salt(self.repository_id), self.cost)
        for _ in range(MAX_NAME_ATTEMPTS):
            name, line = wrap(keys, stretched, self.cost, self.repository_id, self.randomness)
            with suppress(ObjectExists):
                self.store.create(name, [signed(keys, line)])
                return name
        raise ObjectExists(f"No new key could be added to {self.store.url}: all names that were tried are taken.")

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
                f"It is unknown which key is current, because '{rotations.name}' is damaged. Nothing was changed.",
                hint="Everything can still be read. Copy the repository to a new one: twinhull repository copy "
                "--to URL --create",
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
        """The objects that may wrap a ring."""
        return [info.name for info in self.store.list(PREFIX) if _NAME.fullmatch(info.name)]

    def _opened_by(self, passphrase: str) -> list[str]:
        """The objects that a passphrase opens; raises WrongPassphrase if there is none."""
        search = KeySearch.of(self.store, self.repository_id)
        found = list(dict.fromkeys(name for name, _ in search.rings(passphrase) if _NAME.fullmatch(name)))
        if not found:
            raise self._wrong(search.problems)
        return found

    def _wrong(self, problems: Sequence[str], *, is_outdated: bool = False) -> WrongPassphrase:
        more = f" And {told(problems)}." if problems else ""
        if is_outdated:
            more = " It opened keys from before the last rotation." + more
        return WrongPassphrase(
            f"No key of the repository in {self.store.url} opens with this passphrase.{more}",
            hint="Check the passphrase; each repository has its own. Other Unicode forms, and a byte order mark "
            "or line end around it, were already tried.",
        )

    def _rotated(self, why_not: str = "") -> KeysRotated:
        text = f"were rotated since it was opened. Nothing was changed. {why_not}".strip()
        return KeysRotated(
            f"The keys of the repository in {self.store.url} {text}",
            hint="Repeat the command with the current passphrase. 'twinhull serve' continues automatically once "
            "that is where it found the old one; if it was in the environment, restart serve.",
        )


def check_signed(store: Store, keys: Keys, name: str) -> None:
    """Whether the config, or the object of a key, is what was written; raises RepositoryDamaged, ObjectMissing."""
    data = store.read_range(name, 0, MAX_PLAIN_BYTES)
    line = data.partition(b"\n")[0]
    if not hmac.compare_digest(signed(keys, line), data) or _own_name(line) not in (None, name):
        raise RepositoryDamaged(f"The object '{name}' in {store.url} is damaged.")


def signed(keys: Keys, line: bytes) -> bytes:
    """A line of JSON as an object: the line, and what proves that it is of this repository."""
    return line + b"\n" + keys.config_seal(line).encode() + b"\n"


def _own_name(line: bytes) -> object:
    """The name that a genuine object says it has; None if its version says none."""
    return json.loads(line).get("name")
