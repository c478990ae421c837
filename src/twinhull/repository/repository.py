"""A repository, opened: the one object that the other rooms hold."""

from __future__ import annotations

from collections.abc import Collection, Container, Iterator
from datetime import datetime
from types import TracebackType
from typing import Self

from twinhull.model.extents import Extent
from twinhull.model.machine import MachineId, PointId
from twinhull.model.ports import Ports, system_ports
from twinhull.model.progress import OnProgress, nobody_listens
from twinhull.model.secrecy import keep_memory_private
from twinhull.repository.format.collection_state import GRACE_SECONDS
from twinhull.repository.format.ids import ChunkId, ChunkKind, PackId
from twinhull.repository.format.keyring import Keys
from twinhull.repository.format.points import DiskRoot, Point
from twinhull.repository.format.removals import Removal
from twinhull.repository.keys.config import DEFAULT_CHUNK_SIZE_BYTES, Config, create_config, open_config
from twinhull.repository.keys.key_objects import KeyMemory, KeyObjects
from twinhull.repository.keys.passphrases import KdfCost, new_recovery_key
from twinhull.repository.keys.renewal import FindPassphrase, Renewal, not_kept
from twinhull.repository.points.catalog import Catalog, OnDamage
from twinhull.repository.points.high_water import high_water
from twinhull.repository.points.holds import Holds
from twinhull.repository.points.retention import RetentionRules, Verdict, decide
from twinhull.repository.reading.chunks import Chunks
from twinhull.repository.reading.index import Index
from twinhull.repository.reading.reader import Reader
from twinhull.repository.store.cached import CachedStore
from twinhull.repository.store.contract import Store
from twinhull.repository.upkeep.collect import Collector, CollectReport
from twinhull.repository.upkeep.deletion import Deleter
from twinhull.repository.upkeep.stopping import Check, never
from twinhull.repository.upkeep.verify import Verifier, VerifyReport
from twinhull.repository.writing.trust import Damage, Trust
from twinhull.repository.writing.writer import Writer, WriterContext

DEFAULT_LEVEL = 1
"""zstd's level: the fastest; the next ones cost more time than they spare room (see docs/adr)."""


