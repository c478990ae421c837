"""The outer world: clock, randomness and processes, so that simulation can own them.

This is the only module that calls the raw ones; lint bans them elsewhere.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Protocol, cast


class Clock(Protocol):
    """Time. Durations and deadlines use ``monotonic``; ``now`` is for people to read and for labels only."""

    def now(self) -> datetime:
        """The wall clock, in UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed instant; never jumps."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class Randomness(Protocol):
    """Unpredictable bytes."""

    def token(self, length_bytes: int) -> bytes:
        """That many unpredictable bytes."""
        ...

    def uuid(self) -> str:
        """A new random UUID."""
        ...


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
        """Run a program to its end; raises TimeoutError (the program is killed) and FileNotFoundError."""
        ...

    def start(self, argv: Sequence[str], *, has_pipes: bool = False, log: IO[bytes] | None = None) -> Process:
        """Start a program in its own session; its output goes to ``log``, or to pipes, or nowhere."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """The wall clock, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds of CLOCK_MONOTONIC."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)


class SystemRandomness:
    """The kernel's randomness."""

    def token(self, length_bytes: int) -> bytes:
        """That many bytes of the kernel's random source."""
        return os.urandom(length_bytes)

    def uuid(self) -> str:
        """A new random UUID (version 4)."""
        return str(uuid.uuid4())


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
            raise TimeoutError(f"process {self.pid} did not end in {timeout_seconds} s") from None

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
        """Run a program to its end; raises TimeoutError (the program is killed) and FileNotFoundError."""
        try:
            done = subprocess.run(
                list(argv),
                input=stdin,
                capture_output=True,
                timeout=timeout_seconds,
                check=False,
                env={**os.environ, **env} if env else None,
            )
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"'{argv[0]}' did not end in {timeout_seconds} s") from None
        return Completed(tuple(argv), done.returncode, done.stdout, done.stderr)

    def start(self, argv: Sequence[str], *, has_pipes: bool = False, log: IO[bytes] | None = None) -> Process:
        """Start a program in its own session, so that a Ctrl-C meant for us does not end it behind our back."""
        output = subprocess.PIPE if has_pipes else (log or subprocess.DEVNULL)
        return _SystemProcess(
            subprocess.Popen(
                list(argv),
                stdin=subprocess.PIPE if has_pipes else subprocess.DEVNULL,
                stdout=output,
                stderr=log or subprocess.DEVNULL,
                start_new_session=True,
            )
        )


def read_line(process: Process, timeout_seconds: float) -> str:
    """The next line that a program started with pipes says, empty where it has ended; raises TimeoutError.

    For programs that say one line at a time, each when it is asked for.
    """
    if process.stdout is None:
        raise ValueError(f"process {process.pid} was started without pipes")
    waiting = select.poll()
    waiting.register(process.stdout, select.POLLIN)
    if not waiting.poll(timeout_seconds * 1000):
        raise TimeoutError(f"process {process.pid} said nothing in {timeout_seconds} s")
    return process.stdout.readline().decode(errors="replace").strip()


def connect_unix(path: str, timeout_seconds: float) -> IO[bytes]:
    """A connection to a unix socket of this machine, to read from and to write to.

    Every read and write raises TimeoutError after ``timeout_seconds`` without progress; connecting raises OSError.
    """
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(timeout_seconds)
        connection.connect(path)
        return cast("IO[bytes]", connection.makefile("rwb"))
    finally:
        # The file keeps the connection open; closing the file closes it.
        connection.close()


@dataclass(frozen=True, slots=True)
class Ports:
    """All of the outer world in one hand."""

    clock: Clock
    randomness: Randomness
    processes: Processes


def system_ports() -> Ports:
    """The real world."""
    return Ports(SystemClock(), SystemRandomness(), SystemProcesses())
