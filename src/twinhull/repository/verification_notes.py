"""How each pack was when it was last read, from one verification to the next: a numbered document in the store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count

from twinhull.repository.envelope import SALT_BYTES, ObjectKind, seal, unseal
from twinhull.repository.errors import ObjectMissing, RepositoryDamaged, RepositoryVersionTooNew
from twinhull.repository.ids import PackId
from twinhull.repository.keys import Keys
from twinhull.repository.store.contract import Store, numbered

PREFIX = "verification-"
DAMAGED = -1
"""What is noted of a pack that was found damaged, in place of the verification that found it good."""
MAX_NUMBER = 99_999_999


@dataclass(frozen=True, slots=True)
class Notes:
    """``last_good`` has the number of the verification that last found each pack good, or DAMAGED."""

    number: int = 0
    last_good: Mapping[PackId, int] = field(default_factory=dict)

    @property
    def damaged(self) -> frozenset[PackId]:
        """The packs that were damaged when they were last read."""
        return frozenset(pack_id for pack_id, number in self.last_good.items() if number == DAMAGED)

    @property
    def name(self) -> str:
        """The object's name."""
        return f"{PREFIX}{self.number:08d}"


def latest_notes(store: Store, keys: Keys) -> Notes:
    """The latest notes that can be read; empty if there are none. A verification reports those that cannot."""
    for name in reversed(numbered(store, PREFIX)):
        try:
            return _decoded(name, unseal(keys, ObjectKind.VERIFICATION, name, store.read(name)))
        except (RepositoryDamaged, RepositoryVersionTooNew, ObjectMissing):
            continue
    return Notes()


def next_number(store: Store, latest: Notes) -> int:
    """The number for new notes: above every object's, unless one of them has the last number that there is.

    Such an object steers nothing: then it is the first free number above the latest notes that can be read.
    """
    taken = {_number(name) for name in numbered(store, PREFIX)}
    number = max(taken, default=0) + 1
    if number <= MAX_NUMBER:
        return number
    return next(number for number in count(latest.number + 1) if number not in taken)


def store_notes(store: Store, keys: Keys, notes: Notes, salt: bytes) -> None:
    """Write notes; raises ObjectExists if another verification was faster."""
    if len(salt) != SALT_BYTES:
        raise ValueError("a salt has 32 bytes")
    content = json.dumps({pack_id.hex(): number for pack_id, number in notes.last_good.items()}).encode()
    store.create(notes.name, [seal(keys, ObjectKind.VERIFICATION, notes.name, salt, content)])


def _decoded(name: str, content: bytes) -> Notes:
    try:
        raw = json.loads(content)
        last_good = {PackId(bytes.fromhex(pack)): int(number) for pack, number in raw.items()}
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise RepositoryDamaged(f"The object '{name}' holds no notes of a verification: {error!r}.") from error
    return Notes(_number(name), last_good)


def _number(name: str) -> int:
    return int(name.removeprefix(PREFIX))
