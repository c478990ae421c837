"""Which packs a new point may count on.

Not on those that a collection has condemned, nor on those that are known to be damaged: a verification noted them, the
store's listing lacks them or has another size for them, or a read of this process found them damaged.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Sequence
from dataclasses import dataclass, field
from threading import Lock

from twinhull.model.ports import Clock
from twinhull.repository.errors import RepositoryDamaged
from twinhull.repository.format.collection_state import condemned_packs, latest_state, states
from twinhull.repository.format.documents import Documents
from twinhull.repository.format.ids import ChunkId, PackId
from twinhull.repository.format.packs import PackInfo, pack_name
from twinhull.repository.format.verification_notes import latest_notes, notes_of
from twinhull.repository.reading.index import Index

LISTING_SHARE = 0.01
"""The most of its time that a process spends on listing the packs; a listing that took long is believed for longer."""
MAX_WHOLE_NODES = 1 << 18
"""How many tree nodes are remembered as whole: some 30 MiB, and 2 TiB of disks with chunks of 128 KiB."""


def named_packs(index: Index) -> set[PackInfo]:
    """Every pack that the index knows."""
    return {pack for table in index.tables for pack in table.packs}


@dataclass
class Damage:
    """The packs of one repository that are known to be damaged, and the nodes below which none of them is needed."""

    documents: Documents
    index: Index
    clock: Clock
    met: Collection[PackId]
    """Those that a read of this process has found damaged."""
    _missing: frozenset[PackId] = frozenset()
    _believed_until: float | None = None
    _notes: tuple[object, frozenset[PackId]] = (None, frozenset())
    _whole: tuple[object, set[ChunkId]] = (None, set())
    _lock: Lock = field(default_factory=Lock)

    def known(self) -> frozenset[PackId]:
        """The damaged packs that the index names."""
        self._list()
        found = {*self._missing, *self._noted(), *self.met}
        if not found:
            return frozenset()
        return frozenset(found.intersection(pack.pack_id for pack in named_packs(self.index)))

    def whole_nodes(self, situation: object) -> set[ChunkId]:
        """The nodes that were found whole while what is known of all packs was the same."""
        with self._lock:
            if self._whole[0] != situation or len(self._whole[1]) > MAX_WHOLE_NODES:
                self._whole = situation, set()
            return self._whole[1]

    def _noted(self) -> frozenset[PackId]:
        """What verifications noted; their notes are read only when there are new ones."""
        listed = notes_of(self.documents).listed()
        if listed != self._notes[0]:
            self._notes = listed, latest_notes(self.documents).damaged
        return self._notes[1]

    def _list(self) -> None:
        started = self.clock.monotonic()
        if self._believed_until is not None and started < self._believed_until:
            return
        # Named first: a pack that is stored and indexed during the listing is not taken for one that is missing.
        named = named_packs(self.index)
        sizes = {info.name: info.size_bytes for info in self.documents.store.list("pack-")}
        self._missing = frozenset(pack.pack_id for pack in named if sizes.get(pack.name) != pack.size_bytes)
        ended = self.clock.monotonic()
        self._believed_until = ended + (ended - started) / LISTING_SHARE


class Trust(Container[object]):
    """What one writer counts on, from its beginning to its publishing. As a container: the packs that it avoids."""

    def __init__(self, damage: Damage, also_damaged: Collection[PackId] = ()) -> None:
        """``also_damaged`` is what the caller knows to be damaged besides."""
        self._damage = damage
        self._also_damaged = frozenset(also_damaged)
        self._collections = self._collections_now()
        self._condemned = condemned_packs(damage.documents)
        self.gone: frozenset[PackId] = frozenset()
        """The packs that collections have deleted under the writer."""
        self.damaged: frozenset[PackId] = frozenset()
        self.relied: set[PackId] = set()
        """The packs that hold something which this writer needed and did not store."""

    def __contains__(self, pack_id: object) -> bool:
        return (
            pack_id in self._condemned or pack_id in self.damaged or pack_id in self.gone or pack_id in self._damage.met
        )

    def look(self) -> None:
        """Learn what is damaged, once the index is read."""
        self.damaged = self._damage.known() | self._also_damaged

    def counts_on(self, chunk_id: ChunkId) -> bool:
        """Whether the chunk need not be stored."""
        place = self._damage.index.find_outside(chunk_id, self)
        if place is None:
            return False
        self.relied.add(place.pack.pack_id)
        return True

    @property
    def whole_nodes(self) -> set[ChunkId]:
        """See ``Damage.whole_nodes``."""
        return self._damage.whole_nodes((self.damaged, self.gone, self._collections))

    def look_again(self, stored: Collection[PackId], *, is_published: bool) -> bool:
        """Whether a walk must show that everything needed is still there: what collections did since, and damage.

        ``stored`` are the writer's own packs. Before the point is published its bases' points keep what they hold. A
        collection says what it deletes before it does, and then looks for new points; so of a point and a collection
        at the same time at least one sees the other.
        """
        collections = self._collections_now()
        has_collected = collections != self._collections
        if has_collected:
            self._collections = collections
            self._damage.index.refresh()
            self.gone |= self._lost_of({*self.relied, *stored})
        if not is_published:
            self.damaged |= self._damage.known()
        return bool(self.damaged or self.gone) or (has_collected and is_published)

    def _lost_of(self, needed: Collection[PackId]) -> frozenset[PackId]:
        """Of some packs, and of those that the index names, what a collection has deleted or is deleting."""
        try:
            state = latest_state(self._damage.documents)
        except RepositoryDamaged:  # then the listing alone says what is gone
            state = None
        expired = state.expired if state else frozenset()
        there = {info.name for info in self._damage.documents.store.list("pack-")}
        needed = {*needed, *(pack.pack_id for pack in named_packs(self._damage.index))}
        return frozenset(pack_id for pack_id in needed if pack_id in expired or pack_name(pack_id) not in there)

    def _collections_now(self) -> Sequence[object]:
        return states(self._damage.documents).listed()
