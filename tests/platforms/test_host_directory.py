"""Our directory on a host: its id, and who may look into it."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from twinhull.hosts import host_directory
from twinhull.hosts.host import LocalHost
from twinhull.model.errors import MachineBusy, SiteError
from twinhull.model.machine import MachineId, Role, Standing
from twinhull.model.ports import system_ports
from twinhull.platforms.guard import standings
from twinhull.platforms.guard.standings import StandingFiles
from twinhull.platforms.libvirt.connection import LibvirtConnection
from twinhull.platforms.libvirt.holding import holding, shared_directory
from twinhull.platforms.libvirt.place import Place

HOST = LocalHost(system_ports())
MACHINE = MachineId("11111111-2222-4333-8444-555555555555")
NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that other users of the host can reach, as /var/lib/twinhull."""
    with tempfile.TemporaryDirectory(prefix="th-") as name:
        Path(name).chmod(0o755)
        yield Path(name) / "ours"


def _place(directory: Path) -> Place:
    ports = system_ports()
    connection = LibvirtConnection("x", "test:///default", HOST, ports.clock)
    return Place("x", connection, HOST, ports.clock, str(directory))


def _modes(directory: Path) -> dict[str, int]:
    paths = [directory, *directory.rglob("*")]
    return {str(path.relative_to(directory)): path.stat().st_mode & 0o777 for path in paths}


def test_a_directory_has_one_id_whoever_prepares_it(directory: Path) -> None:
    assert host_directory.read_id(HOST, str(directory)) == ""
    first, second = str(uuid4()), str(uuid4())
    assert host_directory.prepare(HOST, str(directory), first) == first
    assert host_directory.prepare(HOST, str(directory), second) == first
    assert host_directory.read_id(HOST, str(directory)) == first
    assert not directory.is_symlink()
    assert _modes(directory) == {
        ".": 0o711,
        "run": 0o700,
        "standings": 0o700,
        "scratch": 0o711,
        "replicas": 0o711,
        "site-id": 0o600,
    }


@pytest.mark.parametrize("content", [b"", b"../..", b"\xff" * 500])
def test_what_is_no_id_is_refused_in_words(directory: Path, content: bytes) -> None:
    host_directory.prepare(HOST, str(directory), str(uuid4()))
    (directory / "site-id").write_bytes(content)
    with pytest.raises(SiteError, match="site-id"):
        host_directory.prepare(HOST, str(directory), str(uuid4()))


def test_what_an_older_version_left_open_is_closed(directory: Path) -> None:
    for name in ("run", "standings"):
        (directory / name).mkdir(parents=True)
        (directory / name / "file").touch()
        (directory / name / "file").chmod(0o644)
        (directory / name).chmod(0o755)
    host_directory.prepare(HOST, str(directory), str(uuid4()))
    modes = _modes(directory)
    assert {modes[name] for name in ("run", "standings")} == {0o700}
    assert {modes[f"{name}/file"] for name in ("run", "standings")} == {0o600}


@pytest.mark.skipif(os.geteuid() != 0, reason="another user can be tried by root only")
def test_no_other_user_of_the_host_can_hold_a_lock_of_ours(directory: Path) -> None:
    """All that is locked while a machine is worked on, tried by a user that may do nothing here."""
    host_directory.prepare(HOST, str(directory), str(uuid4()))
    place = _place(directory)
    StandingFiles(HOST, str(directory)).write(Standing(MACHINE, Role.PRIMARY, 1))
    locks = [("-x", place.capture_lock(MACHINE)), ("-s", place.disks_lock(MACHINE))]
    for shared_with in ("", "65534:65534"):
        with holding(place, MACHINE, "label", locks, shared_with=shared_with) as scratch:
            subprocess.run([*NOBODY, "test", "-x", str(directory)], check=True)
            locked = [*(path for _, path in locks), f"{scratch}.label", f"{directory}/standings", f"{directory}/run"]
            for path in locked:
                assert Path(path).exists()
                tried = subprocess.run([*NOBODY, "flock", "-n", "-s", path, "true"], capture_output=True, check=False)
                assert b"Permission denied" in tried.stderr, path
            can_write = subprocess.run([*NOBODY, "touch", f"{scratch}/file"], capture_output=True, check=False)
            assert (can_write.returncode == 0) == bool(shared_with)


