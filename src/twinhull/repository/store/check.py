"""Trying a store out: does it keep the contract that a repository's safety rests on? For users' own buckets and disks.

Everything is done with objects of its own (of the kind ``check``), which are gone afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from twinhull.model.ports import Randomness
from twinhull.model.units import MIB
from twinhull.repository.errors import ObjectExists, ObjectMissing, StoreError
from twinhull.repository.store.contract import Store

LARGE_BYTES = 20 * MIB
CREATOR_COUNT = 8
LISTED_COUNT = 30


@dataclass(frozen=True, slots=True)
class StoreFinding:
    """One property of a store, whether it has it, and what was seen."""

    name: str
    holds: bool
    reason: str


def check_store(store: Store, randomness: Randomness) -> list[StoreFinding]:
    """Try every property, in a store that may be in use; a store that fails any is not safe for a repository."""
    trial = _Trial(store, f"check-{randomness.token(8).hex()}", randomness)
    try:
        return list(trial.run())
    finally:
        for info in list(store.list(trial.prefix)):
            store.delete(info.name)


@dataclass(frozen=True, slots=True)
class _Trial:
    store: Store
    prefix: str
    randomness: Randomness

    def run(self) -> Iterator[StoreFinding]:
        trials: list[tuple[str, Callable[[], str]]] = [
            ("an object comes back unchanged", self._round_trip),
            ("a name can be created only once", self._given_once),
            ("one of many concurrent writers wins", self._one_wins),
            ("any range can be read", self._ranges),
            ("a large object comes back", self._large),
            ("a new object is in the next listing", self._listed),
            ("a deleted object is gone", self._deleted),
        ]
        for name, trial in trials:
            try:
                problem = trial()
            except StoreError as error:
                problem = error.message
            yield StoreFinding(name, not problem, problem or "as required")

    def _name(self, number: int) -> str:
        return f"{self.prefix}-{number:04x}"

    def _round_trip(self) -> str:
        data = self.randomness.token(1000)
        self.store.create(self._name(1), [data[:400], data[400:]])
        return "" if self.store.read(self._name(1)) == data else "Other bytes came back."

    def _given_once(self) -> str:
        before = self.store.read(self._name(1))
        try:
            self.store.create(self._name(1), [b"a second one"])
        except ObjectExists:
            return "" if self.store.read(self._name(1)) == before else "The refused object was written anyway."
        return "A second object replaced the first, so two writers cannot be kept apart."

    def _one_wins(self) -> str:
        contents = [self.randomness.token(5000) for _ in range(CREATOR_COUNT)]

        def create(content: bytes) -> bytes | None:
            try:
                self.store.create(self._name(2), [content])
            except ObjectExists:
                return None
            return content

        with ThreadPoolExecutor(CREATOR_COUNT) as threads:
            winners = [content for content in threads.map(create, contents) if content]
        if len(winners) != 1:
            return f"{len(winners)} of {CREATOR_COUNT} writers created the object."
        return "" if self.store.read(self._name(2)) == winners[0] else "The bytes are not the winner's."

    def _ranges(self) -> str:
        data = self.store.read(self._name(2))
        for offset, length in [(0, 1), (1, 4999), (4999, 1), (100, 1000), (4990, 100), (5000, 10), (9000, 10)]:
            if self.store.read_range(self._name(2), offset, length) != data[offset : offset + length]:
                return f"The range at {offset} of {length} bytes came back wrong."
        return "" if self.store.size(self._name(2)) == len(data) else "The reported size is wrong."

    def _large(self) -> str:
        block = self.randomness.token(MIB)
        self.store.create(self._name(3), [block] * (LARGE_BYTES // MIB))
        end = self.store.read_range(self._name(3), LARGE_BYTES - MIB, MIB)
        return "" if self.store.size(self._name(3)) == LARGE_BYTES and end == block else "It came back changed."

    def _listed(self) -> str:
        names = [self._name(0x100 + number) for number in range(LISTED_COUNT)]
        for count, name in enumerate(names, 1):
            self.store.create(name, [b"x"])
            found = [info.name for info in self.store.list(f"{self.prefix}-01")]
            if found != names[:count]:
                return f"After {count} objects were written, {len(found)} were listed."
        return ""

    def _deleted(self) -> str:
        self.store.delete(self._name(1))
        self.store.delete(self._name(1))
        if self._name(1) in [info.name for info in self.store.list(self.prefix)]:
            return "It is still listed."
        try:
            self.store.read(self._name(1))
        except ObjectMissing:
            return ""
        return "It can still be read."
