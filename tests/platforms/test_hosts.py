"""Hosts: programs that hang or are not there, ssh's command line, directories that killed processes left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.platforms.cut_off import CutOff
from twinhull.hosts.host import LocalHost, check, open_host, read_file, write_file
from twinhull.hosts.private_directory import PREFIX, private_directory
from twinhull.hosts.ssh import SshHost
from twinhull.model.errors import SiteError, SiteUnreachable
from twinhull.model.ports import Completed, Process, system_ports


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Where directories of our own are made."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("script", ["echo sorry >&2; exit 3", "sleep 60", "head -c 100000000 /dev/zero"])
def test_an_error_names_a_script_and_does_not_print_it(script: str) -> None:
    command = ["sh", "-c", f"# a text\n{script}", "twinhull-try", "/images/a b.qcow2", "x" * 1000]
    with pytest.raises(SiteError, match=r"'twinhull-try '/images/a b\.qcow2' x+…'") as caught:
        check(LocalHost(system_ports()), command, timeout_seconds=0.5)
    assert "a text" not in caught.value.message
    assert len(caught.value.message) < 500


def test_a_program_that_hangs_is_told_as_a_host_that_does_not_answer() -> None:
    with pytest.raises(SiteUnreachable, match=r"'sleep 60' has not ended"):
        LocalHost(system_ports()).run(["sleep", "60"], timeout_seconds=0.05)


def test_a_program_that_is_not_there_is_told() -> None:
    host = LocalHost(system_ports())
    for act in (host.run, host.start):
        with pytest.raises(SiteError, match="'no-such-program' is not installed"):
            act(["no-such-program"])


def test_programs_speak_the_language_in_which_they_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert LocalHost(system_ports()).run(["sh", "-c", "echo $LC_ALL"]).stdout == b"C\n"


def test_of_a_file_that_comes_in_part_nothing_is_kept(tmp_path: Path) -> None:
    path, host = tmp_path / "kept", CutOff(system_ports())
    write_file(LocalHost(system_ports()), str(path), b"as it was")
    for host.heard_bytes in range(6):
        with pytest.raises(SiteError, match=f"only {host.heard_bytes} of 6 bytes came"):
            write_file(host, str(path), b"other\n")
        assert {found.name: found.read_bytes() for found in tmp_path.iterdir()} == {"kept": b"as it was"}
    host.heard_bytes = 6
    write_file(host, str(path), b"other\n")
    assert read_file(host, str(path)) == b"other\n"


def test_what_a_crash_of_the_host_left_of_a_file_goes_with_a_later_one(tmp_path: Path) -> None:
    left, coming, others = (tmp_path / name for name in ("kept.aB12cD", "kept.eF34gH", "kept-too.aB12cD"))
    for path in (left, coming, others):
        path.write_bytes(b"half")
    for path in (left, others):
        os.utime(path, (0, 0))
    write_file(LocalHost(system_ports()), str(tmp_path / "kept"), b"whole")
    assert {found.name for found in tmp_path.iterdir()} == {"kept", coming.name, others.name}


@dataclass
class Unrun:
    """Programs that are noted and not run."""

    commands: list[Sequence[str]] = field(default_factory=list)
    hangs_at: str = ""

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout_seconds: float = 60.0,
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        self.commands.append(argv)
        if self.hangs_at and self.hangs_at in argv:
            raise TimeoutError("in 0 s")
        return Completed(tuple(argv), 0, b"", b"")

    def start(self, argv: Sequence[str], **_: object) -> Process:
        raise AssertionError(argv)


def ssh_host(uri: str, programs: Unrun) -> SshHost:
    host = open_host(uri, replace(system_ports(), processes=programs))
    assert isinstance(host, SshHost)
    return host


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def understood(command: Sequence[str]) -> dict[str, str]:
    """The settings that ssh reads from a command line."""
    told = subprocess.run(["ssh", "-G", *command[1:]], check=True, capture_output=True, text=True).stdout
    return dict(line.split(" ", 1) for line in told.splitlines() if " " in line)


@pytest.mark.usefixtures("temporary")
def test_a_file_of_host_keys_may_be_called_as_it_likes(closing: ExitStack) -> None:
    programs = Unrun()
    host = ssh_host("qemu+ssh://root@alpha:2222/system?known_hosts=/my%20keys/100%25%20%25h", programs)
    closing.callback(host.close)
    host.run(["true"])
    settings = understood(programs.commands[-1])
    assert settings["userknownhostsfile"].strip('"') == "/my keys/100% %h"
    assert (settings["hostname"], settings["port"], settings["stricthostkeychecking"]) == ("alpha", "2222", "true")


@pytest.mark.usefixtures("temporary")
def test_a_host_s_name_is_never_an_option(closing: ExitStack) -> None:
    programs = Unrun()
    host = ssh_host("qemu+ssh://-oProxyCommand=evil/system", programs)
    closing.callback(host.close)
    host.run(["echo", "a b"])
    assert programs.commands[-1][-3:] == ["--", "-oproxycommand=evil", "env LC_ALL=C echo 'a b'"]


def test_threads_share_one_connection_and_nothing_is_left_of_it(temporary: Path) -> None:
    programs = Unrun()
    host = ssh_host("qemu+ssh://alpha/system", programs)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: host.run(["true"]), range(8)))
    assert len({word for command in programs.commands for word in command if "ControlPath" in word}) == 1
    assert len(list(temporary.iterdir())) == 1
    programs.hangs_at = "exit"
    host.close()
    host.close()
    assert list(temporary.iterdir()) == []


_OWNER = """
import sys
from twinhull.hosts.private_directory import private_directory
with private_directory() as path:
    print(path, flush=True)
    sys.stdin.readline()
"""


def test_a_killed_process_s_directory_goes_with_the_next_one_s_start_and_a_living_one_s_stays(temporary: Path) -> None:
    owners = [
        subprocess.Popen(
            [sys.executable, "-c", f"import tempfile; tempfile.tempdir = {str(temporary)!r}{_OWNER}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    paths = [Path(owner.stdout.readline().decode().strip()) for owner in owners if owner.stdout]
    (paths[0] / "c").touch()
    (temporary / f"{PREFIX}theirs").symlink_to(temporary)
    owners[0].send_signal(signal.SIGKILL)
    owners[0].communicate()
    assert paths[0].exists()
    with private_directory() as mine:
        assert {path for path in temporary.iterdir() if not path.is_symlink()} == {paths[1], Path(mine)}
    owners[1].communicate(b"\n")
    assert [path for path in temporary.iterdir() if not path.is_symlink()] == []
