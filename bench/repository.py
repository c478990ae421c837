"""The repository against its peers, on one input, in turn, on this machine (``make bench-repository``).

The input is an ext4 image with this machine's /usr/lib in it; the peers are Debian's zstd, borg, restic and
qemu-img. Each program runs as a process of its own and is measured in the same way: wall clock, CPU-seconds, peak
memory and stored bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.figures import Figure, show
from bench.repository_steps import MACHINE, PASSPHRASE

GIB = 1 << 30
MIB = 1 << 20
PEER_ENV = {"BORG_PASSPHRASE": "bench", "RESTIC_PASSWORD": "bench", "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}
ENV = {**PEER_ENV, "TWINHULL_PASSPHRASE": PASSPHRASE}
RESTORE_ROUNDS = 3


@dataclass(frozen=True)
class Run:
    """What one program took."""

    wall_seconds: float
    cpu_seconds: float
    peak_bytes: int
    output: str


def measured(argv: list[str], home: Path, output: Path | None = None, *, at: Path | None = None) -> Run:
    """Run a program to its end, in the directory ``at``; raises where it fails."""
    env = {**os.environ, **ENV, "HOME": str(home)}
    started = time.monotonic()
    with tempfile.TemporaryFile() as told, (output or Path(os.devnull)).open("wb") as sink:
        process = subprocess.Popen(argv, stdout=sink if output else told, stderr=told, env=env, cwd=at)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - started
        told.seek(0)
        text = told.read().decode(errors="replace")
    if process.returncode:
        raise SystemExit(f"{argv[0]} failed with {process.returncode}: {text}")
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, text)


def make_input(path: Path, tree: str, gib: int) -> None:
    """An ext4 image with a real tree in it."""
    with path.open("wb") as file:
        file.truncate(gib * GIB)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-d", tree, str(path)], check=True)


def change(path: Path, megabytes: int) -> None:
    """A day of a guest, more or less: scattered pieces of 16 KiB."""
    dice = random.Random(1)  # noqa: S311 - the same changes each time
    with path.open("r+b") as file:
        for _ in range(megabytes * 64):
            file.seek(dice.randrange(path.stat().st_size // 4096 - 4) * 4096)
            file.write(dice.randbytes(16384))


def stored(directory: Path) -> int:
    """The bytes of all files below."""
    return sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())


def warm(path: Path) -> None:
    """Bring a file into the page cache."""
    with path.open("rb") as file:
        while file.read(8 * MIB):
            pass


def _step(name: str, repository: Path, other: Path, home: Path) -> Run:
    return measured([sys.executable, "-m", "bench.repository_steps", name, str(repository), str(other)], home)


def first_capture(work: Path, disk: Path, ours: Run) -> list[Figure]:
    """The first capture against zstd, borg, restic and qemu-img.

    A capture reads back what it has compressed, so it is measured against a compression that is tested (ADR 5).
    """
    zstd = measured(["zstd", "-1", "-T2", "-q", "-f", str(disk), "-o", str(work / "disk.zst")], work)
    tested = measured(["zstd", "-t", "-q", str(work / "disk.zst")], work)
    wall_tested, cpu_tested = zstd.wall_seconds + tested.wall_seconds, zstd.cpu_seconds + tested.cpu_seconds
    measured(["borg", "init", "-e", "repokey-blake2", str(work / "borg")], work)
    borg_argv = ["borg", "create", "-C", "zstd,1", "--chunker-params", "fixed,1048576", f"{work}/borg::one", str(disk)]
    borg = measured(borg_argv, work)
    measured(["restic", "-q", "-r", str(work / "restic"), "init"], work)
    restic = measured(["restic", "-q", "-r", str(work / "restic"), "backup", str(disk)], work)
    image = work / "disk.qcow2"
    image_argv = ["qemu-img", "convert", "-c", "-O", "qcow2", "-o", "compression_type=zstd", str(disk), str(image)]
    converted = measured(image_argv, work)
    image.unlink()
    _step("capture-level-3", work / "level-3", disk, work)
    return [
        Figure("first capture: wall clock / zstd -1 -T2, zstd -t", ours.wall_seconds / wall_tested, "x", 1.0),
        Figure("first capture: CPU-seconds / zstd -1 -T2, zstd -t", ours.cpu_seconds / cpu_tested, "x", 1.1),
        Figure("first capture: wall clock / zstd -1 -T2 alone", ours.wall_seconds / zstd.wall_seconds, "x"),
        Figure("first capture: CPU-seconds / zstd -1 -T2 alone", ours.cpu_seconds / zstd.cpu_seconds, "x"),
        Figure("first capture: wall clock / borg", ours.wall_seconds / borg.wall_seconds, "x", 0.75),
        Figure("first capture: wall clock / restic", ours.wall_seconds / restic.wall_seconds, "x", 0.5),
        Figure("first capture: wall clock / qemu-img convert -c", ours.wall_seconds / converted.wall_seconds, "x"),
        Figure("first capture: CPU-seconds", ours.cpu_seconds, "s"),
        Figure("first capture: peak memory", ours.peak_bytes / MIB, "MiB", 300),
        Figure("stored bytes / borg", stored(work / "twinhull") / stored(work / "borg"), "x", 1.0),
        Figure("stored bytes at level 3 / restic", stored(work / "level-3") / stored(work / "restic"), "x", 1.0),
    ]


def restores(work: Path, disk: Path) -> list[Figure]:
    """A restore against unpacking a file, and the product's own command against its peers'."""
    unzstd = measured(["zstd", "-d", "-q", "-f", str(work / "disk.zst"), "-o", str(work / "unpacked")], work)
    (work / "unpacked").unlink()
    ours = _step("restore", work / "twinhull", work / "restored", work)
    _require_same(disk, work / "restored")
    return [
        Figure("restore: wall clock / zstd -d", ours.wall_seconds / unzstd.wall_seconds, "x", 1.2),
        *_restores_by_command(work, disk),
    ]


def _restores_by_command(work: Path, disk: Path) -> list[Figure]:
    """``twinhull restore``, ``restic restore`` and ``borg extract`` in turn, several times: the best of each counts."""
    takers = [partial(take, work, disk) for take in (_by_twinhull, _by_restic, _by_borg)]
    rounds = [[take() for take in takers] for _ in range(RESTORE_ROUNDS)]
    walls = [min(run.wall_seconds for run in runs) for runs in zip(*rounds, strict=True)]
    cpus = [min(run.cpu_seconds for run in runs) for runs in zip(*rounds, strict=True)]
    ours_wall, ours_cpu = walls[0], cpus[0]
    return [
        Figure("twinhull restore: wall clock / restic restore", ours_wall / walls[1], "x", 0.5),
        Figure("twinhull restore: wall clock / borg extract", ours_wall / walls[2], "x", 0.5),
        Figure("twinhull restore: CPU-seconds / restic restore", ours_cpu / cpus[1], "x"),
        Figure("twinhull restore: CPU-seconds / borg extract", ours_cpu / cpus[2], "x"),
        Figure("twinhull restore: wall clock", ours_wall, "s"),
    ]


def _by_twinhull(work: Path, disk: Path) -> Run:
    """The command, with its run, its verification of each chunk and its qemu-nbd."""
    twinhull = [sys.executable, "-m", "twinhull.cli", "--state", str(work / "state")]
    if not (work / "state").exists():
        measured([*twinhull, "repository", "use", str(work / "twinhull")], work)
    target = work / "restored.raw"
    run = measured([*twinhull, "restore", f"{MACHINE}:1", "--to", str(target)], work)
    _require_same(disk, target)
    return run


def _by_restic(work: Path, disk: Path) -> Run:
    target = work / "from-restic"
    run = measured(["restic", "-q", "-r", str(work / "restic"), "restore", "latest", "--target", str(target)], work)
    _require_same(disk, target / disk.relative_to("/"))
    shutil.rmtree(target)
    return run


def _by_borg(work: Path, disk: Path) -> Run:
    target = work / "from-borg"
    target.mkdir()
    run = measured(["borg", "extract", "--sparse", f"{work}/borg::one"], work, at=target)
    _require_same(disk, target / disk.relative_to("/"))
    shutil.rmtree(target)
    return run


def _require_same(disk: Path, restored: Path) -> None:
    """What was restored is what was captured; it is deleted."""
    subprocess.run(["cmp", str(disk), str(restored)], check=True)
    restored.unlink()


def _comparison(work: Path, disk: Path) -> tuple[Run, float]:
    """A full comparison, and its wall clock in times of that which BLAKE3 alone takes for the file."""
    hashing = _step("hash", work / "twinhull", disk, work)
    ours = _step("compare", work / "twinhull", disk, work)
    return ours, ours.wall_seconds / hashing.wall_seconds


def later_captures(work: Path, disk: Path, first: Run) -> list[Figure]:
    """The second capture, with and without a tracker; without one both of the same disk and of a changed one.

    What the changed one takes longer is what storing the changes takes: measured by the byte, as the first capture is.
    """
    same, same_share = _comparison(work, disk)
    change(disk, 32)
    warm(disk)
    changed, changed_share = _comparison(work, disk)
    storing = (changed.wall_seconds - same.wall_seconds) / json.loads(changed.output)["bytes_in"]
    tracked = _step("tracked", work / "twinhull", disk, work)
    stats = json.loads(tracked.output)
    metadata = (stats["bytes_stored"] - 64 * MIB) / (64 * MIB)
    storing_first = first.wall_seconds / json.loads(first.output)["bytes_in"]
    return [
        Figure("no tracker, nothing changed: wall clock / BLAKE3", same_share, "x", 1.25),
        Figure("no tracker, after a day: wall clock / BLAKE3", changed_share, "x"),
        Figure("no tracker, after a day: a byte stored / first capture", storing / storing_first, "x", 1.5),
        Figure("64 MiB in 1 TiB: wall clock", tracked.wall_seconds, "s", 2.0),
        Figure("64 MiB in 1 TiB: peak memory", tracked.peak_bytes / MIB, "MiB", 300),
        Figure("64 MiB in 1 TiB: metadata / change", metadata, "x", 0.05),
    ]


def main() -> int:
    """Make the input, run everything, print the figures."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--tree", default="/usr/lib", help="what to put into the image")
    options.add_argument("--gib", type=int, default=6, help="size of the image")
    options.add_argument("--work", default=None, help="where to work; needs three times the image")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="twinhull-bench-", dir=chosen.work) as name:
        work = Path(name)
        disk = work / "disk.raw"
        make_input(disk, chosen.tree, chosen.gib)
        warm(disk)
        ours = _step("capture", work / "twinhull", disk, work)
        return show([*first_capture(work, disk, ours), *restores(work, disk), *later_captures(work, disk, ours)])


if __name__ == "__main__":
    sys.exit(main())
