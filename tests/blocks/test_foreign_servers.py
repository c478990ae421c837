"""NBD servers that are not ours: few connections, no promise between several, answers that lead nowhere."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.blocks.conftest import make_image
from tests.blocks.foreign_server import foreign_server
from twinhull.blocks import nbd
from twinhull.blocks.nbd import NbdAddress, NbdDisk
from twinhull.blocks.workers import Handles
from twinhull.model.errors import DataError
from twinhull.model.extents import Extent
from twinhull.model.units import KIB, MIB

SIZE = 8 * MIB


@contextmanager
def qemu_nbd(tmp_path: Path, *options: str) -> Iterator[NbdAddress]:
    """``qemu-nbd -t``, as a person starts it."""
    socket = tmp_path / "s"
    image = make_image(tmp_path / "a", "8M")
    server = subprocess.Popen(["qemu-nbd", "-t", "-f", "qcow2", "-k", str(socket), *options, str(image)])
    try:
        while not socket.exists():
            assert server.poll() is None
            time.sleep(0.01)
        yield NbdAddress(str(socket))
    finally:
        server.terminate()
        server.wait(10)


@pytest.mark.parametrize(("options", "connection_count"), [([], 1), (["-e", "2"], 2), (["-e", "8"], 3)])
def test_as_many_connections_are_used_as_a_server_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], connection_count: int
) -> None:
    monkeypatch.setattr(nbd, "FURTHER_SECONDS", 1)
    opened: list[NbdDisk] = []
    connect = NbdDisk._connect

    def count(disk: NbdDisk, seconds: int) -> None:
        connect(disk, seconds)
        opened.append(disk)

    monkeypatch.setattr(NbdDisk, "_connect", count)
    started = time.monotonic()
    with qemu_nbd(tmp_path, *options) as address:
        with Handles(lambda: NbdDisk(address)) as handles, handles.lent(), handles.lent():

            def write(number: int) -> None:
                with handles.lent() as disk:
                    disk.write(number * 64 * KIB, bytes([number]) * 64 * KIB)

            with ThreadPoolExecutor(1) as workers:
                list(workers.map(write, range(1, 100)))
            handles.flush()
        assert len(opened) == connection_count
        with closing(NbdDisk(address)) as disk:
            assert [disk.read(n * 64 * KIB, 64 * KIB) == bytes([n]) * 64 * KIB for n in range(100)] == [True] * 100
    assert time.monotonic() - started < nbd.STALL_SECONDS / 2


def states(path: Path, told: list[list[tuple[int, int]]]) -> list[Extent]:
    """What we make of these answers, one after the other; the last one is given again and again."""

    def answer(_: int, __: int) -> list[tuple[int, int]]:
        return told.pop(0) if len(told) > 1 else told[0]

    with foreign_server(path, SIZE, answer) as socket, closing(NbdDisk(NbdAddress(socket))) as disk:
        return list(disk.extents(0, SIZE))


@pytest.mark.parametrize("told", [[(0, 0), (SIZE, 0)], [(0, 3)], [(0, 0)] * 5])
def test_an_extent_of_no_length_is_an_error_and_no_question_without_an_end(
    tmp_path: Path, told: list[tuple[int, int]]
) -> None:
    with pytest.raises(DataError):
        states(tmp_path / "s", [told])


@pytest.mark.parametrize("seed", range(40))
def test_whatever_a_server_tells_covers_the_range_exactly_or_is_an_error(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    lengths = [4096, 65536, MIB, SIZE, 3 * SIZE, 2**32 - 1]
    if seed % 2:
        lengths += [0, 1, 513]

    def extent() -> tuple[int, int]:
        return chance.choice(lengths), chance.choice([0, 1, 2, 3, 2**31])

    told = [[extent() for _ in range(chance.randint(0 if seed % 4 == 3 else 1, 6))] for _ in range(4000)]
    _covers_exactly_or_is_an_error(tmp_path / "s", [*told, [(SIZE, 0)]])


def test_an_extent_of_no_length_behind_progress_is_an_error_or_passed_over(tmp_path: Path) -> None:
    # libnbd 1.14 hands it on, libnbd 1.22 leaves it out.
    _covers_exactly_or_is_an_error(tmp_path / "s", [[(4096, 0), (0, 2)]])


def _covers_exactly_or_is_an_error(path: Path, told: list[list[tuple[int, int]]]) -> None:
    try:
        found = states(path, told)
    except DataError:
        return
    position = 0
    for each in found:
        assert each.offset_bytes == position
        position = each.end_bytes
    assert position == SIZE
