"""The highest numbers of a repository: they never fall, so one that did shows a store that was put back.

Whoever may write to a store can put back an older set of objects, each of them genuine. What a manager remembers of an
earlier verification shows it. Removals of the last points keep their numbers, so honest work lowers none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from twinhull.repository.format.envelope import ObjectKind
from twinhull.repository.format.keyring import Keys
from twinhull.repository.format.numbered import Numbered
from twinhull.repository.points.catalog import Catalog

KEYS = "keys"


def high_water(catalog: Catalog, keys: Keys) -> dict[str, int]:
    """The highest number of each machine's points, of collections, of verifications, and of the repository's keys."""
    machines = {machine_id: catalog.highest_sequence(machine_id) for machine_id in catalog.machine_ids()}
    notes = {
        kind.purpose: Numbered(catalog.documents, kind).last_number()
        for kind in (ObjectKind.COLLECTION, ObjectKind.VERIFICATION)
    }
    return {name: number for name, number in {**machines, **notes, KEYS: keys.number}.items() if number}


def gone_back(known: Mapping[str, int], now: Mapping[str, int]) -> Iterator[str]:
    """A sentence for each number that is lower than it was."""
    for name, number in sorted(known.items()):
        found = now.get(name, 0)
        if found < number:
            yield (
                f"The store went back in time: its highest number of {_told(name)} was {number}, and is now "
                f"{found}. An older state of it was restored, or newer objects were deleted."
            )


def _told(name: str) -> str:
    return {KEYS: "keys", "collection": "collections", "verification": "verifications"}.get(name, f"points of {name}")
