"""Restore points on storage: deduplicated, encrypted, complete in themselves. The format: docs/repository-format.md.

The doors of this room (import them from here; the modules below are its own business)::

    store = open_store("/var/lib/twinhull/repository")              # or file:///…, s3://bucket/prefix?endpoint=…
    check_store(store, randomness)                                  # StoreFindings: is it safe for a repository?
    repository = Repository.create(store, passphrase)               # Repository.open(store, passphrase)

    with repository.writer() as writer:                             # nothing is visible before publish
        disk = writer.disk(size_bytes, base=None | DiskRoot)        # starts as the base is (or zeros)
        disk.write(offset_bytes, data)                              # chunk-aligned; only the disk's last may be short
        disk.zero(offset_bytes, length_bytes)                       # chunk-aligned, as write
        root = disk.finish()                                        # DiskRoot
        point = writer.publish(PointDocument(...))                  # durable and whole, or an error and nothing
        writer.stats                                                # WriterStats: what was seen, new, stored

    repository.points(machine_id)   repository.point(point_id)      # in order of sequence
    repository.diff(old, new)                                       # Extents: where new differs from old
    reader = repository.reader()
    reader.read(root, offset_bytes, length_bytes)                   # bytes
    reader.extents(root, offset_bytes, length_bytes)                # Extents: data and zero
    reader.chunk_ids(root, offset_bytes, length_bytes)              # id (None: zeros) of each chunk
    with export_disk(repository, root) as export: export.uri        # read-only NBD on a unix socket (nbdkit)
    PointDiskReader(reader, root)                                   # the same as a blocks.Disk, without a server
    ReadAheadDisk(reader, root)                                     # the same, for whoever reads it in order
    repository.chunk_id(data)                                       # the same for a piece of any disk: compare
    repository.remove_point(point_id)   repository.restore_point(point_id)   repository.removed_points()
    repository.retain(machine_id, RetentionRules(keep_last=3), is_dry_run=True)   # Verdicts, each with its reason
    repository.collect()                                            # CollectReport: freed, waiting, reasons
    repository.verify(read_data=True, sample=0.1)                   # VerifyReport: findings, lost_points
    copy_points(repository, other)                                  # what the other one lacks: CopyVerdicts
    repair(repository, [RepositoryHealer(other), DiskHealer(…)])    # RepairReport: repaired, lost
    diagnose(repository, [RepositoryHealer(other), DiskHealer(…)])  # Diagnosis: what that would look for, and where
    repository.change_passphrase(old, new)   repository.add_recovery_key()   # str, to be printed
    repository.rotate_keys(old, new)                                # what comes is sealed under a new key
    repository.close()                                              # or use it as a context manager

All of it may be used from several threads, one ``DiskWriter`` by one thread.
"""

from twinhull.repository.errors import (
    ChunkLost,
    KeysRotated,
    NotAuthentic,
    PointConflict,
    RepositoryDamaged,
    RepositoryError,
    RepositoryMissing,
    RepositoryVersionTooNew,
    StoreError,
    StoreFull,
    WriterOverdue,
    WrongPassphrase,
)
from twinhull.repository.format.ids import ChunkId, parse_point_id
from twinhull.repository.format.points import DiskRoot, Point, PointDisk, PointDocument, current_points, latest_point
from twinhull.repository.format.removals import Removal
from twinhull.repository.keys.config import DEFAULT_CHUNK_SIZE_BYTES, is_repository
from twinhull.repository.keys.passphrases import KdfCost, check_new_passphrase
from twinhull.repository.points.retention import RetentionRules, Verdict
from twinhull.repository.points.retention import decide as decide_retention
from twinhull.repository.reading.disk import PointDiskReader
from twinhull.repository.reading.readahead import ReadAheadDisk
from twinhull.repository.reading.reader import Reader
from twinhull.repository.repository import DEFAULT_LEVEL, Repository
from twinhull.repository.rescue.copying import CopyVerdict, copy_points
from twinhull.repository.rescue.diagnosis import Diagnosis, MissingPieces, diagnose
from twinhull.repository.rescue.healing import DiskHealer, Healer, RepositoryHealer
from twinhull.repository.rescue.repair import RepairReport, repair
from twinhull.repository.serving.export import DiskExport, export_disk
from twinhull.repository.store.cached import CachedStore
from twinhull.repository.store.check import StoreFinding, check_store
from twinhull.repository.store.contract import ObjectInfo, Store
from twinhull.repository.store.directory import DirectoryStore
from twinhull.repository.store.locate import open_store
from twinhull.repository.store.memory import MemoryStore
from twinhull.repository.store.wrappers import AppendOnlyStore, LimitedStore, ReadOnlyStore
from twinhull.repository.upkeep.collect import CollectReport
from twinhull.repository.upkeep.verify import Finding, VerifyReport
from twinhull.repository.writing.disk_writer import DiskWriter
from twinhull.repository.writing.stats import WriterStats
from twinhull.repository.writing.writer import Writer

__all__ = [
    "DEFAULT_CHUNK_SIZE_BYTES",
    "DEFAULT_LEVEL",
    "AppendOnlyStore",
    "CachedStore",
    "ChunkId",
    "ChunkLost",
    "CollectReport",
    "CopyVerdict",
    "Diagnosis",
    "DirectoryStore",
    "DiskExport",
    "DiskHealer",
    "DiskRoot",
    "DiskWriter",
    "Finding",
    "Healer",
    "KdfCost",
    "KeysRotated",
    "LimitedStore",
    "MemoryStore",
    "MissingPieces",
    "NotAuthentic",
    "ObjectInfo",
    "Point",
    "PointConflict",
    "PointDisk",
    "PointDiskReader",
    "PointDocument",
    "ReadAheadDisk",
    "ReadOnlyStore",
    "Reader",
    "Removal",
    "RepairReport",
    "Repository",
    "RepositoryDamaged",
    "RepositoryError",
    "RepositoryHealer",
    "RepositoryMissing",
    "RepositoryVersionTooNew",
    "RetentionRules",
    "Store",
    "StoreError",
    "StoreFinding",
    "StoreFull",
    "Verdict",
    "VerifyReport",
    "Writer",
    "WriterOverdue",
    "WriterStats",
    "WrongPassphrase",
    "check_new_passphrase",
    "check_store",
    "copy_points",
    "current_points",
    "decide_retention",
    "diagnose",
    "export_disk",
    "is_repository",
    "latest_point",
    "open_store",
    "parse_point_id",
    "repair",
]
