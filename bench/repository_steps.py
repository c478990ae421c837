"""What the repository's benchmark measures of Twinhull, each step as a process of its own, as the peers are."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from twinhull.model.extents import Extent, aligned, pieces
from twinhull.model.machine import Consistency, DiskKey, MachineId, SiteName
from twinhull.repository import DiskRoot, KdfCost, PointDisk, PointDocument, Repository, Writer, open_store

MACHINE = MachineId("00000000-0000-4000-8000-000000000001")
PASSPHRASE = "bench"  # noqa: S105 - of a repository that lives for minutes
PIECE_BYTES = 4 * 1024 * 1024
TIB = 1 << 40


def _publish(writer: Writer, root: DiskRoot) -> None:
    disk = PointDisk(DiskKey("vda"), root)
    now = datetime.now(UTC)
    writer.publish(PointDocument(MACHINE, now, Consistency.CRASH, SiteName("bench"), 1, {}, (disk,)))
    print(json.dumps(asdict(writer.stats)))


def capture(directory: str, disk: str, level: int = 1) -> None:
    """A full capture of a file into a new repository."""
    Repository.create(open_store(directory), PASSPHRASE, cost=KdfCost(1, 1, 8)).close()
    repository = Repository.open(open_store(directory), PASSPHRASE, level=level)
    with repository.writer() as writer, Path(disk).open("rb") as source:
        target = writer.disk(os.fstat(source.fileno()).st_size)
        for place in pieces(_data(source.fileno(), repository.chunk_size_bytes, target.size_bytes), PIECE_BYTES):
            target.write(place.offset_bytes, os.pread(source.fileno(), place.length_bytes, place.offset_bytes))
        _publish(writer, target.finish())


def _data(source: int, chunk_bytes: int, size_bytes: int) -> Iterator[Extent]:
    """Where the file has data, in whole chunks: holes are not read, nor are they of a machine's disk."""

    def found() -> Iterator[Extent]:
        offset = 0
        while offset < size_bytes:
            try:
                start = os.lseek(source, offset, os.SEEK_DATA)
            except OSError:  # nothing but a hole is left
                return
            offset = os.lseek(source, start, os.SEEK_HOLE)
            yield Extent(start, offset - start)

    return aligned(found(), chunk_bytes, size_bytes)


def compare(directory: str, disk: str) -> None:
    """A second capture that trusts no tracker: every chunk's id against the last point's."""
    repository = Repository.open(open_store(directory), PASSPHRASE)
    base = repository.points()[-1].document.disks[0].root
    size = repository.chunk_size_bytes

    def differing(offset: int) -> list[tuple[int, bytes]]:
        data = os.pread(source.fileno(), PIECE_BYTES, offset)
        known = repository.reader().chunk_ids(base, offset, len(data))
        view = memoryview(data)
        return [
            (offset + at, bytes(view[at : at + size]))
            for at, chunk_id in zip(range(0, len(data), size), known, strict=True)
            if repository.chunk_id(view[at : at + size]) != chunk_id
        ]

    with (
        Path(disk).open("rb") as source,
        repository.writer() as writer,
        ThreadPoolExecutor(os.cpu_count()) as threads,
    ):
        target = writer.disk(base.size_bytes, base)
        for found in threads.map(differing, range(0, base.size_bytes, PIECE_BYTES)):
            for offset, data in found:
                target.write(offset, data)
        _publish(writer, target.finish())


def tracked(directory: str, disk: str) -> None:
    """64 MiB changed in a disk of 1 TiB, told by a tracker; the changes lie apart."""
    repository = Repository.open(open_store(directory), PASSPHRASE)
    base = repository.points()[-1].document.disks[0].root
    size = repository.chunk_size_bytes
    count = 64 * 1024 * 1024 // size
    with repository.writer() as writer:
        target = writer.disk(TIB, base)
        for number in range(count):
            offset = number * (TIB // count) // size * size
            target.write(offset, hashlib.shake_256(f"{disk} {number}".encode()).digest(size))
        _publish(writer, target.finish())


def restore(directory: str, target: str) -> None:
    """The first point to a file, without writing zeros."""
    repository = Repository.open(open_store(directory), PASSPHRASE)
    root = repository.points()[0].document.disks[0].root
    reader = repository.reader()
    descriptor = os.open(target, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    os.truncate(descriptor, root.size_bytes)
    wanted = pieces((extent for extent in reader.extents(root) if not extent.is_zero), PIECE_BYTES)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for _ in threads.map(
            lambda piece: os.pwrite(
                descriptor, reader.read(root, piece.offset_bytes, piece.length_bytes), piece.offset_bytes
            ),
            wanted,
        ):
            pass
    os.close(descriptor)


def hash_only(_directory: str, disk: str) -> None:
    """The speed at which BLAKE3 alone reads a file: the yardstick of a full comparison."""
    from blake3 import blake3  # noqa: PLC0415 - nothing else needs it here

    with Path(disk).open("rb") as source, ThreadPoolExecutor(os.cpu_count()) as threads:
        ends = range(0, os.fstat(source.fileno()).st_size, PIECE_BYTES)
        for _ in threads.map(lambda at: blake3(os.pread(source.fileno(), PIECE_BYTES, at)).digest(), ends):
            pass


if __name__ == "__main__":
    steps = {
        "capture": capture,
        "capture-level-3": partial(capture, level=3),
        "compare": compare,
        "tracked": tracked,
        "restore": restore,
        "hash": hash_only,
    }
    steps[sys.argv[1]](sys.argv[2], sys.argv[3])
