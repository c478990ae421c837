"""Standings in a host's files: who raises an epoch, and who comes too late."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from twinhull.model.errors import DataError, StaleEpoch
from twinhull.model.machine import MachineId, Role, Standing
from twinhull.model.ports import system_ports
from twinhull.platforms.hosts import LocalHost
from twinhull.platforms.standings import StandingFiles

MACHINE = MachineId("11111111-2222-4333-8444-555555555555")


@pytest.fixture
def files(tmp_path: Path) -> StandingFiles:
    return StandingFiles(LocalHost(system_ports()), str(tmp_path))


def epoch(files: StandingFiles) -> int:
    held = files.read(MACHINE)
    return held.epoch if held else 0


def test_an_epoch_is_compared_on_the_host_under_the_lock_under_which_it_is_written(files: StandingFiles) -> None:
    files.write(Standing(MACHINE, Role.PRIMARY, 1))
    refused: list[StaleEpoch] = []

    def write_two() -> None:
        try:
            files.write(Standing(MACHINE, Role.PRIMARY, 2))
        except StaleEpoch as error:
            refused.append(error)

    directory = os.open(files.directory, os.O_RDONLY)
    fcntl.flock(directory, fcntl.LOCK_EX)
    late = threading.Thread(target=write_two)
    late.start()
    while late.is_alive() and not _is_waited_for(directory):
        pass
    # Another manager, which holds the lock, raises the epoch meanwhile.
    path = Path(files.path(MACHINE))
    path.write_text(path.read_text().replace('"epoch": 1', '"epoch": 3'))
    os.close(directory)
    late.join()
    assert refused
    assert "holds epoch 3" in str(refused[0])
    assert epoch(files) == 3


def _is_waited_for(lock: int) -> bool:
    """Whether the kernel knows somebody who waits for the lock."""
    waiting = [line.split() for line in Path("/proc/locks").read_text().splitlines() if "->" in line]
    return any(words[-3].endswith(f":{os.fstat(lock).st_ino}") for words in waiting)


_RAISER = """
import sys
from twinhull.model.errors import StaleEpoch
from twinhull.model.machine import MachineId, Role, Standing
from twinhull.model.ports import system_ports
from twinhull.platforms.hosts import LocalHost
from twinhull.platforms.standings import StandingFiles
files = StandingFiles(LocalHost(system_ports()), sys.argv[1])
sys.stdin.readline()
for number in range(int(sys.argv[2]), 80, 2):
    try:
        files.write(Standing(MachineId(sys.argv[3]), Role.PRIMARY, number))
    except StaleEpoch:
        continue
"""


def test_two_managers_that_race_never_lower_an_epoch(files: StandingFiles, tmp_path: Path) -> None:
    source = str(Path(__file__).parents[2] / "src")
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", _RAISER, str(tmp_path), str(first), MACHINE],
            stdin=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": source},
        )
        for first in (1, 2)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write(b"go\n")
        racer.stdin.flush()
    seen = [0]
    while any(racer.poll() is None for racer in racers):
        seen.append(_epoch_on_disk(files))
    for racer in racers:
        racer.communicate()
        assert racer.returncode == 0
    assert seen == sorted(seen)
    assert epoch(files) == 79
    assert [path.name for path in Path(files.directory).iterdir()] == [f"{MACHINE}.json"]


def _epoch_on_disk(files: StandingFiles) -> int:
    """Read at once, many times between two writes; a standing is there as a whole or not at all."""
    try:
        line = Path(files.path(MACHINE)).read_text()
    except FileNotFoundError:
        return 0
    return int(line.partition('"epoch": ')[2].partition(",")[0])


def test_a_standing_that_names_no_epoch_is_not_written_over(files: StandingFiles) -> None:
    path = Path(files.path(MACHINE))
    path.parent.mkdir()
    path.write_text("rubbish\n")
    with pytest.raises(DataError, match="cannot be read"):
        files.write(Standing(MACHINE, Role.PRIMARY, 1))
    assert path.read_text() == "rubbish\n"
