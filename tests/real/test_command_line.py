"""The command line as a user types it, in processes of its own, on two real QEMU hosts; and killed in the middle."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.guests import TinyClient, forward
from lab.qemu_host import QemuHost
from tests.real.conftest import Guest, MakeGuest
from tests.record import history_of
from twinhull.manager.catalog.state import StateDirectory
from twinhull.model.units import MIB

pytestmark = pytest.mark.real

PASSPHRASE = "correct horse"  # noqa: S105 - of a repository that lives for one test


@pytest.fixture
def other_host(short_directory: Path) -> Iterator[QemuHost]:
    """A host of the test's own: what an earlier test has left on another one is not on it."""
    host = QemuHost.start(short_directory / f"c-{uuid.uuid4().hex[:8]}")
    yield host
    host.stop()


class Terminal:
    """Calls of ``twinhull`` with a state directory of their own."""

    def __init__(self, path: Path) -> None:
        self.state = StateDirectory(path / "state")
        self._environment = {**os.environ, "TWINHULL_PASSPHRASE": PASSPHRASE}
        self._started: list[subprocess.Popen[str]] = []

    def start(self, *words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "twinhull.cli", "--state", str(self.state.path), *words],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        return process

    def close(self) -> None:
        for process in self._started:
            process.kill()
            process.communicate()

    def __call__(self, *words: str) -> Any:  # noqa: ANN401 - whatever was printed
        process = self.start(*words, "--json")
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, f"{words}: {process.returncode}\n{out}\n{err}"
        return json.loads(out)

    def check(self) -> tuple[int, str]:
        """The line for a monitoring system, and its exit code."""
        process = self.start("status", "--check")
        out, _ = process.communicate(timeout=300)
        return process.returncode, out


@pytest.fixture
def terminal(tmp_path: Path, qemu_host: QemuHost, other_host: QemuHost) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path)
    terminal("repository", "create", str(tmp_path / "points"))
    for name, host in (("here", qemu_host), ("there", other_host)):
        terminal(
            *("site", "add", name, host.uri, "--directory", str(host.directory / "cli")),
            *("--hooks-directory", str(host.hooks), "--option", "accelerator=tcg"),
        )
    yield terminal
    terminal.close()


@pytest.fixture
def guest(make_guest: MakeGuest) -> Guest:
    return make_guest("typed", mac="52:54:00:7e:11:99")


def wait_up(host: QemuHost, guest: Guest) -> TinyClient:
    client = TinyClient(forward(host.connect().lookupByUUIDString(guest.machine_id)))
    deadline = time.monotonic() + 120
    while True:
        try:
            client.heartbeat()
        except (OSError, RuntimeError, ValueError):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        else:
            return client


def kill_in(terminal: Terminal, words: tuple[str, ...], step: str) -> None:
    """Start a command, and kill -9 it as soon as that step of its run has begun."""
    process = terminal.start(*words)
    deadline = time.monotonic() + 120
    with history_of(terminal.state) as history:  # a command that asks would come after the run's end
        while not any(found.name == step for run in history.unfinished_runs() for found in history.steps(run.run_id)):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, f"'{step}' did not begin"
            time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL


def test_a_machine_goes_there_and_back_by_the_command_line(
    terminal: Terminal, guest: Guest, qemu_host: QemuHost, other_host: QemuHost
) -> None:
    client = guest.boot()
    client.be_quiet()
    first = client.write("one", 1)
    terminal("plan", "create", "typed", "--machine", "typed", "--from", "here", "--to", "there", "--rpo", "5m")

    kill_in(terminal, ("sync", "typed"), "replica")
    synced = terminal("sync", "typed")["runs"][0]
    assert synced["result"]["source_read_bytes"] < 4 * MIB
    states = {run["state"] for run in terminal("runs", "list")["runs"]}
    assert states == {"done"}
    assert terminal("status")["machines"][0]["health"] == "protected"
    code, line = terminal.check()
    assert (code, line.partition(" | ")[0]) == (0, "OK - 1 of 1 machines are protected")

    terminal("failover", "typed", "--planned", "--yes")
    client = wait_up(other_host, guest)
    assert client.sum("one") == first
    client.be_quiet()
    second = client.write("two", 1)

    kill_in(terminal, ("failback", "typed", "--yes"), "stop the source")
    code, line = terminal.check()
    # 1 if the kill came before the fence, 2 after it.
    assert (code in (1, 2), "[twinhull runs resume]" in line) == (True, True), line
    home = terminal("failback", "typed", "--yes")["runs"][0]
    assert home["kind"] == "failback"
    client = wait_up(qemu_host, guest)
    assert (client.sum("one"), client.sum("two")) == (first, second)
    status = terminal("status")
    assert status["unfinished_runs"] == []
    assert (status["machines"][0]["runs_on"], status["machines"][0]["epoch"]) == ("here", 3)

    qemu_host.kill_guest("typed")
    deadline = time.monotonic() + 60
    while (found := terminal.check())[0] != 2:
        assert time.monotonic() < deadline, found
    assert "typed is DOWN: it crashed on here" in found[1]
    assert "[twinhull failover typed --unplanned]" in found[1]


