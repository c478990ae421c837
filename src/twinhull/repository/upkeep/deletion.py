"""The second half of a collection: what it has decided to delete goes, unless a new point needs it by now.

Before it comes here the run has stored its decision. A writer looks for that after it has published; this looks for
points after that: so of the two at least one sees the other, however long either was suspended in between. The whole
argument is in docs/repository-format.md ("Writers beside a collector").
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from twinhull.model.machine import PointId
from twinhull.repository.errors import ObjectMissing, RepositoryDamaged, StoreFull
from twinhull.repository.format.collection_state import CollectionState, latest_state
from twinhull.repository.format.envelope import ObjectKind
from twinhull.repository.format.ids import ChunkId, PackId
from twinhull.repository.format.numbered import Numbered
from twinhull.repository.format.packs import pack_name
from twinhull.repository.points.catalog import Catalog
from twinhull.repository.points.holds import Holds
from twinhull.repository.reading.chunks import Chunks
from twinhull.repository.reading.index import Index
from twinhull.repository.store.contract import Store
from twinhull.repository.upkeep.compaction import rewrite_index
from twinhull.repository.upkeep.stopping import Check, stoppable
from twinhull.repository.upkeep.usage import Usage, measure_usage

DELETIONS_PER_LOOK = 32
"""After that many deletions a run looks whether another one has begun since, and leaves the rest to that."""


@dataclass(frozen=True, slots=True)
class Doomed:
    """What a run has decided on: its stored state, what each pack is used for, and the points that it knew of.

    ``expired`` are the packs that it deletes: those that its state lists, but for the ones that an earlier run may
    still delete and this one must leave.
    """

    state: CollectionState
    expired: frozenset[PackId]
    usage: Usage
    known_points: Collection[PointId]


@dataclass(frozen=True, slots=True)
class Deleter:
    """Carries out one run's decision. A crash anywhere only means that the next run does the rest."""

    store: Store
    index: Index
    chunks: Chunks
    far_chunks: Chunks
    """Past every cache: whether a copy is good is asked of the store itself."""
    catalog: Catalog
    holds: Holds
    chunk_size_bytes: int
    check: Check

    def needed(self, expired: Collection[PackId], usage: Usage) -> set[PackId]:
        """Of the packs that are to go, those with a copy of a chunk whose other copy, which was to stay, is damaged."""
        needed: set[PackId] = set()
        for table in self.index.tables:
            if any(pack.pack_id in expired for pack in table.packs):
                for place in stoppable(table.places(), self.check):
                    pack_id = place.pack.pack_id
                    if pack_id in expired and pack_id not in needed and self._is_needed(place.entry.chunk_id, usage):
                        needed.add(pack_id)
        return needed

    def _is_needed(self, chunk_id: ChunkId, usage: Usage) -> bool:
        kept = usage.marks.marked_place(chunk_id)
        if not kept:
            return False
        self.check()
        try:
            self.far_chunks.fetch(kept)
        except (RepositoryDamaged, ObjectMissing):
            return True
        return False

    def carry_out(self, doomed: Doomed) -> frozenset[PackId]:
        """Delete what has waited long enough; returns the packs that are gone."""
        for point_id in stoppable(doomed.state.final, self.check, 1):
            self.catalog.forget(point_id)
        expired = doomed.expired - self._needed_since(doomed)
        used = [pack_id for pack_id in doomed.usage.packs if doomed.usage.used_counts[pack_id]]
        try:
            rewrite_index(self.store, self.index, expired, used, self.check)
            deleted = self._delete(expired, doomed.state)
        except StoreFull:
            # Packs need no room to go. Until the index is rewritten it names packs that nothing needs.
            deleted = self._delete(expired, doomed.state)
            rewrite_index(self.store, self.index, deleted, used, self.check)
        self.catalog.forget_traces()
        self.holds.forget_traces()
        self.store.sweep()
        for kind in (ObjectKind.COLLECTION, ObjectKind.VERIFICATION):
            notes = Numbered(self.catalog.documents, kind)
            notes.drop_before(notes.last_number())
        return deleted

    def _needed_since(self, doomed: Doomed) -> set[PackId]:
        """The packs that points need which were published since the run had listed them."""
        # One whose removal was taken back at the last moment was not forgotten: it is as new as any.
        new = [point for point in self.catalog.all_points() if point.id not in doomed.known_points]
        expired = doomed.expired
        if not new or not expired:
            return set()
        self.index.refresh()
        self.index.recover()
        usage = measure_usage(self.index, self.chunks, new, expired, self.chunk_size_bytes, check=self.check)
        used = {pack_id for pack_id in expired if usage.used_counts[pack_id]}
        return used | self.needed(expired - used, usage)

    def _delete(self, expired: Collection[PackId], state: CollectionState) -> frozenset[PackId]:
        deleted = set()
        for number, pack_id in enumerate(stoppable(sorted(expired), self.check, 1)):
            if number % DELETIONS_PER_LOOK == 0 and not self._is_latest(state):
                break
            self.store.delete(pack_name(pack_id))
            deleted.add(pack_id)
        return frozenset(deleted)

    def _is_latest(self, state: CollectionState) -> bool:
        try:
            latest = latest_state(self.catalog.documents)
        except RepositoryDamaged:
            return True
        return latest is None or latest.number <= state.number
