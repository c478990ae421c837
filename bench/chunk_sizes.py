"""What each chunk size costs with a database guest and with a second guest like it (``make bench-chunks``).

A Debian guest with PostgreSQL runs on QEMU and updates rows at random; its disk is copied at rest three times. A second
guest of the same image lives a life of its own. Each chunk size then takes all four disks into a repository in memory.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby, pairwise
from pathlib import Path

from lab.casts import debian_cast
from lab.guests import define, forward
from lab.ledger import Address, wait_for
from lab.qemu_host import QemuHost
from lab.services import connect
from twinhull.model.machine import Consistency, DiskKey, MachineId, SiteName
from twinhull.model.units import KIB, MIB
from twinhull.repository import (
    DiskRoot,
    KdfCost,
    MemoryStore,
    PointDisk,
    PointDocument,
    Repository,
)

CHUNK_SIZES = (64 * KIB, 128 * KIB, 256 * KIB, 512 * KIB, MIB, 4 * MIB)
ROWS = 100_000
ROW_BYTES = 200
LOAD_SECONDS = 90.0
ROWS_PER_TRANSACTION = 5
ADDRESS = "127.0.0.1"
MACHINE = MachineId("00000000-0000-4000-8000-000000000001")


@dataclass(frozen=True)
class State:
    """A copy of a guest's disk, and what the guest had written since it booted."""

    path: Path
    written_bytes: int


class Guest:
    """A running Debian guest with a table of rows."""

    def __init__(self, host: QemuHost, name: str) -> None:
        cast = debian_cast()
        self.plan = cast.plan(host.images)
        self._service = cast.service
        self._connection = host.connect()
        self._domain = define(self._connection, self.plan)
        self._domain.create()
        self._dice = random.Random(name)  # noqa: S311 - the same load each time
        self.address = wait_for(cast.service, Address(ADDRESS, forward(self._domain, cast.port)), cast.boot_seconds)
        with connect(self.address) as session:
            session.execute("create table account (number int primary key, filler text not null)")
            session.execute(
                "insert into account select n, left(repeat(md5(n::text), 10), %s) from generate_series(1, %s) n",
                (ROW_BYTES, ROWS),
            )

    def load(self) -> int:
        """Update rows at random, as fast as the guest commits; returns how many transactions it was."""
        deadline, count = time.monotonic() + LOAD_SECONDS, 0
        with connect(self.address) as session:
            while time.monotonic() < deadline:
                for _ in range(ROWS_PER_TRANSACTION):
                    filler = self._dice.randbytes(ROW_BYTES // 2).hex()
                    number = self._dice.randint(1, ROWS)
                    session.execute("update account set filler = %s where number = %s", (filler, number))
                session.commit()
                count += 1
        return count

    def state(self, path: Path) -> State:
        """Copy the disk as a capture would find it; the guest stands still meanwhile."""
        written = self._service.written_bytes(self.address)
        self._domain.suspend()
        disk = self.plan.disks[0].path
        subprocess.run(["qemu-img", "convert", "-U", "-O", "raw", str(disk), str(path)], check=True)
        self._domain.resume()
        return State(path, written)

    def remove(self) -> None:
        """Switch it off and forget it."""
        self._domain.destroy()
        self._domain.undefine()
        self._connection.close()


@dataclass(frozen=True)
class Cost:
    """What one disk brought into a repository: bytes of changed chunks, and what the store grew by."""

    moved_bytes: int
    stored_bytes: int
    cpu_seconds: float


def take(repository: Repository, disk: Path, base: tuple[DiskRoot, Path] | None = None) -> tuple[DiskRoot, Cost]:
    """Capture a raw file: what differs from the base's file, or all of it."""
    started = time.process_time()
    with repository.writer() as writer:
        target = writer.disk(disk.stat().st_size, base[0] if base else None)
        for offset, piece in _changed(disk, base[1] if base else None, writer.chunk_size_bytes):
            target.write(offset, piece)
        root = target.finish()
        point = PointDocument(
            MACHINE, datetime.now(UTC), Consistency.CRASH, SiteName("bench"), 1, {}, (PointDisk(DiskKey("vda"), root),)
        )
        writer.publish(point)
        stats = writer.stats
    return root, Cost(stats.bytes_in, stats.bytes_stored, time.process_time() - started)


def _changed(disk: Path, base: Path | None, chunk_bytes: int) -> Iterator[tuple[int, bytes]]:
    """The runs of changed chunks, none longer than a MiB or a chunk."""
    step = max(MIB, chunk_bytes)
    with disk.open("rb") as source, (base or Path("/dev/null")).open("rb") as before:
        offset = 0
        while piece := source.read(step):
            old = before.read(step) if base else None
            yield from _runs(offset, piece, old, chunk_bytes)
            offset += len(piece)


def _runs(offset: int, piece: bytes, old: bytes | None, chunk_bytes: int) -> Iterator[tuple[int, bytes]]:
    starts = range(0, len(piece), chunk_bytes)
    for is_changed, run in groupby(
        starts, key=lambda at: old is None or piece[at : at + chunk_bytes] != old[at : at + chunk_bytes]
    ):
        places = list(run)
        if is_changed:
            yield offset + places[0], piece[places[0] : places[-1] + chunk_bytes]


def row(chunk_bytes: int, states: list[State], other: State) -> list[str]:
    """One line of the table."""
    repository = Repository.create(MemoryStore(), "bench", chunk_size_bytes=chunk_bytes, cost=KdfCost(1, 1, 8))
    root, full = take(repository, states[0].path)
    cells = [f"{chunk_bytes // KIB} KiB", _mib(full.stored_bytes), f"{full.cpu_seconds:.1f}"]
    for before, after in pairwise(states):
        root, increment = take(repository, after.path, (root, before.path))
        cells.append(f"{_mib(increment.moved_bytes)} / {_mib(increment.stored_bytes)}")
    _, second = take(repository, other.path)
    return [*cells, _mib(second.stored_bytes)]


def _mib(amount: int) -> str:
    return f"{amount / MIB:.1f}"


def main() -> int:
    """Run the guests, then print a table in Markdown; sizes are in MiB."""
    with tempfile.TemporaryDirectory(prefix="twinhull-bench-") as name:
        states, other = _lives(Path(name))
        data = subprocess.run(["du", "-m", str(states[0].path)], check=True, capture_output=True, text=True).stdout
        print(f"first state: {data.split()[0]} MiB of data; other guest alone is as large")
        for before, after in pairwise(states):
            print(f"increment: the guest wrote {_mib(after.written_bytes - before.written_bytes)} MiB")
        print("| chunk | full: stored | CPU-s | increments: moved / stored | | the other guest: stored |")
        print("|---|---|---|---|---|---|")
        for chunk_bytes in CHUNK_SIZES:
            print("| " + " | ".join(row(chunk_bytes, states, other)) + " |", flush=True)
    return 0


def _lives(directory: Path) -> tuple[list[State], State]:
    host = QemuHost.start(directory / "host")
    try:
        states = []
        guest = Guest(host, "shop")
        for number in range(3):
            if number:
                print(f"{guest.load()} transactions in {LOAD_SECONDS:.0f} s", flush=True)
            states.append(guest.state(directory / f"{number}.raw"))
        guest.remove()
        guest = Guest(host, "another")
        guest.load()
        other = guest.state(directory / "other.raw")
        guest.remove()
    finally:
        host.stop()
    return states, other


if __name__ == "__main__":
    sys.exit(main())
