"""A small QMP client for the QEMUs that the lab itself starts."""

from __future__ import annotations

import json
import shlex
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

MOVE_SECONDS = 120
"""How long saving or restoring a state may take."""


class Qmp:
    """A QMP connection; a context that closes itself."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(MOVE_SECONDS)
        self._socket.connect(str(path))
        self._file = self._socket.makefile("rw")
        self._file.readline()
        self.ask("qmp_capabilities")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def ask(self, command: str, **arguments: object) -> Mapping[str, Any]:
        """Run a command and return its answer.

        Raises:
            RuntimeError: QEMU refused it, or went away.
        """
        self._file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self._file.flush()
        for line in self._file:
            answer = json.loads(line)
            if "error" in answer:
                raise RuntimeError(f"QEMU refused {command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"] or {}
        raise RuntimeError(f"QEMU went away during {command}")

    def share_memory(self) -> None:
        """Leave the guest's memory, which is a file, out of the saved state."""
        capability = {"capability": "x-ignore-shared", "state": True}
        self.ask("migrate-set-capabilities", capabilities=[capability])

    def save(self, state: Path) -> None:
        """Stop the machine and write its device state."""
        self.ask("stop")
        self.share_memory()
        self.ask("migrate-set-parameters", **{"max-bandwidth": 10**11})
        self.ask("migrate", uri=f"exec:cat > {shlex.quote(str(state))}")
        self._wait("query-migrate", "completed")

    def restore(self, state: Path) -> None:
        """Read a device state into a machine that was started with ``-incoming defer`` and let it run."""
        self.share_memory()
        self.ask("migrate-incoming", uri=f"exec:cat {shlex.quote(str(state))}")
        self._wait("query-status", "paused", "prelaunch")
        self.ask("cont")

    def _wait(self, query: str, *wanted: str) -> None:
        deadline = time.monotonic() + MOVE_SECONDS
        while (status := self.ask(query).get("status")) not in wanted:
            if status == "failed" or time.monotonic() > deadline:
                raise RuntimeError(f"the state was not moved: {query} says {status}")
            time.sleep(0.05)