def test_each_machine_s_qemu_shares_a_directory_of_its_own(directory: Path) -> None:
    place = _place(directory)
    with holding(place, MACHINE, "label", shared_with="0:0") as scratch:
        assert scratch == f"{directory}/scratch/libvirt-{MACHINE}", "as AppArmor's profile of the machine is called"


def test_a_site_directory_with_a_long_path_still_has_room_for_qemu_s_socket() -> None:
    for length in range(40, 80):
        scratch = "/" + "d" * (length - 1) + "/scratch"
        found = shared_directory(scratch, MACHINE)
        assert found.startswith(f"{scratch}/libvirt-"), "what removes scratch directories tells shared ones by that"
        is_named = found.endswith(f"libvirt-{MACHINE}")
        assert is_named == (length <= 50)
        if length <= 77:  # as in earlier versions
            assert len(f"{found}/nbd") <= 107


def test_a_lock_of_the_standings_that_another_program_holds_is_said_and_is_no_silence(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = StandingFiles(HOST, str(directory))
    held = Standing(MACHINE, Role.PRIMARY, 1)
    files.write(held)
    for script in ("_RAISE", "_REMOVE"):
        monkeypatch.setattr(standings, script, getattr(standings, script).replace("flock -w 10", "flock -w 0.2"))
    with subprocess.Popen(
        ["flock", files.directory, "sh", "-c", "echo held; cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(MachineBusy, match="Another program has held"):
            files.write(Standing(MACHINE, Role.FENCED, 2))
        with pytest.raises(MachineBusy, match="Another program has held"):
            files.remove(MACHINE)
        holder.communicate()
    assert files.read(MACHINE) == held


@pytest.mark.parametrize("epoch", ["10000000000000000000", "99999999999", "007", ""])
def test_an_epoch_that_a_shell_cannot_compare_is_never_passed_over(directory: Path, epoch: str) -> None:
    files = StandingFiles(HOST, str(directory))
    files.write(Standing(MACHINE, Role.FENCED, 5))
    path = Path(files.path(MACHINE))
    path.write_text(path.read_text().replace('"epoch": 5', f'"epoch": {epoch}'))
    with pytest.raises(Exception, match="it names no epoch"):
        files.write(Standing(MACHINE, Role.PRIMARY, 6))


@pytest.mark.parametrize(
    ("age_seconds", "boot_id", "is_refused"), [(0, "", True), (299, "", True), (301, "", False), (0, "another", False)]
)
def test_disks_of_a_machine_that_is_being_started_are_not_opened(
    directory: Path, age_seconds: int, boot_id: str, is_refused: object
) -> None:
    """The guard's mark counts for a while after it was set, in this boot of the host."""
    place = _place(directory)
    boot = boot_id or Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    up_seconds = int(float(Path("/proc/uptime").read_text().split()[0]))
    (directory / "run").mkdir(parents=True)
    Path(place.starting_mark(MACHINE)).write_text(f"{boot} {up_seconds - age_seconds}\n")
    with holding(place, MACHINE, "running", [("-x", place.capture_lock(MACHINE))]):
        pass
    locks = [("-s", place.disks_lock(MACHINE))]
    if is_refused:
        with pytest.raises(MachineBusy, match="is being started"), holding(place, MACHINE, "label", locks):
            pass
    else:
        with holding(place, MACHINE, "label", locks):
            pass


SOURCES = Path(standings.__file__).parents[1]


def test_no_script_waits_for_a_lock_without_a_bound() -> None:
    """What waits for longer than we do ends as a site that does not answer, and goes on when nobody expects it."""
    found = [
        (path.name, line)
        for path in (*SOURCES.rglob("*.py"), *SOURCES.rglob("*.sh"))
        for line in path.read_text().splitlines()
        if re.match(r"^\s*(if )?(flock|\[.*&& flock)\b", line)
    ]
    assert len(found) > 5
    assert [(name, line) for name, line in found if not re.search(r"flock (-w|-n)\b", line)] == []
