"""A directory of our own for sockets, gone with its context."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def private_directory() -> Iterator[str]:
    """Its path: short, because a unix socket's path may have 107 bytes only."""
    with tempfile.TemporaryDirectory(prefix="twinhull-") as directory:
        yield directory
