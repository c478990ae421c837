"""The objects ``rotation-…``: which of the repository's keys is in force, and who may know that it is.

The salt of a rotation is signed by the key that was in force before it. So a process with the keys of before tells a
rotation, after which it must write nothing, from junk, which must not keep it from writing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from twinhull.repository.errors import ObjectExists, ObjectMissing, RepositoryDamaged
from twinhull.repository.format.documents import MAX_DOCUMENT_BYTES, UNREADABLE, Documents
from twinhull.repository.format.envelope import HEADER, SALT_BYTES, ObjectKind, salt_in, seal, unseal
from twinhull.repository.format.keyring import Keys

PREFIX = "rotation-"
_NAME = re.compile(rf"{PREFIX}([0-9]{{8}})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Rotations:
    """The rotations in a repository's store, as a ring of keys sees them."""

    documents: Documents

    @property
    def name(self) -> str:
        """The plain name of the rotation to the newest key of the ring."""
        return f"{PREFIX}{self._keys.number:08d}"

    @property
    def _keys(self) -> Keys:
        return self.documents.keys

    def is_claimed(self) -> bool:
        """Whether any object, junk or not, claims that there is a newer key than the ring has."""
        return any(number > self._keys.number for number in self._numbers())

    def has_newer(self) -> bool:
        """Whether a key is in force that the ring lacks, by an object that a holder of the ring's newest key signed."""
        return self._is_signed(self._keys.number + 1)

    def is_in_force(self) -> bool:
        """Whether the newest key of the ring is in force, by an object that opens with it."""
        return self._keys.number == 1 or self._opens(self._keys.number)

    def is_there(self) -> bool:
        """Whether there is any object, whoever wrote it, that is named as the rotation to the ring's newest key."""
        return self.documents.is_there(self.name)

    def put_in_force(self) -> bool:
        """Declare the newest key of the ring in force; whether it is, or another rotation was faster."""
        number = self._keys.number
        for name in (self.name, self.documents.tagged(self.name)):
            salt = self._keys.signed_salt(name, self.documents.randomness.token(SALT_BYTES), number - 1)
            try:
                self.documents.store.create(name, [seal(self._keys, ObjectKind.ROTATION, name, salt, b"{}")])
            except ObjectExists:
                if self._opens(number):
                    return True
                if self._is_signed(number):
                    return False
                continue
            return True
        return False

    def _numbers(self) -> set[int]:
        found = (_NAME.fullmatch(plain) for plain, _ in self.documents.listed(PREFIX))
        return {int(match[1]) for match in found if match}

    def _opens(self, number: int) -> bool:
        for name, data in self._objects(number):
            try:
                unseal(self._keys, ObjectKind.ROTATION, name, data)
            except UNREADABLE:
                continue
            return True
        return False

    def _is_signed(self, number: int) -> bool:
        """Whether a holder of the key before it signed a rotation to that key."""
        return any(
            len(data) >= HEADER.size and self._keys.is_signed_salt(name, salt_in(data), number - 1)
            for name, data in self._objects(number)
        )

    def _objects(self, number: int) -> list[tuple[str, bytes]]:
        plain = f"{PREFIX}{number:08d}"
        found = []
        for name in (plain, self.documents.tagged(plain)):
            try:
                found.append((name, self.documents.store.read(name, MAX_DOCUMENT_BYTES[ObjectKind.ROTATION])))
            except (ObjectMissing, RepositoryDamaged):
                continue
        return found
