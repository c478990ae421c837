"""Telling a shell at the other end of a pipe that we live.

A process that is killed closes its pipe; a machine that loses its power, or its network, closes nothing, and the other
end of an ssh connection may take hours to notice. So one byte goes through the pipe every few seconds, and a shell that
holds something for us lets go of it where nothing came for long.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import IO

from twinhull.model.ports import Process

BEAT_SECONDS = 15.0
SILENCE_SECONDS = 90
"""After so long without a byte the other end is taken to be gone; longer than ssh takes to give a connection up."""

BEAT = b"."

_NO_LOCKS = "6>&- 7>&- 8>&- 9>&-"
"""What listens for the shell has none of the locks that the shell holds: it may outlive it."""


def until_silent() -> str:
    """Shell commands that end when their input does, or when nothing has come for ``SILENCE_SECONDS``."""
    return f'while [ -n "$(timeout {SILENCE_SECONDS} head -c 1 {_NO_LOCKS})" ]; do :; done\n'


def next_line() -> str:
    """A shell command that gives the next line of its input and takes no more; nothing where the other end is gone."""
    return f"timeout {SILENCE_SECONDS} sed -u q {_NO_LOCKS}"


@contextmanager
def beating(process: Process, beat: bytes = BEAT) -> Iterator[None]:
    """Send beats into a program's standard input for the length of the context."""
    if process.stdin is None:
        raise ValueError(f"process {process.pid} was started without pipes")
    end = Event()
    thread = Thread(target=_beat, args=(process.stdin, beat, end), name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()


def _beat(pipe: IO[bytes], beat: bytes, end: Event) -> None:
    while not end.wait(BEAT_SECONDS):
        try:
            pipe.write(beat)
            pipe.flush()
        except OSError:  # it has ended; whoever waits for it is told why
            return
