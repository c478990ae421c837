"""Giving back the space of what no point uses: two phases with a grace time between, beside any number of writers.

The order of the steps, and why no writer can lose by it, is in docs/repository-format.md ("Collect", "Writers beside a
collector"). Every step may be cut short, and every run may be repeated.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from twinhull.model.machine import PointId
from twinhull.model.ports import Ports
from twinhull.model.units import format_bytes
from twinhull.repository.errors import RepositoryDamaged, StoreFull
from twinhull.repository.format.collection_state import CollectionState, latest_state, states, store_state
from twinhull.repository.format.ids import ChunkKind, PackId
from twinhull.repository.format.keyring import Keys
from twinhull.repository.format.packs import PackInfo, pack_id_in
from twinhull.repository.format.points import Point
from twinhull.repository.points.catalog import Catalog
from twinhull.repository.points.holds import Holds
from twinhull.repository.reading.chunks import Chunks
from twinhull.repository.reading.index import Index
from twinhull.repository.store.contract import Store
from twinhull.repository.upkeep.compaction import copy_out, packs_to_empty
from twinhull.repository.upkeep.deletion import Deleter, Doomed
from twinhull.repository.upkeep.stopping import Check
from twinhull.repository.upkeep.usage import Usage, measure_usage
from twinhull.repository.upkeep.waits import Locks, Waits
from twinhull.repository.writing.packing import Packer
from twinhull.repository.writing.stats import StatsCounter
from twinhull.repository.writing.trust import Damage

CREDITS_PER_GRACE = 7
"""One run credits at most this part of the grace: the clock must leap four times before a writer is undercut."""
MAX_CLOCK_DISAGREEMENT_SECONDS = 60.0
"""By how much the wall clock and the monotonic clock may differ over a run before that counts as a jump."""


@dataclass(frozen=True, slots=True)
class CollectReport:
    """What one run of collection did, or would do, and what it waits for."""

    points_gone: tuple[PointId, ...] = ()
    packs_deleted: int = 0
    bytes_freed: int = 0
    packs_waiting: int = 0
    bytes_waiting: int = 0
    packs_copied: int = 0
    locked_until: datetime | None = None
    """Until when the store's object lock keeps some of what waits; None where it keeps nothing."""
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Collector:
    """One repository's collection."""

    store: Store
    keys: Keys
    index: Index
    chunks: Chunks
    catalog: Catalog
    holds: Holds
    damage: Damage
    deleter: Deleter
    ports: Ports
    chunk_size_bytes: int
    level: int
    check: Check

    def collect(self, *, grace_seconds: float, is_dry_run: bool) -> CollectReport:
        """See ``Repository.collect``."""
        decided = self._decide(grace_seconds, is_dry_run=is_dry_run)
        if not decided:
            return CollectReport(reasons=("The clock jumped during this run, so nothing was removed.",))
        doomed, report = decided
        if is_dry_run:
            return report
        if not store_state(self.catalog.documents, doomed.state):
            return CollectReport(reasons=("Another collection was faster, so this one deleted nothing.",))
        return _after(report, doomed, self.deleter.carry_out(doomed))

    def _decide(self, grace_seconds: float, *, is_dry_run: bool) -> tuple[Doomed, CollectReport] | None:
        """What may go now, None where the clock jumped meanwhile. Copies what is used out of mostly unused packs."""
        started = self.ports.clock.now(), self.ports.clock.monotonic()
        waits = self._waits(started[0], grace_seconds)
        marks = {removal.point_id: removal.mark for removal in self.catalog.removals() if removal.mark}
        removals = waits.removals(marks)
        locks, held = Locks(self.store), self.holds.held()
        over = [point for point, seconds in removals.items() if waits.is_over(seconds) and point not in held]
        final = tuple(point for point in over if not locks.holds(self.catalog.stored_name(point)))
        points = self.catalog.all_points(without=final)  # before the index, which then has everything they name
        usage = self._usage(points, waits.last)
        if self._clock_jumped(*started):
            return None
        # The last run may be asleep in the middle of its deletions: what it was to delete is not relied on again.
        doomed_before = waits.last.expired & usage.packs.keys()
        used_again = sorted(pack_id for pack_id in doomed_before if usage.used_counts[pack_id])
        chosen = [*packs_to_empty(usage, waits.last.packs.keys()), *used_again]
        emptied, room_reasons = (chosen, ()) if is_dry_run else self._emptied(usage, chosen)
        unused = [pack_id for pack_id in usage.packs if not usage.used_counts[pack_id]]
        packs = waits.packs({*unused, *emptied, *doomed_before})
        over_packs = {pack_id for pack_id, seconds in packs.items() if waits.is_over(seconds)}
        unlocked = {pack_id for pack_id in over_packs if not locks.holds(usage.packs[pack_id].name)}
        not_copied = set(used_again).difference(emptied)
        needed = self.deleter.needed(unlocked, usage) | not_copied
        expired = frozenset(unlocked - needed)
        known = frozenset(point.id for point in points)
        state = CollectionState(
            waits.last.number + 1, started[0], packs, removals, final, marks, expired | doomed_before, known
        )
        report = _report(state, expired, usage, waits)
        reasons = (*report.reasons, *locks.reasons(), *_need(needed), *room_reasons)
        report = replace(report, packs_copied=len(emptied), locked_until=locks.latest, reasons=reasons)
        return Doomed(state, expired, usage, known), report

    def _waits(self, now: datetime, grace_seconds: float) -> Waits:
        """The last run's decisions; where they cannot be read, everything begins to wait anew."""
        try:
            last = latest_state(self.catalog.documents)
        except RepositoryDamaged:
            last = None
        last = last or CollectionState(states(self.catalog.documents).last_number(), now)
        credit = min(max((now - last.observed_at).total_seconds(), 0.0), grace_seconds / CREDITS_PER_GRACE)
        return Waits(last, credit, grace_seconds)

    def _usage(self, points: Sequence[Point], last: CollectionState) -> Usage:
        """Of several copies one in a pack that is neither condemned nor known to be damaged counts as used."""
        self.index.refresh()
        self.index.recover()
        avoided = last.packs.keys() | self.damage.known()
        usage = measure_usage(self.index, self.chunks, points, avoided, self.chunk_size_bytes, check=self.check)
        self._add_strays(usage)
        return usage

    def _add_strays(self, usage: Usage) -> None:
        """Packs that no index names and whose own list cannot be read: all that any point uses is elsewhere."""
        for info in self.store.list("pack-"):
            pack_id = pack_id_in(info.name)
            if pack_id and pack_id not in usage.packs:
                usage.packs[pack_id] = PackInfo(pack_id, ChunkKind.DATA, info.size_bytes, self.keys.number)

    def _clock_jumped(self, wall: datetime, monotonic: float) -> bool:
        clock = self.ports.clock
        by_wall = (clock.now() - wall).total_seconds()
        return abs(by_wall - (clock.monotonic() - monotonic)) > MAX_CLOCK_DISAGREEMENT_SECONDS

    def _emptied(self, usage: Usage, chosen: Sequence[PackId]) -> tuple[list[PackId], tuple[str, ...]]:
        """The packs of which everything that is used lies elsewhere now, and why there are none."""
        if not chosen:
            return [], ()
        packer = Packer(
            self.store,
            self.keys,
            self.index,
            chunk_size_bytes=self.chunk_size_bytes,
            ports=self.ports,
            stats=StatsCounter(),
        )
        try:
            return copy_out(self.chunks, packer, usage, chosen, self.level, check=self.check), ()
        except StoreFull:
            return [], (f"{len(chosen)} mostly unused packs stay for now: there is no room to copy their used part.",)
        finally:
            packer.close()


