"""Standings in a host's files: who raises an epoch, and who comes too late."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.platforms.cut_off import CutOff
from twinhull.hosts.host import MAX_FILE_BYTES, LocalHost
from twinhull.model.codec import standing_to_json
from twinhull.model.errors import DataError, ReplicaDirty, SiteError, StaleEpoch
from twinhull.model.machine import DiskKey, MachineId, PointId, Role, Standing
from twinhull.model.ports import system_ports
from twinhull.platforms.guard.standings import StandingFiles, check_may_follow

MACHINE = MachineId("11111111-2222-4333-8444-555555555555")
POINT, LATER = PointId(f"{MACHINE}/00000001"), PointId(f"{MACHINE}/00000002")


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


def test_a_standing_that_comes_in_part_leaves_the_one_that_is_held(tmp_path: Path, files: StandingFiles) -> None:
    held, host = Standing(MACHINE, Role.PRIMARY, 1, claim="run-1"), CutOff(system_ports())
    files.write(held)
    whole = len(Path(files.path(MACHINE)).read_bytes())
    for host.heard_bytes in (0, 1, whole // 2, whole - 1):
        with pytest.raises(SiteError, match=f"only {host.heard_bytes} of {whole} bytes came"):
            StandingFiles(host, str(tmp_path)).write(Standing(MACHINE, Role.PRIMARY, 2, claim="run-2"))
        assert files.read(MACHINE) == held
    assert len(list(Path(files.directory).iterdir())) == 1


@pytest.mark.parametrize(
    ("held", "written", "may_follow"),
    [
        (Standing(MACHINE, Role.FENCED, 8, claim="run-1"), Standing(MACHINE, Role.FENCED, 8, claim="run-2"), False),
        (Standing(MACHINE, Role.PRIMARY, 8, claim="run-1"), Standing(MACHINE, Role.PRIMARY, 8, claim="run-2"), False),
        (Standing(MACHINE, Role.FENCED, 8, claim="run-1"), Standing(MACHINE, Role.FENCED, 8), False),
        (Standing(MACHINE, Role.PRIMARY, 8, claim="run-1"), Standing(MACHINE, Role.REPLICA, 8, claim="run-1"), False),
        (Standing(MACHINE, Role.PRIMARY, 8), Standing(MACHINE, Role.FENCED, 8), False),
        (Standing(MACHINE, Role.REPLICA, 8, claim="run-1"), Standing(MACHINE, Role.PRIMARY, 7, claim="run-1"), False),
        (Standing(MACHINE, Role.FENCED, 8, claim="run-1"), Standing(MACHINE, Role.PRIMARY, 8, claim="run-1"), True),
        (Standing(MACHINE, Role.FENCED, 8, claim="run-1"), Standing(MACHINE, Role.FENCED, 9, claim="run-2"), True),
        (Standing(MACHINE, Role.REPLICA, 8), Standing(MACHINE, Role.REPLICA, 8, claim="run-2"), True),
        (
            Standing(MACHINE, Role.REPLICA, 8, trackers={DiskKey("claim"): "run-1"}),
            Standing(MACHINE, Role.REPLICA, 8, claim="run-2"),
            True,
        ),
        (None, Standing(MACHINE, Role.PRIMARY, 1, claim="run-1"), True),
        (Standing(MACHINE, Role.REPLICA, 7, POINT), Standing(MACHINE, Role.PRIMARY, 8, POINT, claim="run-1"), True),
        (Standing(MACHINE, Role.REPLICA, 7), Standing(MACHINE, Role.PRIMARY, 8), True),
        (Standing(MACHINE, Role.REPLICA, 7, POINT), Standing(MACHINE, Role.PRIMARY, 8, LATER), False),
        (Standing(MACHINE, Role.REPLICA, 7, POINT), Standing(MACHINE, Role.PRIMARY, 8), False),
        (
            Standing(MACHINE, Role.REPLICA, 7, POINT, is_dirty=True, applying_point_id=LATER),
            Standing(MACHINE, Role.PRIMARY, 8, POINT),
            False,
        ),
        (
            Standing(MACHINE, Role.PRIMARY, 8, POINT, is_dirty=True, applying_point_id=LATER),
            Standing(MACHINE, Role.PRIMARY, 8, LATER),
            True,
        ),
        (
            Standing(MACHINE, Role.REPLICA, 8, POINT, is_dirty=True, applying_point_id=LATER),
            Standing(MACHINE, Role.REPLICA, 8, LATER),
            True,
        ),
        (
            Standing(MACHINE, Role.REPLICA, 8, POINT, is_dirty=True, applying_point_id=LATER),
            Standing(MACHINE, Role.REPLICA, 8, POINT),
            False,
        ),
        (Standing(MACHINE, Role.REPLICA, 8, is_dirty=True), Standing(MACHINE, Role.REPLICA, 8, POINT), False),
        (Standing(MACHINE, Role.REPLICA, 8, POINT), Standing(MACHINE, Role.REPLICA, 8, LATER), False),
        (Standing(MACHINE, Role.REPLICA, 8, POINT), Standing(MACHINE, Role.REPLICA, 8, POINT), True),
        (
            Standing(MACHINE, Role.REPLICA, 8, POINT),
            Standing(MACHINE, Role.REPLICA, 8, POINT, is_dirty=True, applying_point_id=LATER),
            True,
        ),
        (Standing(MACHINE, Role.FENCED, 8, POINT), Standing(MACHINE, Role.REPLICA, 8, LATER), True),
    ],
)
def test_what_may_follow_is_the_same_on_the_host_and_in_words(
    files: StandingFiles, held: Standing | None, written: Standing, *, may_follow: bool
) -> None:
    if held:
        files.write(held)
    if may_follow:
        check_may_follow(held, written, "this machine")
        files.write(written)
    else:
        with pytest.raises((StaleEpoch, ReplicaDirty)) as in_words:
            check_may_follow(held, written, "this machine")
        with pytest.raises(in_words.type) as on_the_host:
            files.write(written)
        assert str(in_words.value) == str(on_the_host.value)
    assert files.read(MACHINE) == (written if may_follow else held)


def test_who_comes_second_with_the_same_epoch_is_told_which_run_has_it(files: StandingFiles) -> None:
    files.write(Standing(MACHINE, Role.FENCED, 8, claim="failover-1"))
    files.write(Standing(MACHINE, Role.FENCED, 8, claim="failover-1"))
    with pytest.raises(StaleEpoch, match="epoch 8, which the run failover-1 chose") as refused:
        files.write(Standing(MACHINE, Role.FENCED, 8, claim="failover-2"))
    assert "Another manager works on this machine" in refused.value.hint


def test_a_standing_of_an_older_version_is_read_and_followed(files: StandingFiles) -> None:
    path = Path(files.path(MACHINE))
    path.parent.mkdir()
    path.write_text(
        f'{{"applying_point_id": null, "epoch": 3, "is_dirty": false, "machine_id": "{MACHINE}", "point_id": null,'
        ' "role": "primary", "trackers": {}}\n'
    )
    assert files.read(MACHINE) == Standing(MACHINE, Role.PRIMARY, 3)
    files.write(Standing(MACHINE, Role.PRIMARY, 3, claim="rollback-1"))
    assert files.read(MACHINE) == Standing(MACHINE, Role.PRIMARY, 3, claim="rollback-1")


_CLAIMER = """
import sys
from twinhull.model.codec import standing_to_json
from twinhull.model.errors import StaleEpoch
from twinhull.model.machine import MachineId, Role, Standing
from twinhull.model.ports import system_ports
from twinhull.hosts.host import MAX_FILE_BYTES, LocalHost
from twinhull.platforms.guard.standings import StandingFiles
files = StandingFiles(LocalHost(system_ports()), sys.argv[1])
sys.stdin.readline()
for number in range(1, 30):
    try:
        files.write(Standing(MachineId(sys.argv[3]), Role.PRIMARY, number, claim=sys.argv[2]))
    except StaleEpoch:
        continue
    print(number)
