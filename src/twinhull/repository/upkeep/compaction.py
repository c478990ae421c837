"""Copying what is still used out of packs that are mostly unused or small, and writing index objects anew."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from heapq import merge
from itertools import groupby

from twinhull.model.units import MIB
from twinhull.repository.errors import ObjectMissing, RepositoryDamaged
from twinhull.repository.format.compression import encode
from twinhull.repository.format.ids import ChunkKind, PackId
from twinhull.repository.format.index_table import IndexTable, Place, order_in_packs, payload_of
from twinhull.repository.format.packs import MAX_PACK_CHUNKS, TARGET_PACK_BYTES
from twinhull.repository.reading.chunks import Chunks
from twinhull.repository.reading.index import Index
from twinhull.repository.reading.lanes import Lanes
from twinhull.repository.store.contract import Store
from twinhull.repository.upkeep.stopping import Check, never, stoppable
from twinhull.repository.upkeep.usage import Usage
from twinhull.repository.writing.packing import Packer

MIN_USED_SHARE = 0.5
"""A pack of which less is used has the rest copied out of it."""
SMALL_PACK_BYTES = TARGET_PACK_BYTES // 4
SMALL_PACK_CHUNKS = MAX_PACK_CHUNKS // 4
MIN_SMALL_PACKS = 32
"""So many small packs of one kind are put together into large ones."""
MAX_COPIED_BYTES = 2048 * MIB
MAX_COPIED_CHUNKS = 1 << 17
"""How much one run copies at most; the next one goes on."""
MAX_LANES = 4
"""So many index objects may have to be searched for one chunk; where it is more, they are put together."""


def packs_to_empty(usage: Usage, condemned: Collection[PackId]) -> list[PackId]:
    """The packs whose used chunks are better kept elsewhere, as many as one run may copy."""
    used = [pack_id for pack_id in sorted(usage.packs) if usage.used_counts[pack_id] and pack_id not in condemned]
    chosen = [pack_id for pack_id in used if usage.used_counts[pack_id] < MIN_USED_SHARE * usage.counts[pack_id]]
    for kind in ChunkKind:
        small = [
            pack_id
            for pack_id in used
            if usage.packs[pack_id].kind is kind
            and usage.packs[pack_id].size_bytes < SMALL_PACK_BYTES
            and usage.used_counts[pack_id] < SMALL_PACK_CHUNKS
        ]
        chosen += small if len(small) >= MIN_SMALL_PACKS else []
    bytes_left, chunks_left = MAX_COPIED_BYTES, MAX_COPIED_CHUNKS
    fitting = []
    for pack_id in dict.fromkeys(chosen):
        bytes_left -= usage.used_bytes(pack_id)
        chunks_left -= usage.used_counts[pack_id]
        if bytes_left < 0 or chunks_left < 0:
            break
        fitting.append(pack_id)
    return fitting


def copy_out(
    chunks: Chunks, packer: Packer, usage: Usage, pack_ids: Sequence[PackId], level: int, *, check: Check = never
) -> list[PackId]:
    """Store the used chunks of packs anew; returns the packs that hold nothing used any more.

    Chunks that were compressed together stay together. A pack with a chunk that cannot be read is left as it is:
    whoever repairs it needs what is left.
    """
    places: dict[PackId, list[Place]] = {pack_id: [] for pack_id in pack_ids}
    for place in stoppable(usage.used_places(places), check):
        places[place.pack.pack_id].append(place)
    emptied = []
    for pack_id, wanted in places.items():
        try:
            wanted.sort(key=order_in_packs)
            for _, shared in groupby(wanted, key=payload_of):
                check()
                _copy_payload(chunks, packer, list(shared), level)
        except (RepositoryDamaged, ObjectMissing):
            continue
        emptied.append(pack_id)
    packer.flush()
    return emptied


def _copy_payload(chunks: Chunks, packer: Packer, places: Sequence[Place], level: int) -> None:
    contents = chunks.fetch_together(places)
    copied = {
        place.entry.chunk_id: content
        for place, content in zip(places, contents, strict=True)
        if packer.claim(place.entry.chunk_id)
    }
    if copied:
        packer.add(places[0].pack.kind, list(copied), encode(b"".join(copied.values()), level))


def rewrite_index(
    store: Store, index: Index, expired: Collection[PackId], used: Collection[PackId], check: Check = never
) -> None:
    """Write index objects that do not name the expired packs, and delete those that do.

    New objects are durable before old ones go. Packs that were found by their footers only are indexed if used.
    """
    stored = index.stored_tables()
    stale = [table for table in stored if any(pack.pack_id in expired for pack in table.packs)]
    stale += [table for table in _crowding(stored) if table not in stale]
    found = [table for table in index.recovered_tables() if any(pack.pack_id in used for pack in table.packs)]
    names = [table.name for table in stale]
    if stale or found:
        index.write_all(stoppable(_places([*stale, *found], expired), check), replaced=names)
    for name in [*names, *index.superseded]:
        store.delete(name)
    index.refresh()


def _crowding(tables: Sequence[IndexTable]) -> list[IndexTable]:
    """The tables of the smallest lanes, where there are too many lanes; half of what may be is left of them."""
    lanes = sorted(Lanes.of(tables).lanes, key=lambda lane: lane.entry_count)
    excess = len(lanes) - MAX_LANES // 2 + 1 if len(lanes) > MAX_LANES else 0
    return [table for lane in lanes[:excess] for table in lane.tables]


def _places(tables: Iterable[IndexTable], expired: Collection[PackId]) -> Iterator[Place]:
    """The places of several tables in one order, each once."""
    last: Place | None = None
    for place in merge(*(table.places() for table in tables), key=_order):
        if place != last and place.pack.pack_id not in expired:
            yield place
        last = place


def _order(place: Place) -> tuple[bytes, bytes, int]:
    return place.entry.chunk_id, place.pack.pack_id, place.entry.offset_bytes
