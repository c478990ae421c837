"""Programs of this machine: each runs in a session of its own, and what it says is bounded in time and in bytes.

The session keeps a terminal's signals (Ctrl-C, a closed window) away from programs that work for a run: the run decides
what is undone, and needs them for it.
"""

from __future__ import annotations

import os
import select
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Protocol

from twinhull.model.lines import TooLong, line_of
from twinhull.model.units import MIB

OUTPUT_BYTES = 64 * MIB
"""The most that a program may say in one run, on each of its outputs."""

_PIECE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Completed:
    """How a process ended."""

    argv: tuple[str, ...]
    exit_status: int
    stdout: bytes
    stderr: bytes

    @property
    def is_ok(self) -> bool:
        """Whether it exited with 0."""
        return self.exit_status == 0

    @property
    def complaint(self) -> str:
        """What it wrote to its error output, as one line."""
        return " ".join(self.stderr.decode(errors="replace").split())


class Process(Protocol):
    """A child process that goes on while we do other things."""

    @property
    def pid(self) -> int:
        """Its process id."""
        ...

    @property
    def stdin(self) -> IO[bytes] | None:
        """Its standard input, where it was asked for."""
        ...

    @property
    def stdout(self) -> IO[bytes] | None:
        """Its standard output, where it was asked for."""
        ...

    def poll(self) -> int | None:
        """Its exit status, or None while it runs."""
        ...

    def wait(self, timeout_seconds: float) -> int:
        """Wait for its end; raises TimeoutError."""
        ...

    def end(self, grace_seconds: float = 5.0) -> int:
        """Ask it to end, then make it; returns its exit status. Safe to repeat."""
        ...


class Processes(Protocol):
    """Starting programs, by argument list only."""

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout_seconds: float = 60.0,
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """Run a program to its end, in its own session and with this environment (None: ours).

        Raises FileNotFoundError, and TimeoutError and TooLong after the program was killed.
        """
        ...

    def start(
        self,
        argv: Sequence[str],
        *,
        has_pipes: bool = False,
        log: IO[bytes] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Process:
        """Start a program in its own session; its output goes to ``log``, or to pipes, or nowhere."""
        ...


class _SystemProcess:
    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self._popen = popen

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def stdin(self) -> IO[bytes] | None:
        return self._popen.stdin

    @property
    def stdout(self) -> IO[bytes] | None:
        return self._popen.stdout

    def poll(self) -> int | None:
        return self._popen.poll()

    def wait(self, timeout_seconds: float) -> int:
        try:
            return self._popen.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"process {self.pid} did not end within {timeout_seconds} s") from None

    def end(self, grace_seconds: float = 5.0) -> int:
        for sign in (signal.SIGTERM, signal.SIGKILL):
            if self._popen.poll() is not None:
                break
            self._popen.send_signal(sign)
            try:
                self._popen.wait(grace_seconds)
            except subprocess.TimeoutExpired:
                continue
        status = self._popen.wait()
        for pipe in (self._popen.stdin, self._popen.stdout):
            if pipe:
                pipe.close()
        return status


class SystemProcesses:
    """Programs on this machine."""

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        timeout_seconds: float = 60.0,
        env: Mapping[str, str] | None = None,
    ) -> Completed:
        """Run a program to its end; see :class:`Processes`."""
        pipe = subprocess.PIPE
        popen = subprocess.Popen(
            list(argv), stdin=pipe, stdout=pipe, stderr=pipe, env=env, bufsize=0, start_new_session=True
        )
        with popen:
            try:
                said = _Exchange(popen, stdin, timeout_seconds).outputs()
            except BaseException:
                _kill_session(popen)
                raise
        return Completed(tuple(argv), popen.returncode, *said)

    def start(
        self,
        argv: Sequence[str],
        *,
        has_pipes: bool = False,
        log: IO[bytes] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Process:
        """Start a program; see :class:`Processes`."""
        output = subprocess.PIPE if has_pipes else (log or subprocess.DEVNULL)
        return _SystemProcess(
            subprocess.Popen(
                list(argv),
                stdin=subprocess.PIPE if has_pipes else subprocess.DEVNULL,
                stdout=output,
                stderr=log or subprocess.DEVNULL,
                env=env,
                start_new_session=True,
            )
        )


class _Exchange:
    """What is said to a program and what it answers, until it has ended."""

    def __init__(self, popen: subprocess.Popen[bytes], stdin: bytes, timeout_seconds: float) -> None:
        self._popen = popen
        self._unsent = memoryview(stdin)
        self._timeout_seconds = timeout_seconds
        self._deadline = time.monotonic() + timeout_seconds
        self._heard: dict[int, bytearray] = {}

    def outputs(self) -> tuple[bytes, bytes]:
        """Its output and its error output; raises TimeoutError and TooLong."""
        popen = self._popen
        if popen.stdin is None or popen.stdout is None or popen.stderr is None:
            raise ValueError("the program was started without pipes")
        with selectors.PollSelector() as waiting:
            waiting.register(popen.stdin, selectors.EVENT_WRITE)
            for pipe in (popen.stdout, popen.stderr):
                self._heard[pipe.fileno()] = bytearray()
                waiting.register(pipe, selectors.EVENT_READ)
            while waiting.get_map():
                self._turn(waiting)
        try:
            popen.wait(self._left_seconds())
        except subprocess.TimeoutExpired:
            raise self._timeout() from None
        out, err = self._heard.values()
        return bytes(out), bytes(err)

    def _turn(self, waiting: selectors.BaseSelector) -> None:
        for key, _ in waiting.select(self._left_seconds()):
            is_more = self._hear(key.fd) if key.fd in self._heard else self._say(key.fd)
            if not is_more:
                waiting.unregister(key.fileobj)
                if key.fd not in self._heard and self._popen.stdin:
                    self._popen.stdin.close()

    def _say(self, descriptor: int) -> bool:
        try:
            sent = os.write(descriptor, self._unsent[: select.PIPE_BUF]) if self._unsent else 0
        except BrokenPipeError:
            return False  # it does not want to hear the rest
        self._unsent = self._unsent[sent:]
        return bool(self._unsent)

    def _hear(self, descriptor: int) -> bool:
        piece = os.read(descriptor, _PIECE_BYTES)
        heard = self._heard[descriptor]
        heard += piece
        if len(heard) > OUTPUT_BYTES:
            raise TooLong(f"'{self._name}' printed more than {OUTPUT_BYTES} bytes")
        return bool(piece)

    @property
    def _name(self) -> str:
        words = self._popen.args
        return str(words[0]) if isinstance(words, list) else str(words)

    def _left_seconds(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise self._timeout()
        return left

    def _timeout(self) -> TimeoutError:
        return TimeoutError(f"'{self._name}' did not end within {self._timeout_seconds} s")


def _kill_session(popen: subprocess.Popen[bytes]) -> None:
    """End a program and what it has started, unless that has a session of its own."""
    with suppress(
        ProcessLookupError
    ):  # all of it has ended meanwhile; the leader is not reaped yet, so the id is its own
        os.killpg(popen.pid, signal.SIGKILL)


def read_line(process: Process, timeout_seconds: float) -> str:
    """The next line of a program that was started with pipes, empty when it has ended; raises TimeoutError, TooLong."""
    if process.stdout is None:
        raise ValueError(f"process {process.pid} was started without pipes")
    line = line_of(process.stdout.fileno(), f"process {process.pid}", timeout_seconds)
    return line.decode(errors="replace").strip()


__all__ = ["OUTPUT_BYTES", "Completed", "Process", "Processes", "SystemProcesses", "TooLong", "read_line"]