"""


def test_two_managers_that_race_never_have_one_epoch_both(tmp_path: Path) -> None:
    won = [set(told.split()) for told in _race(_CLAIMER, tmp_path, ("run-1", "run-2"))]
    assert won[0].isdisjoint(won[1])
    assert "29" in won[0] | won[1]


_RAISER = """
import sys
from twinhull.model.codec import standing_to_json
from twinhull.model.errors import StaleEpoch
from twinhull.model.machine import MachineId, Role, Standing
from twinhull.model.ports import system_ports
from twinhull.hosts.host import MAX_FILE_BYTES, LocalHost
from twinhull.platforms.guard.standings import StandingFiles
files = StandingFiles(LocalHost(system_ports()), sys.argv[1])
sys.stdin.readline()
for number in range(int(sys.argv[2]), 80, 2):
    try:
        files.write(Standing(MachineId(sys.argv[3]), Role.PRIMARY, number))
    except StaleEpoch:
        continue
"""


def test_two_managers_that_race_never_lower_an_epoch(files: StandingFiles, tmp_path: Path) -> None:
    seen = [0]
    _race(_RAISER, tmp_path, ("1", "2"), lambda: seen.append(_epoch_on_disk(files)))
    assert seen == sorted(seen)
    assert epoch(files) == 79
    assert [path.name for path in Path(files.directory).iterdir()] == [f"{MACHINE}.json"]


def _race(program: str, directory: Path, words: Sequence[str], look: Callable[[], None] = lambda: None) -> list[str]:
    """Run it once for each word, all at the same time, and look meanwhile; returns what each one printed."""
    source = str(Path(__file__).parents[2] / "src")
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(directory), word, MACHINE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": source},
        )
        for word in words
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write(b"go\n")
        racer.stdin.flush()
    while any(racer.poll() is None for racer in racers):
        look()
    told = [racer.communicate()[0].decode() for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * len(racers)
    return told


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


OTHER = MachineId("11111111-2222-4333-8444-666666666666")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 40,
        b"rub\nbish",
        b"[]",
        b'{"role": "primary"}',
        f'{{"epoch": 1, "is_dirty": false, "machine_id": "{OTHER}", "role": "primary"}}'.encode(),
        json.dumps(standing_to_json(Standing(MACHINE, Role.PRIMARY, 1))).encode() + b" " * MAX_FILE_BYTES + b"{",
        b"\0" * MAX_FILE_BYTES * 2 + b"[",
    ],
    ids=["empty", "zeros", "lines", "a list", "half of it", "another machine's", "huge", "huge and zeros"],
)
def test_a_damaged_standing_is_told_and_hides_no_other(files: StandingFiles, content: bytes) -> None:
    whole = Standing(OTHER, Role.REPLICA, 2)
    files.write(whole)
    Path(files.path(MACHINE)).write_bytes(content)
    assert files.read_all() == [Standing(MACHINE, Role.UNREADABLE, 0), whole]
    with pytest.raises(DataError, match=MACHINE) as told:
        files.read(MACHINE)
    assert "remove the file and run a sync" in told.value.hint
