"""Restoring into a file, in real processes that are really killed: the same command again ends it well."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli import restore_child
from tests.manager.world import PASSPHRASE, Setup, make_setup
from twinhull.manager.runs.kinds.sync import SyncOptions, want_sync
from twinhull.manager.runs.wants import Ears
from twinhull.model.units import MIB
from twinhull.recovery.restore.action import RESTORE

ROOT = Path(__file__).parents[2]
PLACES = [(step.name, when) for step in RESTORE.steps for when in ("before", "after")] + [("write", "amid")]


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Setup:
    setup = make_setup(tmp_path, monkeypatch)
    with setup.manager() as manager:
        manager.dispatcher.carry_out(want_sync(manager.desk, manager.names.machine("m0"), SyncOptions()), Ears())
    return setup


def run(setup: Setup, *argv: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "TWINHULL_PASSPHRASE": PASSPHRASE,
        "TWINHULL_STATE": str(setup.state.path),
        "PYTHONPATH": str(ROOT),
    }
    return subprocess.run(
        [sys.executable, *argv], env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )


def processes_of(path: Path) -> list[str]:
    """Command lines that name the directory, ours left out."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(path) in words and entry.parent.name != str(os.getpid()):
            found.append(words)
    return found


@pytest.mark.parametrize(("step", "when"), PLACES, ids=lambda word: word)
def test_killed_it_is_gone_on_with_by_the_same_command(setup: Setup, tmp_path: Path, step: str, when: str) -> None:
    target = tmp_path / "out" / "disk.qcow2"
    target.parent.mkdir()
    words = ("restore", "m0:N", "--to", str(target), "--json")
    died = run(setup, restore_child.__file__, step, when, *words)
    assert (died.returncode, died.stdout) == (-signal.SIGKILL, ""), died.stderr
    again = run(setup, "-m", "twinhull.cli", *words)
    assert again.returncode == 0, again
    runs = json.loads(run(setup, "-m", "twinhull.cli", "runs", "list", "--json").stdout)["runs"]
    restores = [(found["id"], found["state"]) for found in runs if found["kind"] == "restore"]
    assert restores == [(json.loads(again.stdout)["runs"][0]["id"], "done")]
    assert [path.name for path in target.parent.iterdir()] == ["disk.qcow2"]
    raw = tmp_path / "raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(target), str(raw)], check=True)
    assert raw.read_bytes()[:9] == b"machine 0"
    assert raw.stat().st_size == 2 * MIB
    assert processes_of(target.parent) == []
