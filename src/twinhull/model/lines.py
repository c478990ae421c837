"""Reading lines from a program or a socket: each line has a deadline and a bound on its length.

A peer that hangs in the middle of a line, or never ends one, costs the reader its deadline and no more.
"""

from __future__ import annotations

import os
import select
import socket
import time
from types import TracebackType
from typing import Self

from twinhull.model.units import KIB, MIB

LINE_BYTES = 64 * KIB
"""The longest line that a helper program of ours may say."""

MESSAGE_BYTES = 16 * MIB
"""The longest line that may come from a socket: QEMU describes all of its disks in one."""

_PIECE_BYTES = 64 * KIB


class TooLong(OSError):
    """More came than the reader takes."""


def line_of(descriptor: int, who: str, timeout_seconds: float) -> bytes:
    """The next line of a pipe without its end, empty at the end of the input; takes no byte of the line after it.

    Raises TimeoutError and TooLong. For short lines: it reads byte by byte, so that nothing has to be kept.
    """
    deadline = time.monotonic() + timeout_seconds
    line = bytearray()
    while not line.endswith(b"\n"):
        _require_length(line, LINE_BYTES, who)
        _wait_readable(descriptor, deadline, f"{who} did not finish a line within {timeout_seconds:g} s")
        byte = os.read(descriptor, 1)
        if not byte:
            break
        line += byte
    return bytes(line)


class LineSocket:
    """A connection to a unix socket of this machine that speaks in lines. Use it as a context manager."""

    def __init__(self, path: str, timeout_seconds: float) -> None:
        """Connect; raises OSError. ``timeout_seconds`` bounds each send and each line."""
        self._timeout_seconds = timeout_seconds
        self._kept = bytearray()
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.settimeout(timeout_seconds)
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self._socket.close()

    def send(self, line: bytes) -> None:
        """Send a line; raises OSError."""
        self._socket.sendall(line + b"\n")

    def line(self) -> bytes:
        """The next line without its end, empty at the end of the input; raises TimeoutError, TooLong and OSError."""
        deadline = time.monotonic() + self._timeout_seconds
        while b"\n" not in self._kept:
            _require_length(self._kept, MESSAGE_BYTES, "the socket")
            _wait_readable(self._socket.fileno(), deadline, f"no complete line came within {self._timeout_seconds:g} s")
            piece = self._socket.recv(_PIECE_BYTES)
            if not piece:
                break
            self._kept += piece
        line, _, rest = bytes(self._kept).partition(b"\n")
        self._kept = bytearray(rest)
        return line


def _require_length(line: bytearray, most_bytes: int, who: str) -> None:
    if len(line) > most_bytes:
        raise TooLong(f"{who} sent a line of more than {most_bytes} bytes")


def _wait_readable(descriptor: int, deadline: float, complaint: str) -> None:
    waiting = select.poll()
    waiting.register(descriptor, select.POLLIN)
    left_seconds = deadline - time.monotonic()
    if left_seconds <= 0 or not waiting.poll(left_seconds * 1000):
        raise TimeoutError(complaint)
