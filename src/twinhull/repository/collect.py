"""Giving back the space of what no point uses: two phases with a grace time between, beside any number of writers.

The order of the steps, and why no writer can lose by it, is in docs/repository-format.md ("Collect", "Writers beside a
collector"). Every step may be cut short, and every run may be repeated.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from twinhull.model.errors import UsageError
from twinhull.model.machine import PointId
from twinhull.model.ports import Ports
from twinhull.model.units import format_bytes, format_duration
from twinhull.repository.catalog import Catalog
from twinhull.repository.chunks import Chunks
from twinhull.repository.collection_state import CollectionState, latest_state, states, store_state
from twinhull.repository.compaction import copy_out, packs_to_empty, rewrite_index
from twinhull.repository.envelope import ObjectKind
from twinhull.repository.errors import ObjectMissing, RepositoryDamaged
from twinhull.repository.holds import Holds
from twinhull.repository.ids import ChunkId, ChunkKind, PackId
from twinhull.repository.index import Index
from twinhull.repository.keys import Keys
from twinhull.repository.numbered import Numbered
from twinhull.repository.packing import Packer
from twinhull.repository.packs import PackInfo, pack_id_in
from twinhull.repository.stats import StatsCounter
from twinhull.repository.stopping import Check, stoppable
from twinhull.repository.store.contract import NEVER, Store
from twinhull.repository.usage import Usage, measure_usage
from twinhull.repository.writer import SESSION_LIMIT_SECONDS

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
class _Waits:
    """How long everything has waited by now, without belief in the clock."""

    last: CollectionState
    credit_seconds: float
    grace_seconds: float

    def removals(self, now: Mapping[PointId, str]) -> dict[PointId, float]:
        """Of the removals that there are now, with their marks: one that was undone and made anew begins anew."""
        old = {
            point: seconds + self.credit_seconds
            for point, seconds in self.last.removals.items()
            if self.last.marks.get(point) in (None, now.get(point))
        }
        return {point: old.get(point, 0.0) for point in sorted(now)}

    def packs(self, now: Collection[PackId]) -> dict[PackId, float]:
        old = self.last.packs
        return {pack: old[pack] + self.credit_seconds if pack in old else 0.0 for pack in sorted(now)}

    def is_over(self, seconds: float) -> bool:
        return seconds >= self.grace_seconds

    def first(self, waited: Mapping[PointId, float] | Mapping[PackId, float]) -> str:
        """When the first of what still waits may go, for the end of a sentence."""
        longest = max((seconds for seconds in waited.values() if not self.is_over(seconds)), default=None)
        if longest is None:
            return ""
        return f"; the first may go in {format_duration(self.grace_seconds - longest)}"


@dataclass(slots=True)
class _Locks:
    """What the store itself keeps from being deleted, and how long the longest of it."""

    store: Store
    count: int = 0
    latest: datetime | None = None

    def holds(self, name: str) -> bool:
        until = self.store.locked_until(name)
        if until:
            self.count += 1
            self.latest = max(until, self.latest or until)
        return until is not None

    def reasons(self) -> list[str]:
        if not self.count:
            return []
        end = (
            "for good, by a legal hold,"
            if self.latest == NEVER
            else f"until {self.latest:%Y-%m-%d %H:%M} UTC at the latest"
        )
        return [f"The store's object lock keeps {self.count} objects {end} that would have been deleted now."]


@dataclass(frozen=True, slots=True)
class _Decision:
    """What one run may carry out: the final points of its state, and the packs that have expired."""

    state: CollectionState
    usage: Usage
    expired: Collection[PackId]
    report: CollectReport


@dataclass(frozen=True, slots=True)
class Collector:
    """One repository's collection."""

    store: Store
    keys: Keys
    index: Index
    chunks: Chunks
    far_chunks: Chunks
    """Past every cache: whether a copy is good is asked of the store itself."""
    catalog: Catalog
    holds: Holds
    ports: Ports
    chunk_size_bytes: int
    level: int
    check: Check

    def collect(self, *, grace_seconds: float, is_alone: bool, is_dry_run: bool) -> CollectReport:
        """See ``Repository.collect``."""
        _check_grace(grace_seconds, is_alone=is_alone)
        decision = self._decide(grace_seconds, is_dry_run=is_dry_run)
        if not decision:
            return CollectReport(reasons=("The clock jumped during this run, so nothing was removed.",))
        if is_dry_run:
            return decision.report
        if not store_state(self.catalog.documents, decision.state):
            return CollectReport(reasons=("Another collection was faster; this one left everything to it.",))
        self._carry_out(decision)
        return decision.report

    def _decide(self, grace_seconds: float, *, is_dry_run: bool) -> _Decision | None:
        """What may go now, None where the clock jumped meanwhile. Copies what is used out of mostly unused packs."""
        started = self.ports.clock.now(), self.ports.clock.monotonic()
        waits = self._waits(started[0], grace_seconds)
        marks = {removal.point_id: removal.mark for removal in self.catalog.removals() if removal.mark}
        removals = waits.removals(marks)
        locks, held = _Locks(self.store), self.holds.held()
        over = [point for point, seconds in removals.items() if waits.is_over(seconds) and point not in held]
        final = tuple(point for point in over if not locks.holds(self.catalog.stored_name(point)))
        usage = self._usage(waits.last, final)
        if self._clock_jumped(*started):
            return None
        chosen = packs_to_empty(usage, waits.last.packs.keys())
        emptied = chosen if is_dry_run else self._emptied(usage, chosen)
        unused = [pack_id for pack_id in usage.packs if not usage.used_counts[pack_id]]
        packs = waits.packs([*unused, *emptied])
        state = CollectionState(waits.last.number + 1, started[0], packs, removals, final, marks)
        over_packs = {pack_id for pack_id, seconds in packs.items() if waits.is_over(seconds)}
        unlocked = {pack_id for pack_id in over_packs if not locks.holds(usage.packs[pack_id].name)}
        needed = self._needed(unlocked, usage)
        report = _report(state, unlocked - needed, usage, waits)
        reasons = (*report.reasons, *locks.reasons(), *_need(needed))
        report = replace(report, packs_copied=len(emptied), locked_until=locks.latest, reasons=reasons)
        return _Decision(state, usage, unlocked - needed, report)

    def _waits(self, now: datetime, grace_seconds: float) -> _Waits:
        """The last run's decisions; where they cannot be read, everything begins to wait anew."""
        try:
            last = latest_state(self.catalog.documents)
        except RepositoryDamaged:
            last = None
        last = last or CollectionState(states(self.catalog.documents).last_number(), now)
        credit = min(max((now - last.observed_at).total_seconds(), 0.0), grace_seconds / CREDITS_PER_GRACE)
        return _Waits(last, credit, grace_seconds)

    def _usage(self, last: CollectionState, final: Collection[PointId]) -> Usage:
        points = self.catalog.all_points(without=final)  # before the index, which then has everything they name
        self.index.refresh()
        self.index.recover()
        condemned = last.packs.keys()
        usage = measure_usage(self.index, self.chunks, points, condemned, self.chunk_size_bytes, check=self.check)
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

    def _emptied(self, usage: Usage, chosen: Sequence[PackId]) -> list[PackId]:
        if not chosen:
            return []
        packer = Packer(
            self.store,
            self.keys,
            self.index,
            chunk_size_bytes=self.chunk_size_bytes,
            ports=self.ports,
            stats=StatsCounter(),
        )
        try:
            return copy_out(self.chunks, packer, usage, chosen, self.level, check=self.check)
        finally:
            packer.close()

    def _needed(self, expired: Collection[PackId], usage: Usage) -> set[PackId]:
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

    def _carry_out(self, decision: _Decision) -> None:
        """Delete what has waited long enough; from here on a crash only means that the next run does it."""
        usage = decision.usage
        for point_id in stoppable(decision.state.final, self.check, 1):
            self.catalog.forget(point_id)
        used = [pack_id for pack_id in usage.packs if usage.used_counts[pack_id]]
        rewrite_index(self.store, self.index, decision.expired, used, self.check)
        for pack_id in stoppable(sorted(decision.expired), self.check, 1):
            self.store.delete(usage.packs[pack_id].name)
        self.catalog.forget_traces()
        self.holds.forget_traces()
        self.store.sweep()
        for kind in (ObjectKind.COLLECTION, ObjectKind.VERIFICATION):
            notes = Numbered(self.catalog.documents, kind)
            notes.drop_before(notes.last_number())


