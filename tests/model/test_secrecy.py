"""What is in the memory of a process with keys stays there, and no random bytes come twice."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from twinhull.model import ports
from twinhull.model.ports import SystemRandomness

PROGRAM = """
import ctypes, resource, sys
sys.argv = ["twinhull", *sys.argv[1:]]
{begin}
print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE)[0])
"""
BEGINNINGS = {
    "the command line": "from twinhull.cli.main import call; call(['--state', sys.argv[1], 'site', 'list'])",
    "a repository": "from twinhull.repository import KdfCost, MemoryStore, Repository\n"
    "Repository.create(MemoryStore(), 'correct horse', cost=KdfCost(1, 1, 8))",
}


@pytest.mark.parametrize("begin", BEGINNINGS)
def test_a_process_with_keys_is_not_dumpable(begin: str, tmp_path: Path) -> None:
    program = PROGRAM.format(begin=BEGINNINGS[begin])

    def dumpable() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (resource.getrlimit(resource.RLIMIT_CORE)[1],) * 2)

    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True, preexec_fn=dumpable
    )
    assert done.stdout.splitlines()[-1] == "0 0", done


def test_tokens_differ_although_the_kernel_gives_the_same_bytes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "urandom", bytes)
    draw = SystemRandomness()
    assert len({draw.token(16) for _ in range(1000)} | {draw.uuid().encode() for _ in range(1000)}) == 2000
    assert [len(draw.token(length)) for length in (0, 1, 16, 1000)] == [0, 1, 16, 1000]


def test_tokens_differ_by_boot_and_by_count_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "urandom", bytes)
    monkeypatch.setattr("twinhull.model.ports.time.time_ns", lambda: 1)
    monkeypatch.setattr("twinhull.model.ports.time.monotonic_ns", lambda: 1)
    draw = SystemRandomness()
    assert draw.token(16) != draw.token(16)
    tokens = set()
    for boot in ("one", "other"):
        monkeypatch.setattr(ports, "_boot_id", lambda boot=boot: boot)
        monkeypatch.setattr(ports, "_drawn", iter([7]))
        tokens.add(draw.token(16))
    assert len(tokens) == 2
