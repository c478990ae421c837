"""Our side of a look into disks: start the child, serve it what it reads, check what it says, end it."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from twinhull.inspection.pipes import Broken, Pipes
from twinhull.inspection.tasks import Task
from twinhull.inspection.wire import LARGEST_READ_BYTES, LARGEST_RECORD_BYTES, RANGE, Kind
from twinhull.model.errors import TwinhullError
from twinhull.model.ports import Ports
from twinhull.model.units import GIB, MIB, format_bytes

Question = TypeVar("Question")
Record = TypeVar("Record")


class Readable(Protocol):
    """What a look needs of a disk."""

    @property
    def size_bytes(self) -> int:
        """Its size."""
        ...

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        """The bytes of the range; raises TwinhullError where they cannot be had."""
        ...


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one look may cost at most. Each read counts as ``smallest_read_bytes`` at least.

    ``wall_seconds`` is how long disks are held open for it, beside the one read that the storage may be busy with.
    """

    wall_seconds: float = 60.0
    cpu_seconds: int = 40
    memory_bytes: int = 512 * MIB
    read_bytes: int = 2 * GIB
    smallest_read_bytes: int = 4096
    record_count: int = 1000


BOUNDS = Bounds()


@dataclass(slots=True)
class Outcome(Generic[Record]):
    """What was found. ``failure`` says why a look ended early, in half a sentence; empty if it did not.

    ``unreadable`` says for a disk's place in the request why a part of it could not be read.
    """

    records: list[Record] = field(default_factory=list)
    failure: str = ""
    unreadable: dict[int, TwinhullError] = field(default_factory=dict)


def inspect(
    task: Task[Question, Record], question: Question, disks: Sequence[Readable], ports: Ports, bounds: Bounds = BOUNDS
) -> Outcome[Record]:
    """Let a confined child carry out a task on disks. Whatever their bytes are, this raises nothing for it."""
    outcome: Outcome[Record] = Outcome()
    try:
        with _child(task.name, ports, bounds) as pipes:
            _Look(task, disks, pipes, bounds, outcome).carry_out(question)
    except Broken as broken:
        outcome.failure = str(broken)
    return outcome


@contextmanager
def _child(task: str, ports: Ports, bounds: Bounds) -> Iterator[Pipes]:
    """A fresh interpreter with an empty environment; it is gone when the context is left."""
    limits = [str(bounds.memory_bytes), str(bounds.cpu_seconds)]
    python = [sys.executable, "-I", "-B", "-m", "twinhull.inspection.child"]
    process = ports.processes.start([*python, task, *limits], has_pipes=True, env={})
    try:
        yield Pipes(process, ports.clock, bounds.wall_seconds)
    finally:
        process.end(grace_seconds=0.0)


@dataclass(slots=True)
class _Look(Generic[Question, Record]):
    task: Task[Question, Record]
    disks: Sequence[Readable]
    pipes: Pipes
    bounds: Bounds
    outcome: Outcome[Record]
    _read_bytes: int = 0

    def carry_out(self, question: Question) -> None:
        """Ask, then serve until it is over; raises Broken."""
        self._expect_ready()
        sizes = [disk.size_bytes for disk in self.disks]
        asked = json.dumps({"disks": sizes, "question": self.task.to_json(question)}).encode()
        self.pipes.send(Kind.QUESTION, asked)
        while True:
            kind, payload = self.pipes.receive(LARGEST_RECORD_BYTES)
            if kind is Kind.OVER:
                return
            self._answer(kind, payload)

    def _expect_ready(self) -> None:
        kind, payload = self.pipes.receive(LARGEST_RECORD_BYTES)
        if kind is Kind.GIVEN_UP:
            raise Broken(_given_up(payload))
        if kind is not Kind.READY:
            raise Broken("it did not confine itself")

    def _answer(self, kind: Kind, payload: bytes) -> None:
        if kind is Kind.ASK and len(payload) == RANGE.size:
            self._serve(*RANGE.unpack(payload))
        elif kind is Kind.RECORD:
            self._keep(payload)
        elif kind is Kind.GIVEN_UP:
            raise Broken(_given_up(payload))
        else:
            raise Broken("its answer is invalid")

    def _serve(self, index: int, offset: int, length: int) -> None:
        if index >= len(self.disks) or offset + length > self.disks[index].size_bytes or length > LARGEST_READ_BYTES:
            raise Broken("it asked for bytes outside of its disks")
        self._read_bytes += max(length, self.bounds.smallest_read_bytes)
        if self._read_bytes > self.bounds.read_bytes:
            raise Broken(f"it read more than {format_bytes(self.bounds.read_bytes)}")
        try:
            data = self.disks[index].read(offset, length)
        except TwinhullError as error:
            self.outcome.unreadable.setdefault(index, error)
            self.pipes.send(Kind.UNREADABLE)
        else:
            self.pipes.send(Kind.DATA, data)

    def _keep(self, payload: bytes) -> None:
        if len(self.outcome.records) >= self.bounds.record_count:
            raise Broken(f"it had more than {self.bounds.record_count} answers")
        try:
            record = self.task.parse(json.loads(payload))
        except (ValueError, RecursionError):
            raise Broken("its answer is invalid") from None
        self.outcome.records.append(record)


def _given_up(payload: bytes) -> str:
    """The child's own reason: a few printable characters of it."""
    text = payload[:200].decode("ascii", errors="replace")
    return "".join(character if character.isprintable() else "?" for character in text) or "it stopped"
