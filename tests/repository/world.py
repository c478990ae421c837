"""What the repository's tests share: a small repository, a clock to turn, and captures of disks that are bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import groupby

from twinhull.model.machine import Consistency, DiskKey, MachineId, SiteName
from twinhull.model.ports import Ports, SystemProcesses
from twinhull.model.units import KIB
from twinhull.repository import DiskRoot, KdfCost, Point, PointDisk, PointDocument, Repository, Store, Writer

CHUNK = 4 * KIB
PASSPHRASE = "correct horse"  # noqa: S105 - the tests' own
CHEAP = KdfCost(iterations=1, lanes=1, memory_kib=8)
WEB = MachineId("0a000000-0000-4000-8000-000000000001")
DATABASE = MachineId("0b000000-0000-4000-8000-000000000002")


class TurnedClock:
    """A clock that only moves when it is told to."""

    def __init__(self) -> None:
        self.wall = datetime(2026, 11, 21, 12, tzinfo=UTC)
        self.seconds = 1000.0

    def now(self) -> datetime:
        return self.wall

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.pass_time(seconds)

    def pass_time(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.seconds += seconds

    def jump(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)


class SeededRandomness:
    """Bytes that nobody could tell from random ones, and that are the same in every run."""

    def __init__(self, seed: str = "seed") -> None:
        self._seed = seed
        self._count = 0

    def token(self, length_bytes: int) -> bytes:
        self._count += 1
        return hashlib.shake_256(f"{self._seed} {self._count}".encode()).digest(length_bytes)

    def uuid(self) -> str:
        text = self.token(16).hex()
        return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-8{text[17:20]}-{text[20:]}"


def ports(clock: TurnedClock | None = None, seed: str = "seed") -> Ports:
    return Ports(clock or TurnedClock(), SeededRandomness(seed), SystemProcesses())


def made(store: Store, world: Ports | None = None, chunk_size_bytes: int = CHUNK) -> Repository:
    return Repository.create(
        store, PASSPHRASE, chunk_size_bytes=chunk_size_bytes, cost=CHEAP, ports=world or ports(seed="made")
    )


def opened(store: Store, world: Ports | None = None, seed: str = "opened") -> Repository:
    return Repository.open(store, PASSPHRASE, ports=world or ports(seed=seed))


def noise(seed: object, length_bytes: int) -> bytes:
    """Bytes that do not compress, the same for the same seed."""
    return hashlib.shake_256(repr(seed).encode()).digest(length_bytes)


def document(disks: Mapping[str, DiskRoot], machine_id: MachineId = WEB, **more: object) -> PointDocument:
    values: dict[str, object] = {
        "machine_id": machine_id,
        "captured_at": datetime(2026, 11, 21, 12, tzinfo=UTC),
        "consistency": Consistency.FILESYSTEM,
        "source_site": SiteName("here"),
        "epoch": 1,
        "spec": {"name": "web"},
        "disks": tuple(PointDisk(DiskKey(key), root, {"checkpoint": key}) for key, root in disks.items()),
        "notes": ("first capture",),
    }
    return PointDocument(**{**values, **more})  # type: ignore[arg-type] # the caller knows the fields


def write_disk(writer: Writer, content: bytes, base: tuple[DiskRoot, bytes] | None = None) -> DiskRoot:
    """Write a whole disk, or only what differs from the base's content."""
    disk = writer.disk(len(content), base[0] if base else None)
    old = base[1] if base else b""
    size = writer.chunk_size_bytes

    def change(start: int) -> str:
        piece = content[start : start + size]
        before = old[start : start + size].ljust(len(piece), b"\0")[: len(piece)] if base else None
        return "same" if piece == before else "data" if any(piece) else "zeros"

    for kind, starts in groupby(range(0, len(content), size), key=change):
        start, *_ = run = list(starts)
        end = min(run[-1] + size, len(content))
        if kind == "data":
            disk.write(start, content[start:end])
        elif kind == "zeros":
            disk.zero(start, end - start)
    return disk.finish()


def capture(
    repository: Repository, content: bytes, base: tuple[Point, bytes] | None = None, machine_id: MachineId = WEB
) -> Point:
    """Publish a point with one disk of this content."""
    with repository.writer() as writer:
        root = write_disk(writer, content, (base[0].document.disks[0].root, base[1]) if base else None)
        return writer.publish(document({"vda": root}, machine_id))


def content_of(repository: Repository, point: Point, key: str = "vda") -> bytes:
    """The whole content of a point's disk."""
    disk = point.disk(DiskKey(key))
    assert disk
    return repository.reader().read(disk.root, 0, disk.root.size_bytes)
