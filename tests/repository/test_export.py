"""A restore point's disk as NBD, read by other people's programs."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from twinhull.model.errors import UsageError
from twinhull.repository import (
    CachedStore,
    MemoryStore,
    PointDiskReader,
    Repository,
    RepositoryError,
    export_disk,
    open_store,
)

from .world import CHUNK, PASSPHRASE, capture, content_of, made, noise

DISK = noise("boot", 9 * CHUNK) + bytes(300 * CHUNK) + noise("root", 100 * CHUNK) + b"\1" * 512


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return made(open_store(str(tmp_path / "repository")))


def test_nbdcopy_and_nbdinfo_read_a_point(repository: Repository, tmp_path: Path) -> None:
    root = capture(repository, DISK).document.disks[0].root
    copy = tmp_path / "copy.raw"
    with export_disk(repository, root) as export:
        subprocess.run(["nbdcopy", export.uri, str(copy)], check=True)
        told = subprocess.run(["nbdinfo", "--map", "--json", export.uri], check=True, capture_output=True).stdout
        info = subprocess.run(["nbdinfo", "--json", export.uri], check=True, capture_output=True).stdout
    assert copy.read_bytes() == DISK
    zeros = [(row["offset"], row["length"]) for row in json.loads(told) if row["type"] == 3]
    assert zeros == [(9 * CHUNK, 300 * CHUNK)]
    served = json.loads(info)["exports"][0]
    assert served["is_read_only"]
    assert served["can_multi_conn"]


def test_qemu_img_converts_a_point(repository: Repository, tmp_path: Path) -> None:
    root = capture(repository, DISK).document.disks[0].root
    with export_disk(repository, root) as export:
        target = str(tmp_path / "disk.qcow2")
        subprocess.run(["qemu-img", "convert", "-O", "qcow2", export.uri, target], check=True)
        subprocess.run(["qemu-img", "compare", export.uri, target], check=True, stdout=subprocess.DEVNULL)


def test_an_export_of_a_bucket_reads_through_the_cache_nearby(s3_endpoint: str, tmp_path: Path) -> None:
    store = open_store(f"s3://twinhull/{tmp_path.name}?endpoint={s3_endpoint}")
    made(store)
    cache = tmp_path / "cache"
    repository = Repository.open(store, PASSPHRASE, near=CachedStore(store, cache))
    root = capture(repository, DISK).document.disks[0].root
    assert not cache.exists(), "nothing was read yet"
    copy = tmp_path / "copy.raw"
    with export_disk(repository, root) as export:
        subprocess.run(["nbdcopy", export.uri, str(copy)], check=True)
    assert copy.read_bytes() == DISK
    kinds = {path.name.partition("-")[0] for path in cache.iterdir()}
    assert kinds == {"index", "pack"}


def test_an_export_leaves_nothing_behind(repository: Repository) -> None:
    root = capture(repository, DISK).document.disks[0].root
    with export_disk(repository, root) as export:
        directory = export.socket.parent
        assert export.socket.exists()
        assert directory.stat().st_mode & 0o077 == 0
        arguments = Path(f"/proc/{export.pid}/cmdline").read_bytes() + Path(f"/proc/{export.pid}/environ").read_bytes()
        assert repository.keys.ring[0].hex().encode() not in arguments
    export.close()
    assert not directory.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(export.pid, 0)


STARTER = """
import sys, time
from twinhull.repository import Repository, DiskRoot, open_store, export_disk
repository = Repository.open(open_store(sys.argv[1]), sys.argv[2])
export = export_disk(repository, repository.points()[0].document.disks[0].root)
print(export.pid, export.socket.parent, flush=True)
time.sleep(100)
"""


def test_an_export_ends_with_a_killed_starter(repository: Repository, tmp_path: Path) -> None:
    capture(repository, DISK)
    arguments = [sys.executable, "-c", STARTER, str(tmp_path / "repository"), "correct horse"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as starter:
        assert starter.stdout
        pid, directory = starter.stdout.readline().decode().split()
        starter.kill()
    deadline = time.monotonic() + 10
    while _lives(int(pid)) or Path(directory).exists():
        assert time.monotonic() < deadline, "nbdkit or its directory outlived the process that started it by 10 s"
        time.sleep(0.05)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_lost_content_is_an_error_and_never_zeros(repository: Repository, tmp_path: Path) -> None:
    root = capture(repository, DISK).document.disks[0].root
    for pack in (tmp_path / "repository" / "pack").glob("*/pack-*"):
        data = bytearray(pack.read_bytes())
        if len(data) > 50 * CHUNK:
            data[200] ^= 1
            pack.write_bytes(data)
    with export_disk(repository, root) as export:
        done = subprocess.run(["nbdcopy", export.uri, "null:"], check=False, capture_output=True)
    assert done.returncode != 0
    assert b"Input/output error" in done.stderr


def test_what_cannot_be_served_is_said(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    root = capture(repository, DISK).document.disks[0].root
    with pytest.raises(UsageError, match="memory"):
        export_disk(made(MemoryStore()), root)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(RepositoryError, match="nbdkit"):
        export_disk(repository, root)


def test_a_point_is_a_disk_that_cannot_be_written(repository: Repository) -> None:
    point = capture(repository, DISK)
    disk = PointDiskReader(repository.reader(), point.document.disks[0].root)
    assert disk.size_bytes == len(DISK)
    assert hashlib.sha256(disk.read(0, len(DISK))).digest() == hashlib.sha256(DISK).digest()
    assert [extent.is_zero for extent in disk.extents(0, len(DISK))] == [False, True, False]
    with pytest.raises(UsageError, match="cannot be written"):
        disk.write(0, b"x")
    with pytest.raises(UsageError, match="cannot be written"):
        disk.zero(0, 1)
    assert content_of(repository, point) == DISK
