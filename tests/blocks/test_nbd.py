"""A disk behind a real qemu-nbd."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.blocks.conftest import Served, make_image
from twinhull.blocks.nbd import NbdAddress, NbdDisk
from twinhull.blocks.servers import Image, serving
from twinhull.model.errors import DataError, SiteError, SiteFull
from twinhull.model.extents import Extent
from twinhull.model.ports import Process, SystemProcesses
from twinhull.model.units import GIB, KIB, MIB


def test_what_was_written_is_read_back_and_the_rest_is_zero(tmp_path: Path, served: Served) -> None:
    opener = served(Image(str(make_image(tmp_path / "a", "8M")), "qcow2", is_writable=True))
    with closing(opener()) as disk:
        disk.write(MIB + 512, b"x" * 1000)
        disk.flush()
        assert disk.size_bytes == 8 * MIB
        assert disk.read(MIB, 2048) == bytes(512) + b"x" * 1000 + bytes(536)
        extents = list(disk.extents(0, 8 * MIB))
        assert extents == [
            Extent(0, MIB, is_zero=True),
            Extent(MIB, 64 * KIB),
            Extent(MIB + 64 * KIB, 7 * MIB - 64 * KIB, is_zero=True),
        ]


def test_extents_are_clipped_to_the_range_that_was_asked_for(tmp_path: Path, served: Served) -> None:
    opener = served(Image(str(make_image(tmp_path / "a", "8M")), "qcow2", is_writable=True))
    with closing(opener()) as disk:
        disk.write(0, b"y" * MIB)
        assert list(disk.extents(MIB - 4096, 8192)) == [
            Extent(MIB - 4096, 4096),
            Extent(MIB, 4096, is_zero=True),
        ]
        assert list(disk.extents(0, 0)) == []


def test_a_huge_disk_is_asked_in_bounded_steps(tmp_path: Path, served: Served) -> None:
    opener = served(Image(str(make_image(tmp_path / "a", "40G")), "qcow2", is_writable=True))
    with closing(opener()) as disk:
        disk.write(37 * GIB, b"z" * 4096)
        data = [extent for extent in disk.extents(0, disk.size_bytes) if not extent.is_zero]
        assert data == [Extent(37 * GIB, 64 * KIB)]


def test_zeroing_gives_the_space_back(tmp_path: Path, served: Served) -> None:
    opener = served(Image(str(make_image(tmp_path / "a", "8M")), "qcow2", is_writable=True))
    with closing(opener()) as disk:
        disk.write(0, b"y" * 2 * MIB)
        disk.zero(0, MIB)
        assert list(disk.extents(0, 2 * MIB)) == [Extent(0, MIB, is_zero=True), Extent(MIB, MIB)]
        assert disk.read(0, 4096) == bytes(4096)


def test_a_dirty_bitmap_tells_what_was_written_since(tmp_path: Path, served: Served) -> None:
    path = make_image(tmp_path / "a", "64M")
    subprocess.run(["qemu-img", "bitmap", "--add", str(path), "since"], check=True)
    subprocess.run(["qemu-io", "-f", "qcow2", "-c", "write 5M 100k", str(path)], check=True, capture_output=True)
    opener = served(Image(str(path), "qcow2", bitmap="since"), bitmap="since")
    with closing(opener()) as disk:
        assert isinstance(disk, NbdDisk)
        assert list(disk.changed()) == [Extent(5 * MIB, 128 * KIB)]


def test_a_bitmap_that_is_not_there_is_an_error(tmp_path: Path, served: Served) -> None:
    opener = served(Image(str(make_image(tmp_path / "a", "8M")), "qcow2"), bitmap="never")
    with pytest.raises(DataError, match="has no dirty bitmap 'never'"):
        opener()


def test_a_server_that_cannot_open_its_image_says_why(tmp_path: Path) -> None:
    start = lambda argv: SystemProcesses().start(argv, has_pipes=True)  # noqa: E731
    image = Image(str(tmp_path / "missing"), "qcow2")
    with pytest.raises(SiteError, match="No such file"), serving(start, image, str(tmp_path / "s")):
        pytest.fail("the server must not be ready")


def test_a_server_ends_with_its_context_and_leaves_nothing(tmp_path: Path) -> None:
    start = lambda argv: SystemProcesses().start(argv, has_pipes=True)  # noqa: E731
    image = Image(str(make_image(tmp_path / "a", "8M")), "qcow2", is_writable=True)
    with serving(start, image, str(tmp_path / "s")) as path:
        disk = NbdDisk(NbdAddress(path))
        disk.write(0, b"kept")
        disk.flush()
    with pytest.raises(DataError):
        disk.read(0, 4)
    disk.close()
    disk.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]


def test_a_server_ends_when_its_starter_is_gone(tmp_path: Path) -> None:
    processes = SystemProcesses()
    make_image(tmp_path / "a", "8M")
    script = (
        "import sys, time\n"
        "from twinhull.blocks.servers import Image, serving\n"
        "from twinhull.model.ports import SystemProcesses\n"
        "start = lambda argv: SystemProcesses().start(argv, has_pipes=True)\n"
        "with serving(start, Image(sys.argv[1], 'qcow2'), sys.argv[2]):\n"
        "    print('up', flush=True)\n"
        "    time.sleep(60)\n"
    )
    starter = processes.start(
        [sys.executable, "-c", script, str(tmp_path / "a"), str(tmp_path / "s")],
        has_pipes=True,
    )
    assert starter.stdout
    assert starter.stdout.readline() == b"up\n"
    assert (tmp_path / "s").exists()
    os.kill(starter.pid, signal.SIGKILL)
    starter.end()
    deadline = time.monotonic() + 20
    while sorted(path.name for path in tmp_path.iterdir()) != ["a"]:
        assert time.monotonic() < deadline, "the server outlived its starter"
        time.sleep(0.02)


@contextmanager
def _nbdkit(path: Path, *filters: str) -> Iterator[Process]:
    """A server of 8 MiB of memory, and in which ways it fails."""
    command = ["nbdkit", "--foreground", "--exit-with-parent", "--unix", str(path), "memory", "8M"]
    server = SystemProcesses().start([*command, *filters])
    try:
        deadline = time.monotonic() + 20
        while not path.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield server
    finally:
        os.kill(server.pid, signal.SIGCONT)
        server.end()


def test_no_room_is_told_as_such(tmp_path: Path) -> None:
    with (
        _nbdkit(tmp_path / "s", "--filter=error", "error-pwrite=ENOSPC", "error-pwrite-rate=100%"),
        closing(NbdDisk(NbdAddress(str(tmp_path / "s")))) as disk,
        pytest.raises(SiteFull, match="is full"),
    ):
        disk.write(0, b"x" * 4096)


def test_a_server_that_never_answers_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twinhull.blocks.nbd.STALL_SECONDS", 1)
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(DataError, match="sent nothing for 1 s while the disk was opened"):
            NbdDisk(NbdAddress(str(path)))


def test_nobody_who_listens_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="could not be opened"):
        NbdDisk(NbdAddress(str(tmp_path / "s")))


def test_a_server_that_hangs_does_not_hold_up_the_closing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twinhull.blocks.nbd.CLOSE_SECONDS", 1)
    with _nbdkit(tmp_path / "s") as server:
        disk = NbdDisk(NbdAddress(str(tmp_path / "s")))
        os.kill(server.pid, signal.SIGSTOP)
        started = time.monotonic()
        disk.close()
        assert time.monotonic() - started < 10


def test_a_server_that_hangs_is_an_error_and_its_handle_is_done(
    tmp_path: Path, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _nbdkit(tmp_path / "s", "--filter=delay", "delay-read=30"):
        monkeypatch.setattr("twinhull.blocks.nbd.STALL_SECONDS", 1)
        disk = NbdDisk(NbdAddress(str(tmp_path / "s")))
        with pytest.raises(DataError, match="sent nothing for 1 s"):
            disk.read(0, 4096)
        with pytest.raises(DataError, match="after it was closed"):
            disk.read(0, 4096)
        disk.close()
