"""Directories of our own for sockets, gone with their contexts; those of killed processes go with the next one's.

Their paths are short, because a unix socket's path may have 107 bytes only. While its owner lives, a directory is
locked; one that is not belongs to nobody.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "twinhull-run-"


@contextmanager
def private_directory() -> Iterator[str]:
    """The path of a new, empty directory that nobody else may look into."""
    _sweep(Path(tempfile.gettempdir()))
    path, descriptor = _locked_directory()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def _locked_directory() -> tuple[str, int]:
    """A new directory that is known to be in use; one that was swept before we had the lock is made again."""
    while True:
        path = tempfile.mkdtemp(prefix=PREFIX)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            continue
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return path, descriptor
        os.close(descriptor)


def _sweep(parent: Path) -> None:
    """Remove the directories whose owners are gone; other users' are theirs to remove."""
    for path in parent.glob(f"{PREFIX}*"):
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue  # it is another user's, or was removed meanwhile
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_uid == os.geteuid():
                shutil.rmtree(path, ignore_errors=True)
        except BlockingIOError:
            pass  # its owner lives
        finally:
            os.close(descriptor)
