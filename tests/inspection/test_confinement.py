"""What a confined child cannot do, tried by a real one."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE
from typing import IO

import pytest

from tests.inspection.images import around
from twinhull.blocks.memory import MemoryDisk
from twinhull.inspection import READINESS, inspect
from twinhull.model.ports import Ports, Process, SystemClock, SystemProcesses, SystemRandomness
from twinhull.model.units import MIB

TRIES = """
import ctypes, json, os, resource, signal, socket, sys
from twinhull.inspection.confinement import ChildLimits, confine
library = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    if library.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")
parent = os.getppid()
tries = {
    "open a file": lambda: os.open("/etc/passwd", os.O_RDONLY),
    "write a file": lambda: os.open("/tmp/x", os.O_CREAT | os.O_WRONLY),
    "list a folder": lambda: os.listdir("/"),
    "look at a file": lambda: os.stat("/etc/passwd"),
    "connect": lambda: socket.socket(socket.AF_UNIX),
    "reach the network": lambda: socket.socket(socket.AF_INET),
    "make a pair of sockets": lambda: socket.socketpair(),
    "fork": os.fork,
    "start a program": lambda: os.execv("/bin/true", ["true"]),
    "kill its parent": lambda: os.kill(parent, 0),
    "kill itself": lambda: os.kill(os.getpid(), 0),
    "trace its parent": lambda: call(101, 16, parent, 0, 0),
    "read its parent's memory": lambda: call(310, parent, 0, 0, 0, 0, 0),
    "become root": lambda: os.setuid(0),
    "raise its limits": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)),
    "enter namespaces": lambda: call(272, 0x10000000),
    "use io_uring": lambda: call(425, 1, 0),
    "load code": lambda: call(321, 0, 0, 0),
}
who = confine(ChildLimits(512 << 20, 10))
done = {}
for name, one in tries.items():
    try:
        one()
        done[name] = "done"
    except OSError as error:
        done[name] = error.errno
    except ValueError:
        done[name] = 1  # the resource module's way to say EPERM
os.write(1, json.dumps(done).encode())
try:
    bytes(600 << 20)
    os.write(1, b" more memory than it may have")
except MemoryError:
    pass
"""


def test_a_confined_process_can_open_start_and_reach_nothing() -> None:
    inherited = os.open("/etc/hostname", os.O_RDONLY)
    try:
        command = ["env", "-i", sys.executable, "-I", "-c", TRIES]
        done = subprocess.run(command, capture_output=True, check=False, pass_fds=[inherited])
    finally:
        os.close(inherited)
    assert done.stderr == b""
    refused = json.loads(done.stdout)
    assert len(refused) > 15
    assert {name: how for name, how in refused.items() if how != 1} == {}


WAITS = """
import os
from twinhull.inspection.confinement import ChildLimits, confine
confine(ChildLimits(512 << 20, 10))
os.write(1, b"confined")
os.read(0, 1)
os._exit(0)
"""


@pytest.fixture
def confined() -> Iterator[Path]:
    """The folder in /proc of a confined process that was handed one more open file."""
    secret = os.open("/etc/hostname", os.O_RDONLY)
    command = [sys.executable, "-I", "-c", WAITS]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, pass_fds=[secret], env={}) as process:
        os.close(secret)
        assert process.stdout is not None
        assert process.stdout.read(8) == b"confined"
        yield Path(f"/proc/{process.pid}")
        process.kill()


def status_of(process: Path) -> dict[str, str]:
    lines = (process / "status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_it_has_no_user_no_privileges_and_no_open_files(confined: Path) -> None:
    """As its kernel sees it; the tests run as root."""
    status = status_of(confined)
    assert os.geteuid() == 0
    assert set(status["Uid"].split()) == set(status["Gid"].split()) == {"65534"}
    assert status["Groups"] == ""
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert {int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {0}
    assert sorted(path.name for path in (confined / "fd").iterdir()) == ["0", "1", "2"]


def test_it_cannot_use_more_than_its_limits(confined: Path) -> None:
    limits = (confined / "limits").read_text()
    for limit in ("Max cpu time +10 +10", "Max address space +536870912 +536870912", "Max processes +0 +0"):
        assert re.search(limit, limits), limits


def test_it_has_its_own_namespaces_and_an_empty_root_if_the_kernel_permits_that(confined: Path) -> None:
    command = ["setpriv", "--reuid=65534", "--clear-groups", "unshare", "--user", "--net", "--mount", "--ipc", "true"]
    is_permitted = subprocess.run(command, check=False, capture_output=True).returncode == 0
    own = [name for name in ("net", "mnt", "ipc", "user") if inode(confined, name) != inode(Path("/proc/self"), name)]
    assert len(own) == (4 if is_permitted else 0)
    assert (list((confined / "root").iterdir()) == []) == is_permitted


def inode(process: Path, namespace: str) -> Path:
    return (process / "ns" / namespace).readlink()


@dataclass
class Recording(SystemProcesses):
    """Notes how the child is started."""

    started: list[tuple[Sequence[str], Mapping[str, str] | None]] = field(default_factory=list)

    def start(
        self,
        argv: Sequence[str],
        *,
        has_pipes: bool = False,
        log: IO[bytes] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Process:
        self.started.append((argv, env))
        return super().start(argv, has_pipes=has_pipes, log=log, env=env)


def test_the_child_inherits_no_environment_and_no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its command line is run with another module in its place, which says what it sees."""
    monkeypatch.setenv("TWINHULL_PASSPHRASE", "correct horse")
    recording = Recording()
    ports = Ports(SystemClock(), SystemRandomness(), recording)
    assert inspect(READINESS, around(), [MemoryDisk(4 * MIB)], ports).failure == ""
    ((argv, env),) = recording.started
    command = [*argv[: argv.index("-m")], "-c"]
    shown = "import os; print(dict(os.environ), [n for n in range(3, 256) if os.path.exists(f'/proc/self/fd/{n}')])"
    secret = os.open("/etc/hostname", os.O_RDONLY)
    try:
        process = SystemProcesses().start([*command, shown], has_pipes=True, env=env)
        assert process.stdout is not None
        seen = process.stdout.read().decode()
        process.end()
    finally:
        os.close(secret)
    assert "correct horse" not in seen
    assert seen.strip() in ("{} []", "{'LC_CTYPE': 'C.UTF-8'} []")