def _after(report: CollectReport, doomed: Doomed, deleted: Collection[PackId]) -> CollectReport:
    """What was done, where that is less than was decided."""
    kept = doomed.expired.difference(deleted)
    if not kept:
        return report
    freed = sum(doomed.usage.packs[pack_id].size_bytes for pack_id in deleted)
    reason = f"{len(kept)} of these packs stay, because a new point needs them or another run is working."
    return replace(report, packs_deleted=len(deleted), bytes_freed=freed, reasons=(*report.reasons, reason))


def _need(needed: Collection[PackId]) -> list[str]:
    if not needed:
        return []
    return [
        (
            f"{len(needed)} packs stay, because they hold the last good copy of some data. Repair the repository: "
            "twinhull repository repair"
        )
    ]


def _report(state: CollectionState, expired: Collection[PackId], usage: Usage, waits: Waits) -> CollectReport:
    freed = sum(usage.packs[pack_id].size_bytes for pack_id in expired)
    waiting = [usage.packs[pack_id].size_bytes for pack_id in state.packs if pack_id not in expired]
    why = "its grace is over" if waits.grace_seconds else "it is removed, and the grace is skipped"
    reasons = [f"The point {point_id} is deleted: {why}." for point_id in state.final]
    removed_count = len(state.removals) - len(state.final)
    if removed_count:
        reasons.append(f"{removed_count} removed points can still be taken back{waits.first(state.removals)}.")
    if expired:
        unused = "no point used them during the grace" if waits.grace_seconds else "no point uses them"
        reasons.append(f"{len(expired)} packs are deleted ({format_bytes(freed)}): {unused}.")
    if waiting:
        told = f"{len(waiting)} packs wait ({format_bytes(sum(waiting))}), because no point uses them now"
        reasons.append(f"{told}{waits.first(state.packs)}.")
    return CollectReport(
        points_gone=state.final,
        packs_deleted=len(expired),
        bytes_freed=freed,
        packs_waiting=len(waiting),
        bytes_waiting=sum(waiting),
        reasons=tuple(reasons),
    )
