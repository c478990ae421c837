"""``twinhull serve`` as a process: it says what it does, refuses a second one, and ends when asked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from twinhull.repository import Repository, open_store
from twinhull.repository.config import KdfCost

ROOT = Path(__file__).parents[2]


def test_serve_says_what_it_does_and_ends_when_asked(tmp_path: Path) -> None:
    points = tmp_path / "points"
    Repository.create(open_store(str(points)), "correct horse", cost=KdfCost(1, 1, 1024)).close()
    environment = {**os.environ, "TWINHULL_PASSPHRASE": "correct horse", "TWINHULL_STATE": str(tmp_path / "state")}
    command = [sys.executable, "-m", "twinhull.cli"]

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *words], env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
        )

    assert call("repository", "use", str(points)).returncode == 0
    assert call("site", "add", "here", "simulated:here").returncode == 0
    server = subprocess.Popen(
        [*command, "serve", "--json"],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout
        assert json.loads(server.stdout.readline())["event"] == "serving"
        site = json.loads(server.stdout.readline())
        assert (site["event"], site["site"], site["reason"]) == ("site", "here", "answers, 0 machines")
        second = call("serve")
        assert second.returncode == 52
        assert "Another serve works on" in second.stderr
    finally:
        server.send_signal(signal.SIGTERM)
        out, err = server.communicate(timeout=60)
    assert json.loads(out.splitlines()[-1])["event"] == "stopped"
    assert (server.returncode, err) == (0, "")
