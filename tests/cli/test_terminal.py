"""What a person sees: every command in a real terminal of 80 columns."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import ioctl
from pathlib import Path

import pytest

from tests.cli import terminal_child

ROOT = Path(__file__).parents[2]
COLUMNS = 80
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A pseudo-terminal with the child in it."""

    def __init__(self, descriptor: int, child: subprocess.Popen[bytes]) -> None:
        self._descriptor = descriptor
        self._child = child

    def __call__(self, line: str, *, answer: str = "", until: str = "") -> tuple[int, str]:
        """The exit code of a command line, and all that was shown, as it came.

        ``answer`` is typed where a question is asked; Ctrl-C comes when ``until`` is shown.
        """
        os.write(self._descriptor, line.encode() + b"\n")
        shown = ""
        deadline = time.monotonic() + 60
        while not re.search(r"<\d+>\r\n$", shown):
            assert time.monotonic() < deadline, shown
            if select.select([self._descriptor], [], [], 1)[0]:
                shown += os.read(self._descriptor, 65_536).decode()
            if until and re.search(until, shown, re.DOTALL):
                self._child.send_signal(signal.SIGINT)
                until = ""
            if answer and "[y/N]" in shown:
                os.write(self._descriptor, answer.encode() + b"\n")
                answer = ""
        code = re.findall(r"<(\d+)>\r\n$", shown)[0]
        return int(code), shown.replace("\r\n", "\n").removesuffix(f"<{code}>\n").partition("\n")[2]

    def lines(self, line: str) -> list[str]:
        """The lines of an answer, without colours."""
        code, shown = self(line)
        assert code == 0, shown
        return _CONTROL.sub("", shown).splitlines()


@contextmanager
def terminal(path: Path) -> Iterator[Terminal]:
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    child = subprocess.Popen(
        [sys.executable, terminal_child.__file__, str(path / "state")],
        env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Terminal(ours, child)
    finally:
        child.kill()
        child.wait()
        os.close(ours)


@pytest.fixture(scope="module")
def screen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    path = tmp_path_factory.mktemp("terminal")
    with terminal(path) as screen:
        for line in (
            f"repository create {path / 'points'}",
            "site add headquarters simulated:headquarters",
            "site add elsewhere simulated:elsewhere",
            "plan create all --machine shop-database --from headquarters --to elsewhere --rpo 5m --network lan=lan",
        ):
            code, shown = screen(line)
            assert code == 0, shown
        yield screen


def test_a_sync_shows_how_far_it_is_how_fast_and_for_how_long_yet(screen: Terminal) -> None:
    code, shown = screen("sync shop-database")
    assert code == 0, shown
    text = _CONTROL.sub("", shown)
    for phase in ("read vda", "apply vda"):
        assert re.search(rf"shop-database: {phase} ━.*?/32\.0 MiB +[\d.]+ [MG]B/s +\d+:\d\d:\d\d", text), text
    assert "shop-database: sync done in" in text


@pytest.mark.parametrize(
    "line",
    ["machine list", "site list", "plan list", "status", "points list", "runs list", "machine show shop-database"],
)
def test_tables_fit(screen: Terminal, line: str) -> None:
    screen("sync shop-database")
    lines = screen.lines(line)
    assert len(lines) > 1
    assert max(map(len, lines)) <= COLUMNS, "\n".join(lines)
    assert any(re.search(r"\b(shop-database|headquarters|all)\b", shown) for shown in lines), "\n".join(lines)


def test_a_run_id_stays_whole_where_its_reason_is_folded(screen: Terminal) -> None:
    assert screen("failover shop-database --unplanned --point 99 --yes")[0] == 3
    assert screen("restore shop-database:N --to /dev/null/x.raw")[0] == 2
    lines = screen.lines("runs list")
    assert max(map(len, lines)) <= COLUMNS, "\n".join(lines)
    run_id = next(line.split()[0] for line in lines if line.startswith("restore-"))
    assert screen(f"runs show {run_id}")[0] == 0


def test_a_question_is_asked_and_no_is_no(screen: Terminal) -> None:
    screen("sync shop-database")
    code, shown = screen("failover shop-database --planned", answer="n")
    assert code == 5
    assert "Make elsewhere the primary in epoch 2" in shown
    assert "Planned failover of shop-database? [y/N]" in shown
    assert "Nothing was done." in shown
    code, shown = screen("failover shop-database --planned", answer="y")
    assert code == 0, shown
    assert "RTO reached" in shown
    assert screen("failback shop-database", answer="y")[0] == 0


def test_watching_ends_with_ctrl_c_and_that_is_no_failure(screen: Terminal) -> None:
    code, shown = screen("status --watch --every 100ms", until="(UTC.*?MACHINE.*?){3}")
    assert code == 0, shown
    assert shown.count("\x1b[2J") >= 3


def test_a_copy_and_a_repair_show_how_far_they_are(screen: Terminal, tmp_path: Path) -> None:
    screen("sync shop-database")
    for line, phases in (
        (f"repository copy --to {tmp_path / 'second'} --create", ("copy 00000001",)),
        ("repository repair", ("read packs", "read packs again")),
    ):
        code, shown = screen(line)
        assert code == 0, shown
        text = _CONTROL.sub("", shown)
        for phase in phases:
            assert re.search(rf"{phase} ━.*?/[\d.]+ MiB +[\d.]+ [kMG]B/s +\d+:\d\d:\d\d", text), text
