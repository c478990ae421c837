"""``twinhull serve`` as a process: it says what it does, refuses a second one, and ends when asked, whatever hangs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cli import serve_child
from tests.manager.world import PASSPHRASE
from twinhull.repository import KdfCost, Repository, open_store

ROOT = Path(__file__).parents[2]


class Serving:
    """A ``serve --json`` in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], environment: dict[str, str]) -> None:
        self.process = process
        self._environment = environment

    def until(self, is_there: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first thing from here on that is so; the process ends the stream where it never comes."""
        assert self.process.stdout
        seen = []
        for line in self.process.stdout:
            if line.startswith("{"):
                seen.append(json.loads(line))
                if is_there(seen[-1]):
                    found: dict[str, Any] = seen[-1]
                    return found
        raise AssertionError(seen)

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Another process beside it, on the same state directory."""
        return subprocess.run(
            [sys.executable, "-m", "twinhull.cli", *words],
            env=self._environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> tuple[int, list[dict[str, Any]], str, float]:
        """Its exit status, the rest of what it said and complained of, and how long it took to end."""
        began = time.monotonic()
        self.process.send_signal(sign)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, [json.loads(line) for line in out.splitlines()], err, time.monotonic() - began


@contextmanager
def serving(path: Path, hang: str) -> Iterator[Serving]:
    Repository.create(open_store(str(path / "points")), PASSPHRASE, cost=KdfCost(1, 1, 1024)).close()
    (path / "state").mkdir(mode=0o700)
    environment = {
        **os.environ,
        "TWINHULL_PASSPHRASE": PASSPHRASE,
        "TWINHULL_STATE": str(path / "state"),
        "PYTHONPATH": str(ROOT),
    }
    process = subprocess.Popen(
        [sys.executable, serve_child.__file__, str(path / "state"), str(path / "points"), hang],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield Serving(process, environment)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_serve_says_what_it_does_refuses_a_second_one_and_ends_when_asked(tmp_path: Path, sign: signal.Signals) -> None:
    with serving(tmp_path, "nothing") as server:
        assert server.until(lambda told: told["event"] == "serving")
        found = server.until(lambda told: told["event"] == "site" and told["site"] == "here")
        assert found["reason"] == "answers, 1 machines"
        assert server.until(lambda told: told["event"] == "done" and told["machine"] == "m0")
        second = server.call("serve")
        refused = json.loads(second.stdout)
        assert (second.returncode, refused["event"], refused["error"]["exit_code"]) == (52, "error", 52)
        second = server.call("serve", "--log-format", "text")
        assert (second.returncode, second.stdout) == (52, "")
        assert "Another serve works on" in second.stderr
        assert "Hint: One is enough" in second.stderr
        code, told, err, seconds = server.stop(sign)
        assert (code, err, told[-1]["event"]) == (0, "", "stopped")
        assert seconds < 10


def test_no_secret_is_in_the_log_of_a_site_whose_error_quotes_it(tmp_path: Path) -> None:
    with serving(tmp_path, "leak") as server:
        found = server.until(lambda told: told["event"] == "site" and told["site"] == "lost")
        assert (found["level"], found["state"]) == ("warning", "unreachable")
        assert "cannot reach qemu+ssh://***@lost/system with ***" in found["reason"]
        server.until(lambda told: told["event"] == "done" and told["machine"] == "m0")
        _, told, err, _ = server.stop()
        assert not any(secret in f"{found} {told} {err}" for secret in (PASSPHRASE, "hunter2"))


def test_a_run_that_hangs_is_left_to_the_next_start_after_the_grace(tmp_path: Path) -> None:
    with serving(tmp_path, "capture") as server:
        server.until(lambda told: told["event"] == "wait" and "is at work" in told["reason"])
        code, told, _, seconds = server.stop()
        assert code == 42
        assert "stopping" in [line.get("event") for line in told]
        error = next(line["error"] for line in told if "error" in line)
        assert error["kind"] == "RunUnfinished"
        assert "sync of m" in error["message"]
        assert 1 <= seconds < 20
        left = json.loads(server.call("runs", "list", "--unfinished", "--json").stdout)["runs"]
        assert {(run["kind"], run["state"], run["is_at_work"]) for run in left} == {("sync", "running", False)}


def test_a_site_that_hangs_holds_up_no_other_and_no_end(tmp_path: Path) -> None:
    with serving(tmp_path, "site") as server:
        server.until(lambda told: told["event"] == "done" and told["machine"] == "m0")
        code, told, err, seconds = server.stop()
        assert (code, err, told[-1]["event"]) == (0, "", "stopped")
        assert seconds < 10