def _check_grace(grace_seconds: float, *, is_alone: bool) -> None:
    least = 2 * SESSION_LIMIT_SECONDS
    if grace_seconds < least and not is_alone:
        raise UsageError(
            f"A grace of {format_duration(grace_seconds)} is too short beside writers.",
            hint=f"Give at least {format_duration(least)}, or make sure that nobody writes, and say so.",
        )


def _need(needed: Collection[PackId]) -> list[str]:
    if not needed:
        return []
    return [f"{len(needed)} packs stay: they have the last good copy of something. Repair the repository."]


def _report(state: CollectionState, expired: Collection[PackId], usage: Usage, waits: _Waits) -> CollectReport:
    freed = sum(usage.packs[pack_id].size_bytes for pack_id in expired)
    waiting = [usage.packs[pack_id].size_bytes for pack_id in state.packs if pack_id not in expired]
    reasons = [f"The point {point_id} goes: its removal has waited out its grace." for point_id in state.final]
    removed_count = len(state.removals) - len(state.final)
    if removed_count:
        reasons.append(f"{removed_count} removed points wait and can be taken back{waits.first(state.removals)}.")
    if expired:
        reasons.append(f"{len(expired)} packs go ({format_bytes(freed)}): no point has used them for the grace.")
    if waiting:
        told = f"{len(waiting)} packs wait ({format_bytes(sum(waiting))}): no point uses them now"
        reasons.append(f"{told}{waits.first(state.packs)}.")
    return CollectReport(
        points_gone=state.final,
        packs_deleted=len(expired),
        bytes_freed=freed,
        packs_waiting=len(waiting),
        bytes_waiting=sum(waiting),
        reasons=tuple(reasons),
    )