def points_of(terminal: Terminal) -> list[Any]:
    found: list[Any] = terminal("points", "list", "typed")["points"]
    return found


def wait_for_points(terminal: Terminal, server: subprocess.Popen[str], count: int) -> None:
    deadline = time.monotonic() + 180
    while len(points_of(terminal)) < count:
        assert server.poll() is None, server.communicate()
        assert time.monotonic() < deadline, f"no {count} points; {terminal('runs', 'list')}"


def test_serve_keeps_a_machine_in_step_until_it_is_stopped_and_goes_on_where_it_was_killed(
    terminal: Terminal, guest: Guest, other_host: QemuHost
) -> None:
    client = guest.boot()
    client.be_quiet()
    terminal("plan", "create", "typed", "--machine", "typed", "--from", "here", "--to", "there", "--rpo", "10s")
    kill_in(terminal, ("serve", "--look", "1s"), "replica")
    server = terminal.start("serve", "--look", "1s")
    wait_for_points(terminal, server, 2)
    written = client.write("one", 1)
    wait_for_points(terminal, server, len(points_of(terminal)) + 2)
    server.send_signal(signal.SIGTERM)
    told, complaint = server.communicate(timeout=120)
    assert server.returncode == 0, complaint
    assert "resume" in told
    runs = terminal("runs", "list")["runs"]
    assert {(run["kind"], run["origin"]) for run in runs} == {("sync", "serve")}
    assert terminal("status")["unfinished_runs"] == []

    terminal("failover", "typed", "--planned", "--yes")
    client = wait_up(other_host, guest)
    assert client.sum("one") == written


def test_a_uefi_machine_starts_on_the_other_side_and_at_home_again(
    terminal: Terminal, make_guest: MakeGuest, qemu_host: QemuHost, other_host: QemuHost
) -> None:
    guest = make_guest("modern", is_uefi=True, mac="52:54:00:7e:11:9a")
    client = guest.boot()
    client.be_quiet()
    written = client.write("one", 1)
    terminal("plan", "create", "modern", "--machine", "modern", "--from", "here", "--to", "there", "--rpo", "5m")
    synced = terminal("sync", "modern")["runs"][0]
    assert any("its UEFI variables" in reason for reason in synced["reasons"])
    for kind, host in (("failover", other_host), ("failback", qemu_host)):
        terminal(kind, "modern", *(["--planned"] if kind == "failover" else []), "--yes")
        client = wait_up(host, guest)
        assert client.shell("test -d /sys/firmware/efi && echo uefi") == "uefi"
        assert client.sum("one") == written


def test_a_replica_takes_over_while_the_repository_is_away_and_the_way_home_sends_only_what_differs(
    terminal: Terminal, guest: Guest, qemu_host: QemuHost, other_host: QemuHost, tmp_path: Path
) -> None:
    client = guest.boot()
    client.be_quiet()
    captured = client.write("captured", 1)
    terminal("plan", "create", "typed", "--machine", "typed", "--from", "here", "--to", "there", "--rpo", "5m")
    terminal("sync", "typed")
    away = (tmp_path / "points").rename(tmp_path / "away")
    assert terminal("status")["repository_trouble"]
    kill_in(terminal, ("failover", "typed", "--unplanned", "--without-repository", "--yes"), "arm trackers")
    moved = terminal("failover", "typed", "--unplanned", "--without-repository", "--yes")["runs"][0]["result"]
    assert (moved["epoch"], moved["lost_bytes"]) == (101, None)
    client = wait_up(other_host, guest)
    client.be_quiet()
    assert client.sum("captured") == captured
    written = client.write("there", 1)

    away.rename(tmp_path / "points")
    home = terminal("failback", "typed", "--yes")["runs"][0]["result"]
    assert (home["was_full_compare"], home["lost_bytes"]) == (False, 0)
    assert home["source_read_bytes"] < 8 * MIB
    client = wait_up(qemu_host, guest)
    assert (client.sum("captured"), client.sum("there")) == (captured, written)
