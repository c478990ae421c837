"""Whatever a terminal or a service manager sends, to us or to all of our programs, ends a run as stopped."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.cli import signal_child

ROOT = Path(__file__).parents[2]
STOPPED = 41


class Shown:
    """A run at a terminal of its own, as the terminal's foreground job."""

    def __init__(self, terminal: int, child: subprocess.Popen[bytes], gate: Path) -> None:
        self._gate = gate
        self.terminal = terminal
        self.child = child
        self.text = ""

    def until(self, word: str) -> None:
        deadline = time.monotonic() + 60
        while word not in self.text:
            assert time.monotonic() < deadline, self.text
            self.read()

    def read(self) -> None:
        """What is shown by now, or comes soon."""
        if select.select([self.terminal], [], [], 0.1)[0]:
            self.text += os.read(self.terminal, 65_536).decode(errors="replace")

    def open_gate(self) -> None:
        """Let the program end well, once it waits there."""
        deadline = time.monotonic() + 30
        while True:
            try:
                return os.close(os.open(self._gate, os.O_WRONLY | os.O_NONBLOCK))
            except OSError:
                assert time.monotonic() < deadline, "the program is gone"

    def programs(self) -> list[int]:
        """All that the run has started."""
        found, parents = [], [self.child.pid]
        while parents:
            children = _children(parents.pop())
            parents += children
            found += children
        return found

    def until_at_work(self) -> None:
        """Until the capture's program waits at its gate."""
        deadline = time.monotonic() + 60
        while not any(_name(pid) == "cat" for pid in self.programs()):
            assert time.monotonic() < deadline, self.text
            self.read()


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError):  # threads come and go
            found += [int(child) for child in task.read_text().split()]
    return found


def _name(pid: int) -> str:
    with suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


@contextmanager
def running(path: Path, command: str = "sync") -> Iterator[Shown]:
    ours, theirs = pty.openpty()
    gate = path / "gate"
    os.mkfifo(gate)
    child = subprocess.Popen(
        [sys.executable, signal_child.__file__, str(path / "state"), command],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "GATE": str(gate)},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - there is one thread only
    )
    os.close(theirs)
    shown = Shown(ours, child, gate)
    try:
        shown.until_at_work()
        yield shown
    finally:
        child.kill()
        child.wait()
        if shown.terminal >= 0:
            os.close(shown.terminal)


@pytest.mark.parametrize("key", [b"\x03", b"\x1c"], ids=["ctrl-c", "ctrl-backslash"])
def test_a_key_of_the_terminal_stops_the_run(tmp_path: Path, key: bytes) -> None:
    with running(tmp_path) as shown:
        os.write(shown.terminal, key)
        shown.until("is being undone")
        shown.open_gate()
        shown.until("was stopped on demand")
        assert shown.child.wait(30) == STOPPED, shown.text


def test_a_terminal_that_is_closed_stops_the_run(tmp_path: Path) -> None:
    with running(tmp_path) as shown:
        os.close(shown.terminal)
        shown.terminal = -1
        time.sleep(0.5)
        shown.open_gate()
        assert shown.child.wait(30) == STOPPED


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_every_process_of_the_unit_stops_the_run(tmp_path: Path, sign: signal.Signals) -> None:
    """The programs get it first, so that their errors are there before the request to stop is."""
    with running(tmp_path) as shown:
        programs = shown.programs()
        assert programs
        for pid in [*programs, shown.child.pid]:
            os.kill(pid, sign)
        shown.until("was stopped on demand")
        assert shown.child.wait(30) == STOPPED, shown.text


def test_a_signal_to_every_process_of_a_served_unit_stops_its_runs(tmp_path: Path) -> None:
    with running(tmp_path, "serve") as shown:
        for pid in [*shown.programs(), shown.child.pid]:
            os.kill(pid, signal.SIGTERM)
        shown.until("stopped")
        assert shown.child.wait(30) == 0, shown.text
    words = [sys.executable, "-m", "twinhull.cli", "--state", str(tmp_path / "state"), "runs", "list", "--json"]
    listed = subprocess.run(words, check=True, capture_output=True, cwd=ROOT)
    assert [run["state"] for run in json.loads(listed.stdout)["runs"]] == ["cancelled"], shown.text
