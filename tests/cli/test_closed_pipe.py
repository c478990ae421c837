"""What reads our output may leave (``twinhull … | head``): no traceback, and what is at work comes to its end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def piped_into_nothing(state: Path, *words: str) -> tuple[int, str]:
    """The exit code and what was said on stderr, with a stdout that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "twinhull.cli", "--state", str(state), *words],
            stdout=writing,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
            cwd=ROOT,
        )
    finally:
        os.close(writing)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["--help"], 1),
        (["--version"], 141),
        (["failover", "--help"], 1),
        (["plan", "list"], 141),
        (["plan", "list", "--json"], 141),
        (["runs", "list"], 141),
        (["plan", "show", "nothing", "--json"], 3),
    ],
)
def test_no_door_ends_in_a_traceback(tmp_path: Path, words: list[str], code: int) -> None:
    (tmp_path / "state").mkdir()
    status, said = piped_into_nothing(tmp_path / "state", *words)
    assert "Traceback" not in said
    assert "Broken pipe" not in said
    assert status == code


def test_serve_ends_when_nobody_reads_it(tmp_path: Path) -> None:
    state = tmp_path / "state"
    made = [
        sys.executable,
        "-m",
        "twinhull.cli",
        "--state",
        str(state),
        "repository",
        "create",
        str(tmp_path / "points"),
    ]
    subprocess.run([*made, "--generate"], check=True, capture_output=True, timeout=60, cwd=ROOT)
    status, said = piped_into_nothing(state, "serve", "--json", "--grace", "5s")
    assert (status, said) == (141, "")
