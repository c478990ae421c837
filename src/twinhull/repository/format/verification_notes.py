"""How each pack was when it was last read, from one verification to the next: a numbered document in the store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from twinhull.repository.errors import RepositoryDamaged
from twinhull.repository.format.documents import Documents
from twinhull.repository.format.envelope import ObjectKind
from twinhull.repository.format.ids import PackId
from twinhull.repository.format.numbered import Numbered

DAMAGED = -1
"""What is noted of a pack that was found damaged, in place of the verification that found it good."""


@dataclass(frozen=True, slots=True)
class Notes:
    """``last_good`` has the number of the verification that last found each pack good, or DAMAGED."""

    number: int = 0
    last_good: Mapping[PackId, int] = field(default_factory=dict)

    @property
    def damaged(self) -> frozenset[PackId]:
        """The packs that were damaged when they were last read."""
        return frozenset(pack_id for pack_id, number in self.last_good.items() if number == DAMAGED)


def notes_of(documents: Documents) -> Numbered:
    """Where the notes of all verifications are."""
    return Numbered(documents, ObjectKind.VERIFICATION)


def latest_notes(documents: Documents) -> Notes:
    """The latest notes that can be read; empty if there are none. A verification reports those that cannot."""
    for number, content in notes_of(documents).readable():
        with suppress(RepositoryDamaged):
            return _decoded(number, content)
    return Notes()


def next_number(documents: Documents) -> int:
    """The number for new notes: above those of all that a holder of the keys wrote, readable or not."""
    return notes_of(documents).last_number() + 1


def store_notes(documents: Documents, notes: Notes) -> bool:
    """Write notes; whether they are the ones of that number, or another verification was faster."""
    content = json.dumps({pack_id.hex(): number for pack_id, number in notes.last_good.items()}).encode()
    return notes_of(documents).create(notes.number, content)


def _decoded(number: int, content: bytes) -> Notes:
    try:
        raw = json.loads(content)
        last_good = {PackId(bytes.fromhex(pack)): int(number) for pack, number in raw.items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise RepositoryDamaged(f"The note of verification {number} holds no notes: {error!r}.") from error
    return Notes(number, last_good)