class Repository:
    """Restore points in a store. Safe for threads; make one with ``create`` or ``open``."""

    def __init__(
        self,
        store: Store,
        config: Config,
        keys: Keys,
        ports: Ports,
        near: CachedStore | None = None,
        *,
        find_passphrase: FindPassphrase = not_kept,
        level: int = DEFAULT_LEVEL,
    ) -> None:
        """``near`` is the same store through a cache: the index and the chunks are read through it, by exports, too.

        ``find_passphrase`` opens what rotations add meanwhile. ``level`` is zstd's, for whatever is written.
        """
        keep_memory_private()
        self.store = store
        self.near = near
        self.config = config
        self.keys = keys
        self.level = level
        self._ports = ports
        self._renewal = Renewal(self._key_objects(), keys, find_passphrase)
        keys.find_more = self._renewal.look
        self.index = Index(near or store, keys, ports.randomness)
        self.chunks = Chunks(near or store, keys, self.index, config.chunk_size_bytes)
        self._catalog = Catalog(store, keys, ports)
        self._damage = Damage(self._catalog.documents, self.index, ports.clock, self.chunks.damaged)
        self._holds = Holds(self._catalog)
        self._zeros = bytes(config.chunk_size_bytes)
        self.index.refresh()

    @classmethod
    def create(
        cls,
        store: Store,
        passphrase: str,
        *,
        chunk_size_bytes: int = DEFAULT_CHUNK_SIZE_BYTES,
        cost: KdfCost | None = None,
        ports: Ports | None = None,
    ) -> Repository:
        """Make an empty repository in a store; raises AlreadyExists, UsageError, StoreError."""
        world = ports or system_ports()
        config, keys = create_config(store, passphrase, chunk_size_bytes, cost or KdfCost(), world.randomness)
        return cls(store, config, keys, world, find_passphrase=lambda: passphrase)

    @classmethod
    def open(
        cls,
        store: Store,
        passphrase: str,
        *,
        ports: Ports | None = None,
        near: CachedStore | None = None,
        find_passphrase: FindPassphrase | None = None,
        level: int = DEFAULT_LEVEL,
        memory: KeyMemory | None = None,
    ) -> Repository:
        """Open the repository in a store; ``near`` is the same store through a cache.

        ``find_passphrase`` is asked for the passphrase of then if the keys are rotated while it is open; without it, it
        is taken to be the same. ``level`` is zstd's, for whatever is written. ``memory`` has the keys that have opened
        before, so that forged ones cannot keep them from being tried.
        Raises RepositoryMissing, RepositoryVersionTooNew, WrongPassphrase, RepositoryDamaged, StoreError.
        """
        world = ports or system_ports()
        config, keys = open_config(store, passphrase, world.randomness, memory)
        find = find_passphrase or (lambda: passphrase)
        return cls(store, config, keys, world, near, find_passphrase=find, level=level)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of what is cached. Nothing is left undone by not calling it."""
        self.index.close()

    @property
    def id(self) -> str:
        """The repository's UUID."""
        return self.config.repository_id

    @property
    def chunk_size_bytes(self) -> int:
        """The size of every chunk."""
        return self.config.chunk_size_bytes

    def change_passphrase(self, old: str, new: str, cost: KdfCost | None = None) -> None:
        """Let ``new`` open the repository instead of ``old``; raises WrongPassphrase, KeysRotated.

        Nothing else is written anew.
        """
        self._renewal.look()
        self._key_objects(cost).change_passphrase(self.keys, old, new)

    def look_for_keys(self) -> None:
        """Take the keys that rotations have added since, where they can be opened; raises StoreError."""
        self._renewal.look()

    def rotate_keys(self, old: str, new: str, cost: KdfCost | None = None) -> None:
        """Seal all that is written from now on under a new key, which only ``new`` (it may be ``old``) opens.

        What is stored stays readable. Recovery keys of before open nothing any more. Raises WrongPassphrase,
        KeysRotated where another process was faster.
        """
        self._renewal.look()
        self._key_objects(cost).rotate(self.keys, old, new)

    def add_recovery_key(self, cost: KdfCost | None = None) -> str:
        """Make one more key, to be printed and locked away: it opens the repository wherever a passphrase does."""
        self._renewal.require_current()
        recovery_key = new_recovery_key(self._ports.randomness)
        self._key_objects(cost).add_current(self.keys, recovery_key)
        return recovery_key

    def _key_objects(self, cost: KdfCost | None = None) -> KeyObjects:
        return KeyObjects(self.store, self.id, self._ports.randomness, cost or KdfCost())

    def writer(self) -> Writer:
        """Begin a new point; see ``Writer``."""
        return self._writer(())

    def repairer(self, damaged: Collection[PackId]) -> Writer:
        """A writer that counts nothing in the damaged packs as stored."""
        return self._writer(damaged)

    def avoided(self, damaged: Collection[PackId]) -> Container[object]:
        """The packs that nothing may be built on: damaged ones, and those that a collection may be about to delete."""
        trust = Trust(self._damage, damaged)
        trust.look()
        return trust

    def _writer(self, damaged: Collection[PackId]) -> Writer:
        self._renewal.require_current()
        started = self._ports.clock.monotonic()  # before anything is read that the writer will build on
        trust = Trust(self._damage, damaged)
        context = WriterContext(
            store=self.store,
            keys=self.keys,
            index=self.index,
            chunks=self.chunks,
            chunk_size_bytes=self.chunk_size_bytes,
            ports=self._ports,
            level=self.level,
            trust=trust,
            started=started,
            publish=self._catalog.publish,
            retract=self._remove,
        )
        self.index.refresh()
        trust.look()
        return Writer(context)

    def reader(self) -> Reader:
        """Read disks of points; see ``Reader``."""
        return Reader(self.chunks, self.chunk_size_bytes)

    def points(self, machine_id: MachineId | None = None, on_damage: OnDamage | None = None) -> list[Point]:
        """The points, of one machine or all, by machine and sequence number.

        Raises RepositoryDamaged at the first point whose document cannot be read, unless ``on_damage`` takes it.
        """
        return self._catalog.points(machine_id, on_damage)

    def all_points(self) -> list[Point]:
        """Every point whose document can be read, those on their way out included."""
        return self._catalog.all_points(on_damage=lambda _id, _error: None)

    def point(self, wanted: PointId) -> Point:
        """One point; raises NotFound, UsageError."""
        return self._catalog.point(wanted)

    def remove_point(self, wanted: PointId, reason: str = "asked for") -> None:
        """Take a point out of sight. Its data stays until collection, and until then it can be taken back.

        Raises NotFound, SafetyError for a held point, and KeysRotated.
        """
        self._renewal.require_current()
        self._remove(wanted, reason)

    def _remove(self, wanted: PointId, reason: str) -> None:
        self._catalog.remove(wanted, reason, self._holds.is_held)

    def restore_point(self, wanted: PointId) -> Point:
        """Take a removal back; raises NotFound where it is too late, or where there is none."""
        return self._catalog.take_back(wanted)

    def locked_until(self, wanted: PointId) -> datetime | None:
        """Until when the store's object lock keeps the point, whatever is removed; None where it does not."""
        return self.store.locked_until(self._catalog.stored_name(wanted))

    def removed_points(self) -> list[Removal]:
        """The points that can still be taken back."""
        return self._catalog.removals()

    def removed_ids(self) -> set[PointId]:
        """Every point that was removed, those that are gone included as long as that is remembered."""
        return self._catalog.removed_ids()

    def next_sequence(self, machine_id: MachineId) -> int:
        """The number that the machine's next point gets: above any that its points have or had."""
        return self._catalog.next_sequence(machine_id)

    def highest_sequence(self, machine_id: MachineId) -> int:
        """The highest number that a point of the machine has or had; 0 if it never had any."""
        return self._catalog.highest_sequence(machine_id)

    def high_water(self) -> dict[str, int]:
        """The highest numbers that were given so far, by machine and kind; see ``gone_back``."""
        return high_water(self._catalog, self.keys)

    def hold_point(self, wanted: PointId, reason: str) -> None:
        """Keep a point from retention and removal until it is released; raises NotFound, KeysRotated.

        No error where it is held already; the first reason stays.
        """
        self._renewal.require_current()
        self._holds.hold(wanted, reason)

    def release_point(self, wanted: PointId) -> None:
        """Hold a point no more; raises NotFound where it is not held."""
        self._holds.release(wanted)

    def hold_reason(self, wanted: PointId) -> str | None:
        """Why the point is held; None where it is not."""
        return self._holds.reason(wanted)

    def held_points(self) -> set[PointId]:
        """The points that are held."""
        return self._holds.held()

    def verify(
        self, *, read_data: bool = False, sample: float = 1.0, on_progress: OnProgress = nobody_listens
    ) -> VerifyReport:
        """Look whether everything is there, and with ``read_data`` whether it is what was written.

        ``sample`` is the share of the stored bytes to read: packs that were never found good come first, then those
        found so longest ago, so that samples add up to everything. What is known to be damaged is read besides. What
        was read is noted, also where ``on_progress`` ends the work. Findings are in the report; only the store's own
        failures are raised.
        """
        self._renewal.require_known()
        # Nothing that is known already, in memory or nearby, says anything of what the store holds now.
        index = Index(self.store, self.keys, self._ports.randomness)
        verifier = Verifier(
            self.store,
            self.keys,
            index,
            Chunks(self.store, self.keys, index, self.chunk_size_bytes),
            self._catalog,
            self.chunk_size_bytes,
        )
        try:
            return verifier.verify(read_data=read_data, sample=sample, on_progress=on_progress)
        finally:
            index.close()

    def retain(
        self,
        machine_id: MachineId,
        rules: RetentionRules,
        *,
        replica_at: PointId | None = None,
        is_dry_run: bool = False,
        clock_jumped: bool = False,
    ) -> list[Verdict]:
        """Remove the points of a machine that the rules let go; each verdict has its reason.

        ``replica_at`` is the point of a replica that was left behind, which stays. ``clock_jumped``: the caller's run
        saw the clock jump, so nothing goes. Raises RepositoryDamaged where a point cannot be read: it is not known then
        which ones are the latest, and nothing is removed.
        """
        points, held = self.points(machine_id), self.held_points()
        verdicts = decide(points, rules, held, replica_at=replica_at, clock_jumped=clock_jumped)
        for verdict in verdicts:
            if not verdict.stays and not is_dry_run:
                self.remove_point(verdict.point.id, verdict.reason)
        return verdicts

    def collect(
        self,
        *,
        is_now: bool = False,
        is_dry_run: bool = False,
        check: Check = never,
    ) -> CollectReport:
        """Give back the space of what no point uses, and carry out removals that have waited for their grace.

        Runs beside readers and writers. ``is_now`` lets nothing wait: removals cannot be taken back after that, and
        captures that are running may fail and must be repeated; no published point loses anything. Other writers must
        be of a Twinhull that looks for collections when it publishes. A dry run writes nothing, and reports what a run
        would do now. ``check`` is called often: what it raises ends the run where it is, and the next one goes on.
        Raises RepositoryDamaged, with nothing removed, where it cannot be known what the points use.
        """
        self._renewal.require_current()
        deleter = Deleter(
            store=self.store,
            index=self.index,
            chunks=self.chunks,
            far_chunks=Chunks(self.store, self.keys, self.index, self.chunk_size_bytes),
            catalog=self._catalog,
            holds=self._holds,
            chunk_size_bytes=self.chunk_size_bytes,
            check=check,
        )
        collector = Collector(
            store=self.store,
            keys=self.keys,
            index=self.index,
            chunks=self.chunks,
            catalog=self._catalog,
            holds=self._holds,
            damage=self._damage,
            deleter=deleter,
            ports=self._ports,
            chunk_size_bytes=self.chunk_size_bytes,
            level=self.level,
            check=check,
        )
        return collector.collect(grace_seconds=0.0 if is_now else GRACE_SECONDS, is_dry_run=is_dry_run)

    def diff(self, old: DiskRoot | None, new: DiskRoot) -> Iterator[Extent]:
        """Where a disk differs from an older one, with ``is_zero`` as the new one has it; see ``Reader.diff``."""
        return self.reader().diff(old, new)

    def is_zero(self, data: bytes | memoryview) -> bool:
        """Whether a chunk, or the beginning of one, is zeros."""
        return self._zeros.startswith(data)

    def chunk_id(self, data: bytes | memoryview) -> ChunkId | None:
        """The id that a chunk of this content has, None for zeros; a short last piece is filled up with zeros."""
        size = self.chunk_size_bytes
        if len(data) > size:
            raise ValueError(f"a chunk has at most {size} bytes")
        if self.is_zero(data):
            return None
        content = data if len(data) == size else bytes(data).ljust(size, b"\0")
        return self.keys.chunk_id(ChunkKind.DATA, content)
