"""What does not grow with the disk or the repository (``make bench-scale``): memory, trees, verification, collection.

Each step runs as a process of its own, so that its memory is its own and nothing is cached from the one before. Disks
are sparse and their chunks small when packed: what is measured is the work with trees, indexes and packs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from bench.figures import Figure, show
from bench.repository import MIB, Run, measured
from twinhull.model.machine import Consistency, DiskKey, MachineId, SiteName
from twinhull.repository import (
    DEFAULT_CHUNK_SIZE_BYTES,
    DiskRoot,
    KdfCost,
    PointDisk,
    PointDocument,
    Repository,
    Writer,
    open_store,
)
from twinhull.repository.format.tree import Shape

GIB = 1 << 30
TIB = 1 << 40
SMALL, LARGE = 10 * GIB, 16 * TIB
SCATTERED_CHUNKS = 512
"""How many chunks the disks have whose memory is compared: 64 MiB."""
TREE_CHUNKS = 20_000
TREE_CHANGES = 100
MILLION = 1_000_000
SMALL_CHUNK_BYTES = 4096
MACHINE = MachineId("00000000-0000-4000-8000-000000000001")
PASSPHRASE = "bench"  # noqa: S105 - of a repository that lives for minutes
CHEAP = KdfCost(1, 1, 8)

Told = dict[str, float]


def _chunk(seed: str, number: int, size: int) -> bytes:
    """A chunk like no other, and small when packed."""
    return f"{seed} {number}\n".encode().ljust(size, b".")


def _publish(writer: Writer, root: DiskRoot) -> None:
    now = datetime.now(UTC)
    disk = PointDisk(DiskKey("vda"), root)
    writer.publish(PointDocument(MACHINE, now, Consistency.CRASH, SiteName("bench"), 1, {}, (disk,)))


def _opened(directory: str) -> Repository:
    return Repository.open(open_store(directory), PASSPHRASE)


def _made(directory: str, chunk_size_bytes: int = DEFAULT_CHUNK_SIZE_BYTES) -> Repository:
    return Repository.create(open_store(directory), PASSPHRASE, chunk_size_bytes=chunk_size_bytes, cost=CHEAP)


def _scatter(writer: Writer, size_bytes: int, count: int, seed: str, base: DiskRoot | None = None) -> DiskRoot:
    """Chunks evenly spread over a disk."""
    chunk = writer.chunk_size_bytes
    disk = writer.disk(size_bytes, base)
    for number in range(count):
        disk.write(number * (size_bytes // count) // chunk * chunk, _chunk(seed, number, chunk))
    return disk.finish()


@contextmanager
def _timed(told: Told, name: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    told[name] = time.monotonic() - started


def capture_small(directory: str) -> Told:
    """A sparse disk of 10 GiB."""
    return _capture(directory, SMALL)


def capture_large(directory: str) -> Told:
    """A sparse disk of 16 TiB with just as many chunks."""
    return _capture(directory, LARGE)


def _capture(directory: str, size_bytes: int) -> Told:
    with _made(directory) as repository, repository.writer() as writer:
        _publish(writer, _scatter(writer, size_bytes, SCATTERED_CHUNKS, "scattered"))
    return {}


def restore(directory: str) -> Told:
    """All data of a disk, read in order of its extents."""
    with _opened(directory) as repository:
        root = repository.points()[0].document.disks[0].root
        reader = repository.reader()
        for extent in reader.extents(root):
            if not extent.is_zero:
                reader.read(root, extent.offset_bytes, extent.length_bytes)
    return {}


def grow_tree(directory: str) -> Told:
    """A tree of 16 TiB with chunks all over it, and its successor with some changes."""
    with _made(directory) as repository:
        with repository.writer() as writer:
            first = _scatter(writer, LARGE, TREE_CHUNKS, "first")
            _publish(writer, first)
        with repository.writer() as writer:
            _publish(writer, _scatter(writer, LARGE, TREE_CHANGES, "second", first))
    return {}


def open_tree(directory: str) -> Told:
    """Open it, compare, read: everything for the first time in this process."""
    told: Told = {}
    with _timed(told, "open"):
        repository = _opened(directory)
        older, newer = (point.document.disks[0].root for point in repository.points())
        assert newer.node
        repository.chunks.node(newer.node, Shape(LARGE, repository.chunk_size_bytes).top)
    with _timed(told, "diff"):
        changes = list(repository.diff(older, newer))
    assert len(changes) == TREE_CHANGES
    fresh = _opened(directory)
    with _timed(told, "read"):
        data = fresh.reader().read(newer, changes[50].offset_bytes, fresh.chunk_size_bytes)
    assert data == _chunk("second", 50, len(data))
    return told


def fill(directory: str) -> Told:
    """A million small chunks, then a second point in which every hundredth is another."""
    size = MILLION * SMALL_CHUNK_BYTES
    with _made(directory, SMALL_CHUNK_BYTES) as repository:
        with repository.writer() as writer:
            disk = writer.disk(size)
            for first in range(0, MILLION, 256):
                chunks = range(first, min(first + 256, MILLION))
                pieces = (_chunk("many", number, SMALL_CHUNK_BYTES) for number in chunks)
                disk.write(first * SMALL_CHUNK_BYTES, b"".join(pieces))
            root = disk.finish()
            _publish(writer, root)
        with repository.writer() as writer:
            disk = writer.disk(size, root)
            for number in range(0, MILLION, 100):
                disk.write(number * SMALL_CHUNK_BYTES, _chunk("changed", number, SMALL_CHUNK_BYTES))
            _publish(writer, disk.finish())
    return {}


def verify(directory: str) -> Told:
    """Is everything there?"""
    with _opened(directory) as repository:
        assert repository.verify().is_good
    return {}


def verify_data(directory: str) -> Told:
    """Is everything what was written?"""
    with _opened(directory) as repository:
        assert repository.verify(read_data=True).is_good
    return {}


def collect(directory: str) -> Told:
    """Remove the first of two points, and give its space back."""
    with _opened(directory) as repository:
        repository.remove_point(repository.points()[0].id)
        report = repository.collect(is_now=True)
        assert len(report.points_gone) == 1
    return {}


def lookups(directory: str) -> Told:
    """How long one search in the index takes, in microseconds."""
    with _opened(directory) as repository:
        root = repository.points()[-1].document.disks[0].root
        wanted = list(repository.reader().chunk_ids(root, 0, 10_000 * SMALL_CHUNK_BYTES))
        started = time.monotonic()
        assert all(chunk_id and repository.index.find(chunk_id) for chunk_id in wanted)
        return {"lookup": (time.monotonic() - started) / len(wanted) * 1e6}


STEPS: dict[str, Callable[[str], Told]] = {
    step.__name__: step
    for step in (
        capture_small,
        capture_large,
        restore,
        grow_tree,
        open_tree,
        fill,
        verify,
        verify_data,
        collect,
        lookups,
    )
}


def _run(step: Callable[[str], Told], repository: Path) -> tuple[Run, Told]:
    done = measured([sys.executable, "-m", "bench.scale", step.__name__, str(repository)], repository.parent)
    told: Told = json.loads(done.output or "{}")
    return done, told


def memory(work: Path) -> list[Figure]:
    """Is memory flat from 10 GiB to 16 TiB?"""
    small, large = _run(capture_small, work / "small")[0], _run(capture_large, work / "large")[0]
    little, much = _run(restore, work / "small")[0], _run(restore, work / "large")[0]
    return [
        Figure("capture of 64 MiB in 16 TiB: peak memory", large.peak_bytes / MIB, "MiB", 300),
        Figure("capture: memory for 16 TiB / for 10 GiB", large.peak_bytes / small.peak_bytes, "x", 1.25),
        Figure("restore: memory for 16 TiB / for 10 GiB", much.peak_bytes / little.peak_bytes, "x", 1.25),
    ]


def trees(work: Path) -> list[Figure]:
    """Is a tree of 16 TiB as good as a small one?"""
    _run(grow_tree, work / "tree")
    told = _run(open_tree, work / "tree")[1]
    return [
        Figure("16 TiB: repository and tree opened", told["open"], "s", 1.0),
        Figure("16 TiB: 100 scattered changes found", told["diff"], "s", 1.0),
        Figure("16 TiB: one chunk read, nothing cached", told["read"], "s", 1.0),
    ]


def million(work: Path) -> list[Figure]:
    """What a million chunks ask of verification and collection."""
    repository = work / "million"
    filled = _run(fill, repository)[0]
    searched = _run(lookups, repository)[1]
    looked = _run(verify, repository)[0]
    read = _run(verify_data, repository)[0]
    collected = _run(collect, repository)[0]
    return [
        Figure("a million chunks: captured", filled.wall_seconds, "s"),
        Figure("a million chunks: peak memory of the capture", filled.peak_bytes / MIB, "MiB", 300),
        Figure("a million chunks: one search in the index", searched["lookup"], "us", 100),
        Figure("a million chunks: verify, existence", looked.wall_seconds, "s", 30),
        Figure("a million chunks: verify, all data", read.wall_seconds, "s", 60),
        Figure("a million chunks: peak memory of verify", max(looked.peak_bytes, read.peak_bytes) / MIB, "MiB", 300),
        Figure("a million chunks: collect", collected.wall_seconds, "s", 60),
        Figure("a million chunks: peak memory of collect", collected.peak_bytes / MIB, "MiB", 300),
    ]


def main() -> int:
    """Run one step, or all of them as processes and print the figures."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("step", nargs="?", choices=STEPS, help="run this step only, in this process")
    options.add_argument("repository", nargs="?", help="where the step's repository is")
    chosen = options.parse_args()
    if chosen.step:
        print(json.dumps(STEPS[chosen.step](chosen.repository)))
        return 0
    with tempfile.TemporaryDirectory(prefix="twinhull-bench-") as name:
        work = Path(name)
        return show([*memory(work), *trees(work), *million(work)])


if __name__ == "__main__":
    sys.exit(main())
