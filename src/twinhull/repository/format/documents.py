"""The small sealed objects of a repository: points, removals, holds, and the numbered notes of collection and others.

Whoever may add objects to a store can add any name. So a name alone counts for nothing: an object counts if its seal
opens. Three means keep that cheap, and keep a name that junk has taken from standing in anyone's way:

- The *plain* name of an object says what it is (``hold-…-00000012``). If junk has that name, the object gets its
  *tagged* name: the plain one and 32 hexadecimal digits that only a holder of the keys can compute.
- Removals have tagged names only: a listing then shows what is removed, and nothing has to be read for it.
- The salt in an object's header is signed. It tells damage of a genuine object, which must be reported and may stop
  things, from junk, which must not.

Names and salts are specified in docs/repository-format.md ("Names").
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from twinhull.model.errors import UsageError
from twinhull.model.ports import Randomness
from twinhull.model.units import KIB, MIB
from twinhull.repository.errors import (
    NotAuthentic,
    ObjectExists,
    ObjectMissing,
    ObjectUnfit,
    RepositoryDamaged,
    RepositoryError,
    RepositoryVersionTooNew,
)
from twinhull.repository.format.envelope import HEADER, SALT_BYTES, ObjectKind, salt_in, seal, unseal
from twinhull.repository.format.keyring import TAG_LETTERS, Keys
from twinhull.repository.store.contract import Store

MAX_DOCUMENT_BYTES = {
    ObjectKind.POINT: 4 * MIB,
    ObjectKind.REMOVAL: 64 * KIB,
    ObjectKind.HOLD: 64 * KIB,
    ObjectKind.COLLECTION: 128 * MIB,
    ObjectKind.VERIFICATION: 128 * MIB,
    ObjectKind.ROTATION: 4 * KIB,
}
"""The most that is read of an object, and written, by its kind."""
UNREADABLE = (RepositoryDamaged, RepositoryVersionTooNew)
"""What is raised of an object that was read and did not open. That the store failed is another matter."""


@dataclass(frozen=True, slots=True)
class Document:
    """An object that was opened; ``mark`` tells it from every other one, also of the same name."""

    name: str
    content: bytes
    mark: str


@dataclass(frozen=True, slots=True)
class Documents:
    """Reads and writes them. Objects are named by their plain names here, under whichever name they are stored."""

    store: Store
    keys: Keys
    randomness: Randomness

    def read(self, kind: ObjectKind, plain: str) -> Document:
        """Open an object.

        Raises ObjectMissing, NotAuthentic for junk, and RepositoryDamaged or RepositoryVersionTooNew for an object
        that a holder of the keys wrote.
        """
        problem: RepositoryError | None = None
        for name in self._names(kind, plain):
            try:
                return self.open(kind, name)
            except ObjectMissing:
                continue
            except UNREADABLE as error:
                problem = error if problem is None or isinstance(problem, NotAuthentic) else problem
        raise problem or ObjectMissing(f"There is no object '{plain}' in {self.store.url}.")

    def open(self, kind: ObjectKind, name: str) -> Document:
        """Open the object of exactly that name; raises as ``read``."""
        try:
            data = self.store.read(name, MAX_DOCUMENT_BYTES[kind])
        except ObjectUnfit as error:
            raise _as_junk(error) from None
        try:
            return Document(name, unseal(self.keys, kind, name, data), salt_in(data).hex())
        except UNREADABLE as error:
            if len(data) >= HEADER.size and self.keys.is_signed_salt(name, salt_in(data), _signer(kind, name)):
                raise
            raise _as_junk(error) from None

    def is_authentic(self, kind: ObjectKind, plain: str) -> bool:
        """Whether there is such an object that a holder of the keys wrote, readable or not."""
        if self.exists(self.tagged(plain)):
            return True
        try:
            self.open(kind, plain)
        except (ObjectMissing, NotAuthentic):
            return False
        except UNREADABLE:
            return True
        return True

    def create(self, kind: ObjectKind, plain: str, content: bytes) -> bool:
        """Store an object, unless there is an authentic one already; whether it is ours that is there now.

        A creation that was answered twice (a retry) finds its own object there.
        """
        if kind is not ObjectKind.REMOVAL:
            if self._put(kind, plain, content):
                return True
            if self.is_authentic(kind, plain):
                return False
        return self._put(kind, self.tagged(plain), content)

    def create_plain(self, kind: ObjectKind, plain: str, content: bytes) -> bool:
        """As ``create``, under the plain name or not at all."""
        return self._put(kind, plain, content)

    def delete(self, plain: str) -> None:
        """Delete an object under both of its names; junk that has its plain name goes with it, if it is a file."""
        self.store.delete(self.tagged(plain))
        with suppress(ObjectMissing, ObjectUnfit):
            self.store.size(plain)
            self.store.delete(plain)

    def exists(self, name: str) -> bool:
        """Whether the store has anything of exactly that name."""
        try:
            self.store.size(name)
        except ObjectMissing:
            return False
        except ObjectUnfit:
            return True
        return True

    def is_there(self, plain: str) -> bool:
        """Whether there is anything under either name, authentic or not."""
        return self.exists(plain) or self.exists(self.tagged(plain))

    def listed(self, prefix: str) -> Iterator[tuple[str, bool]]:
        """The plain name of everything below the prefix, and whether its tag proves that name.

        What has no right tag is listed as it is called.
        """
        for info in self.store.list(prefix):
            plain, _, tag = info.name.rpartition("-")
            is_tagged = len(tag) == TAG_LETTERS and self.tagged(plain) == info.name
            yield (plain, True) if is_tagged else (info.name, False)

    def tagged(self, plain: str) -> str:
        """The name that only a holder of the keys can compute."""
        return f"{plain}-{self.keys.name_tag(plain)}"

    def _names(self, kind: ObjectKind, plain: str) -> tuple[str, str]:
        """Where to look first: where objects of that kind mostly are."""
        tagged = self.tagged(plain)
        return (tagged, plain) if kind is ObjectKind.REMOVAL else (plain, tagged)

    def _put(self, kind: ObjectKind, name: str, content: bytes) -> bool:
        salt = self.keys.signed_salt(name, self.randomness.token(SALT_BYTES))
        sealed = seal(self.keys, kind, name, salt, content)
        if len(sealed) > MAX_DOCUMENT_BYTES[kind]:
            raise UsageError(f"The object '{name}' is larger than the limit for its kind.")
        try:
            self.store.create(name, [sealed])
        except ObjectExists:
            return self._holds(name, sealed)
        return True

    def _holds(self, name: str, sealed: bytes) -> bool:
        try:
            return self.store.read(name, len(sealed)) == sealed
        except (RepositoryDamaged, ObjectMissing):
            return False


def _signer(kind: ObjectKind, name: str) -> int:
    """By which key the salt of an object is signed: a rotation's by the one that was in force before it."""
    digits = name.split("-")[1]
    return int(digits) - 1 if kind is ObjectKind.ROTATION and digits.isdecimal() else 1


def _as_junk(error: RepositoryError) -> NotAuthentic:
    return NotAuthentic(
        f"{error.message} It was not written with this repository's keys, and is ignored.",
        hint="Find out who can write to the store, then delete the object there.",
    )
