"""A repository on a disk that is full to the last byte is emptied with our own commands alone."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import DB, WEB, Answer, Shell, spec
from tests.repository.world import noise
from twinhull.model.units import MIB
from twinhull.repository import KdfCost, Repository, open_store
from twinhull.repository.store import reserve
from twinhull.repository.store.reserve import FILE_NAME

DISK_MIB = 32
RESERVE_BYTES = 2 * MIB


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of a few MiB, which root mounts without a loop device."""
    root = tmp_path / "disk"
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(root)], check=True)
    try:
        yield root
    finally:
        subprocess.run(["umount", "--lazy", str(root)], check=True)


@pytest.fixture(params=["state elsewhere", "state beside it"])
def full(
    request: pytest.FixtureRequest, shell: Shell, disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Shell:
    """Two machines are synced until the disk is full; something else fills the last byte."""
    monkeypatch.setattr(reserve, "MAX_RESERVE_BYTES", RESERVE_BYTES)
    monkeypatch.setattr(reserve, "SHARE_OF_DISK", RESERVE_BYTES / (DISK_MIB * MIB))
    if request.param == "state beside it":
        shell.state = disk / "state"
    for machine_id, name in ((WEB, "web1"), (DB, "db1")):
        shell.world.host("here").add_machine(spec(machine_id, name))
    shell.world.host("there")
    points, phrase = disk / "points", tmp_path / "phrase"
    Repository.create(open_store(str(points)), "correct horse", cost=KdfCost(1, 1, 1024)).close()
    phrase.write_text("correct horse\n")
    shell.ok("--passphrase-file", str(phrase), "repository", "use", str(points))
    shell.ok("site", "add", "here", "simulated:here")
    shell.ok("site", "add", "there", "simulated:there")
    shell.ok("plan", "create", "shop", "-m", "db1", "-m", "web1", "--from", "here", "--to", "there", "--rpo", "15m")
    shell.ok("sync", "db1")
    assert _sync_until_it_fails(shell).code == 37
    _fill(disk / "something else")
    return shell


def _sync_until_it_fails(shell: Shell) -> Answer:
    for number in range(20):
        shell.web.write("vda", 0, noise(number, 5 * MIB))
        answer = shell("sync", "web1")
        if answer.code:
            return answer
    pytest.fail("the disk never filled up")


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (MIB, 4096, 1):
            while True:
                try:
                    file.write(b"x" * size)
                except OSError:
                    break
    assert os.statvfs(path).f_bavail == 0


def _kept_bytes(disk: Path) -> int:
    return sum(path.stat().st_size for path in disk.rglob(FILE_NAME))


def test_a_full_repository_is_emptied_by_what_the_error_says(full: Shell, disk: Path) -> None:
    """Remove and take back, prune, collect at once, sync: what stays is whole, and the reserve comes back."""
    kept_file = disk / "points" / FILE_NAME
    kept, all_kept = kept_file.stat().st_size, _kept_bytes(disk)
    refused = full("sync", "web1")
    assert refused.code == 37
    oldest = full.ok("points", "list", "web1", "--json").json["points"][0]["id"]
    full.ok("points", "remove", oldest, "--yes")
    assert _kept_bytes(disk) < all_kept
    full.ok("points", "take-back", oldest)
    prune, collect = re.findall(r"'twinhull ([^']+)'", refused.err)
    full.ok(*prune.replace("MACHINE", "web1").replace("last 3", "last 1 --keep-at-least 1").split(), "--yes")
    assert len(full.ok("points", "list", "web1", "--json").json["points"]) == 1
    assert full(*collect.split()).code == 5, "it asks first"
    freed = full.ok(*collect.split(), "--yes", "--json").json["runs"][0]["result"]["freed_bytes"]
    assert freed > 2 * MIB
    assert kept_file.stat().st_size == kept
    assert kept_file.stat().st_blocks * 512 >= kept, "it takes the room that it keeps"
    full.ok("sync", "web1")
    full.ok("sync", "db1")
    assert full.ok("repository", "verify", "--read-data", "--json").json["is_good"]


def test_a_catalog_on_a_full_disk_is_not_called_broken(shell: Shell, disk: Path) -> None:
    shell.state = disk / "state"
    shell.ok("site", "list")
    (disk / "state" / FILE_NAME).unlink()
    _fill(disk / "something else")
    answer = shell("site", "list")
    assert answer.code == 50, answer
    assert "rebuild" not in answer.err
    assert "free some space" in answer.err
