"""Talking to a child that is not trusted: nothing here waits longer than the deadline, whatever the child does."""

from __future__ import annotations

import os
import select

from twinhull.inspection.wire import HEADER, Kind, message
from twinhull.model.ports import Clock, Process


class Broken(Exception):
    """The child broke the rules, was too slow, or is gone; the text says which."""


class Pipes:
    """Messages to and from a child that was started with pipes."""

    def __init__(self, process: Process, clock: Clock, wall_seconds: float) -> None:
        if process.stdin is None or process.stdout is None:
            raise ValueError("the child was started without pipes")
        self._input, self._output = process.stdin.fileno(), process.stdout.fileno()
        os.set_blocking(self._input, False)
        os.set_blocking(self._output, False)
        self._clock = clock
        self._wall_seconds = wall_seconds
        self._deadline = clock.monotonic() + wall_seconds

    def send(self, kind: Kind, payload: bytes = b"") -> None:
        """Send a message; raises Broken."""
        left = memoryview(message(kind, payload))
        while left:
            self._wait(self._input, select.POLLOUT)
            try:
                left = left[os.write(self._input, left) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise Broken("it ended before it was done") from None

    def receive(self, largest_bytes: int) -> tuple[Kind, bytes]:
        """The next message; raises Broken."""
        word, length = HEADER.unpack(self._read(HEADER.size))
        try:
            kind = Kind(word)
        except ValueError:
            raise Broken("its answer is invalid") from None
        if length > largest_bytes:
            raise Broken("its answer is too large")
        return kind, self._read(length)

    def _read(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            self._wait(self._output, select.POLLIN)
            try:
                piece = os.read(self._output, length - len(data))
            except BlockingIOError:
                continue
            if not piece:
                raise Broken("it ended before it was done")
            data += piece
        return data

    def _wait(self, descriptor: int, event: int) -> None:
        waiting = select.poll()
        waiting.register(descriptor, event)
        left = self._deadline - self._clock.monotonic()
        if left <= 0 or not waiting.poll(left * 1000):
            raise Broken(f"it took longer than {self._wall_seconds:.0f} s")
