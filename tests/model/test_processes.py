"""Programs that say half a line, too much, or nothing; and what is left of them."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from twinhull.model import lines, processes
from twinhull.model.lines import LineSocket
from twinhull.model.ports import Process, system_ports
from twinhull.model.processes import TooLong, read_line

PROGRAMS = system_ports().processes


@contextmanager
def started(script: str) -> Iterator[Process]:
    process = PROGRAMS.start(["sh", "-c", script], has_pipes=True)
    try:
        yield process
    finally:
        process.end(0.1)


@pytest.mark.parametrize(
    "script",
    [
        "sleep 60",
        "printf half; sleep 60",
        "while :; do printf .; sleep 0.02; done",
    ],
)
def test_a_program_that_does_not_finish_its_line_costs_the_deadline_and_no_more(script: str) -> None:
    with started(script) as process:
        since = time.monotonic()
        with pytest.raises(TimeoutError, match=r"did not finish a line within 0\.3 s"):
            read_line(process, 0.3)
        assert 0.25 < time.monotonic() - since < 3


def test_a_line_without_an_end_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LINE_BYTES", 1000)
    with started("exec tr '\\0' x </dev/zero") as process, pytest.raises(TooLong):
        read_line(process, 30)


def test_lines_are_read_one_at_a_time_up_to_the_end() -> None:
    with started("echo one; echo two; printf rest") as process:
        assert [read_line(process, 30) for _ in range(4)] == ["one", "two", "rest", ""]


@pytest.mark.parametrize("output", ["", " >&2"])
def test_a_program_that_says_too_much_is_ended(monkeypatch: pytest.MonkeyPatch, output: str) -> None:
    monkeypatch.setattr(processes, "OUTPUT_BYTES", 100_000)
    assert len(PROGRAMS.run(["sh", "-c", f"head -c 100000 /dev/zero{output}"]).stdout + b"") in (0, 100_000)
    with pytest.raises(TooLong, match="'sh' printed more than 100000 bytes"):
        PROGRAMS.run(["sh", "-c", f"exec cat /dev/zero{output}"])


def test_what_is_said_and_heard_at_once_is_neither_lost_nor_mixed() -> None:
    said = os.urandom(3_000_000)
    done = PROGRAMS.run(["sh", "-c", "tee /dev/stderr"], stdin=said)
    assert done.stdout == said
    assert done.stderr == said
    assert PROGRAMS.run(["true"], stdin=said).is_ok, "it need not listen"


def test_a_program_that_is_late_is_ended_with_what_it_started(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError):
        PROGRAMS.run(["sh", "-c", f"sleep 61 & echo $! >{tmp_path}/pid; wait"], timeout_seconds=0.5)
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 10
    while _runs(pid):
        assert time.monotonic() < deadline


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except FileNotFoundError:
        return False


def test_each_program_has_a_session_of_its_own_and_the_environment_that_it_is_given() -> None:
    assert PROGRAMS.run(["sh", "-c", 'ps -o sid= -p $$ | grep -qx " *$$"']).is_ok
    assert PROGRAMS.run(["/usr/bin/env"], env={"A": "b"}).stdout == b"A=b\n"


@contextmanager
def speaking(path: Path, *pieces: bytes, pause_seconds: float = 0.0) -> Iterator[LineSocket]:
    """A peer behind a socket that says these pieces, and waits between them."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def speak() -> None:
        peer, _ = server.accept()
        with peer:
            for piece in pieces:
                try:
                    peer.sendall(piece)
                except OSError:
                    return
                time.sleep(pause_seconds)

    thread = threading.Thread(target=speak)
    thread.start()
    try:
        with LineSocket(str(path), 0.5) as reader:
            yield reader
    finally:
        thread.join()
        server.close()


def test_a_socket_is_read_by_lines_however_they_come(tmp_path: Path) -> None:
    with speaking(tmp_path / "s", b"a\nb", b"c\n", b"last") as reader:
        assert [reader.line() for _ in range(4)] == [b"a", b"bc", b"last", b""]


def test_a_peer_that_drips_costs_the_deadline(tmp_path: Path) -> None:
    since = time.monotonic()
    with speaking(tmp_path / "s", *[b"."] * 8, pause_seconds=0.1) as reader, pytest.raises(TimeoutError):
        reader.line()
    assert time.monotonic() - since < 5


def test_a_peer_that_never_ends_its_line_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MESSAGE_BYTES", 1000)
    with speaking(tmp_path / "s", b"x" * 200_000) as reader, pytest.raises(TooLong):
        reader.line()
