"""A caller that is killed while it speaks: the host hears the beginning only."""

from __future__ import annotations

from collections.abc import Sequence

from twinhull.hosts.host import LocalHost
from twinhull.model.ports import Completed


class CutOff(LocalHost):
    """This machine, which hears no more than ``heard_bytes`` of what is said to it, and then the end."""

    heard_bytes = 0

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_seconds: float = 60.0) -> Completed:
        return super().run(argv, stdin=stdin[: self.heard_bytes], timeout_seconds=timeout_seconds)
