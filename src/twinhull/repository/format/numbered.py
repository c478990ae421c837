"""The notes of collections and of verifications: they follow one another by number, and the latest authentic counts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from twinhull.repository.errors import NotAuthentic, ObjectMissing
from twinhull.repository.format.documents import UNREADABLE, Documents
from twinhull.repository.format.envelope import ObjectKind


@dataclass(frozen=True, slots=True)
class Numbered:
    """The objects of one such kind."""

    documents: Documents
    kind: ObjectKind

    def name(self, number: int) -> str:
        """The plain name of the note of that number."""
        return f"{self.kind.purpose}-{number:08d}"

    def latest(self) -> tuple[int, bytes] | None:
        """The latest note that a holder of the keys wrote, with its number; None if there is none.

        Raises RepositoryDamaged, RepositoryVersionTooNew if it is damaged or newer than this Twinhull.
        """
        while True:
            is_outdated = False
            for number in reversed(self._numbers()):
                try:
                    return number, self.documents.read(self.kind, self.name(number)).content
                except NotAuthentic:
                    continue
                except ObjectMissing:  # a newer one has taken its place since the listing
                    is_outdated = True
            if not is_outdated:
                return None

    def readable(self) -> Iterator[tuple[int, bytes]]:
        """The notes that can be read, the latest one first."""
        for number in reversed(self._numbers()):
            try:
                found = self.documents.read(self.kind, self.name(number))
            except (ObjectMissing, *UNREADABLE):
                continue
            yield number, found.content

    def names(self) -> list[str]:
        """The names of all objects that are named as such a note, whoever wrote them."""
        return [self.name(number) for number in self._numbers()]

    def listed(self) -> tuple[object, ...]:
        """What is named as such a note, whoever wrote it; another one is there as soon as this has changed."""
        return tuple(self.documents.listed(f"{self.kind.purpose}-"))

    def last_number(self) -> int:
        """The number of the latest note that a holder of the keys wrote, readable or not; 0 if there is none."""
        for number in reversed(self._numbers()):
            try:
                self.documents.read(self.kind, self.name(number))
            except (NotAuthentic, ObjectMissing):
                continue
            except UNREADABLE:
                return number
            return number
        return 0

    def create(self, number: int, content: bytes) -> bool:
        """Write the note of that number; whether it is ours, or another writer was faster."""
        return self.documents.create(self.kind, self.name(number), content)

    def drop_before(self, number: int) -> None:
        """Delete the notes of lower numbers. Junk stays, for a person to look at."""
        for old in self._numbers():
            if old < number and self.documents.is_authentic(self.kind, self.name(old)):
                self.documents.delete(self.name(old))

    def _numbers(self) -> list[int]:
        prefix = f"{self.kind.purpose}-"
        pattern = re.compile(rf"{prefix}([0-9]{{8}})", re.ASCII)
        found = (pattern.fullmatch(plain) for plain, _ in self.documents.listed(prefix))
        return sorted({int(match[1]) for match in found if match})
