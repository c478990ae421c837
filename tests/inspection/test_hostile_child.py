"""A child that dies, hangs, floods or lies gives one clear sentence, in time, and raises nothing."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import pytest

from tests.inspection.images import around
from twinhull.blocks.memory import MemoryDisk
from twinhull.inspection import READINESS, Bounds, Finding, Outcome, inspect
from twinhull.model.errors import DataError
from twinhull.model.ports import Ports, Process, SystemClock, SystemProcesses, SystemRandomness, system_ports
from twinhull.model.units import MIB

BOUNDS = Bounds(wall_seconds=60.0, read_bytes=8 * MIB, record_count=10)
IMPATIENT = replace(BOUNDS, wall_seconds=1.0)
"""For children that hang: each is waited for to the end."""
MARGIN_SECONDS = 5.0

BEGIN = """
import os, struct, sys, time
def send(kind, payload=b"", length=None):
    os.write(1, struct.pack("<cI", kind, len(payload) if length is None else length) + payload)
def take(size):
    data = b""
    while len(data) < size: data += os.read(0, size - len(data))
    return data
def receive(): return take(struct.unpack("<cI", take(5))[1])
def ask(index, offset, length): send(b"A", struct.pack("<HQI", index, offset, length))
"""
ASKED = BEGIN + 'send(b"R"); receive()\n'
ESCAPE = b"\\u001b[2J"
FINDING = b'{"finding": "x", "remedy": "y", "consequence": null}'

HOSTILE = {
    "dies at once": ("", "ended before"),
    "dies by a signal": (ASKED + "os.kill(os.getpid(), 11)", "ended before"),
    "dies in a message": (ASKED + 'send(b"F", b"{", 99)', "ended before"),
    "does not confine itself": (BEGIN + 'send(b"O")', "did not confine itself"),
    "cannot confine itself": (BEGIN + 'send(b"X", b"no\\x1b[2J seccomp")', "no?[2J seccomp"),
    "hangs before": ("import time; time.sleep(60)", "longer than 1 s"),
    "hangs after": (ASKED + "time.sleep(60)", "longer than 1 s"),
    "hangs with its ears closed": (ASKED + "while True: ask(0, 0, 1 << 20)", "longer than 1 s|read more than 8.0 MiB"),
    "drips": (ASKED + "while True: os.write(1, b'F'); time.sleep(0.1)", "is invalid|longer than 1 s|too large"),
    "claims a huge message": (ASKED + 'send(b"F", b"", 0xFFFFFFFF)', "too large"),
    "floods with noise": (ASKED + "while True: os.write(1, b'\\xff' * 65536)", "is invalid"),
    "floods with findings": (ASKED + f"while True: send(b'F', {FINDING!r})", "more than 10 answers"),
    "reads for ever": (ASKED + "while True: ask(0, 0, 1); receive()", "read more than 8.0 MiB"),
    "reads beyond the end": (ASKED + "ask(0, (4 << 20) - 1, 2); receive()", "outside of its disks"),
    "reads far beyond": (ASKED + "ask(0, 2**64 - 1, 2**32 - 1); receive()", "outside of its disks"),
    "reads another disk": (ASKED + "ask(1, 0, 1); receive()", "outside of its disks"),
    "reads too much": (ASKED + "ask(0, 0, (1 << 20) + 1); receive()", "outside of its disks"),
    "asks in half": (ASKED + 'send(b"A", b"123")', "is invalid"),
    "answers as we do": (ASKED + 'send(b"D", b"123")', "is invalid"),
    "says what is no JSON": (ASKED + 'send(b"F", b"{{")', "is invalid"),
    "says what is no text": (ASKED + 'send(b"F", b"\\xff\\xfe")', "is invalid"),
    "nests deeply": (ASKED + 'send(b"F", b"[" * 16000)', "is invalid"),
    "says something else": (ASKED + 'send(b"F", b"[1]")', "is invalid"),
    "controls the terminal": (ASKED + f"send(b'F', {FINDING.replace(b'x', ESCAPE)!r})", "is invalid"),
    "says too long a text": (ASKED + f"send(b'F', {FINDING.replace(b'x', b'x' * 1001)!r})", "is invalid"),
    "says a new consequence": (ASKED + f"send(b'F', {FINDING.replace(b'null', b'1')!r})", "is invalid"),
}


@dataclass(frozen=True)
class OtherProgram(SystemProcesses):
    """Starts a script of the test in the child's place."""

    script: str

    def start(
        self,
        argv: Sequence[str],
        *,
        has_pipes: bool = False,
        log: IO[bytes] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Process:
        assert "twinhull.inspection.child" in argv
        return super().start([sys.executable, "-I", "-c", self.script], has_pipes=has_pipes, log=log, env=env)


def ports(script: str) -> Ports:
    return Ports(SystemClock(), SystemRandomness(), OtherProgram(script))


def children() -> list[str]:
    return Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_child_ends_the_look_with_one_sentence(name: str) -> None:
    script, expected = HOSTILE[name]
    bounds = IMPATIENT if "longer than" in expected else BOUNDS
    before = children()
    began = time.monotonic()
    outcome = inspect(READINESS, around(), [MemoryDisk(4 * MIB)], ports(script), bounds)
    assert time.monotonic() - began < bounds.wall_seconds + MARGIN_SECONDS
    assert any(part in outcome.failure for part in expected.split("|")), outcome.failure
    assert outcome.failure.isprintable()
    assert len(outcome.records) <= BOUNDS.record_count
    assert children() == before, "the child is still there"


def test_what_was_found_before_the_child_failed_is_kept() -> None:
    script = ASKED + f"send(b'F', {FINDING!r}); os.kill(os.getpid(), 9)"
    outcome = inspect(READINESS, around(), [MemoryDisk(4 * MIB)], ports(script), BOUNDS)
    assert outcome == Outcome([Finding("x", "y")], "it ended before it was done", {})


class Gone(MemoryDisk):
    """A disk whose storage fails."""

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        raise DataError("The storage is gone.")


def test_a_disk_that_cannot_be_read_is_named_and_the_others_are_looked_into() -> None:
    lvm = bytearray(MIB)
    lvm[512:520] = b"LABELONE"
    disks = [Gone(4 * MIB), MemoryDisk(4 * MIB, bytes(lvm))]
    outcome = inspect(READINESS, around(buses=("virtio", "virtio")), disks, system_ports())
    assert [str(error) for error in outcome.unreadable.values()] == ["The storage is gone."]
    assert any("vdb was not inspected completely: it holds LVM" in one.finding for one in outcome.records)
    assert outcome.failure == ""
