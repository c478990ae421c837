"""Twinhull as its users run it: the command line in a process of its own, answers as JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RUN_SECONDS = 900
"""How long one command may take: the first sync of the demo's guest takes about a minute when the machine is quiet."""

STOP_SECONDS = 180
"""How long ``serve`` may take to end: it gives its runs a minute."""


class CommandFailed(Exception):
    """A command ended with another status than 0."""

    def __init__(self, arguments: tuple[str, ...], status: int, output: str, complaint: str) -> None:
        super().__init__(f"twinhull {' '.join(arguments)}: exit status {status}\n{complaint}\n{output}")
        self.status = status
        self.complaint = complaint
        self.output = output


@dataclass(frozen=True)
class Serving:
    """A ``twinhull serve`` that runs."""

    process: subprocess.Popen[bytes]

    def stop(self) -> int:
        """Ask it to end, as a service manager does, and return its exit status; raises TimeoutExpired."""
        self.process.terminate()
        return self.process.wait(STOP_SECONDS)


@dataclass(frozen=True)
class Twinhull:
    """The command line with its own state directory."""

    state: Path

    def command(self, *arguments: str) -> list[str]:
        """The argument list of a call."""
        return [sys.executable, "-m", "twinhull.cli", *arguments]

    def environment(self) -> dict[str, str]:
        """The environment of a call."""
        return {**os.environ, "TWINHULL_STATE": str(self.state), "NO_COLOR": "1", "COLUMNS": "160"}

    def __call__(self, *arguments: str) -> Any:  # noqa: ANN401 - JSON is what it is
        """Run a command with ``--json`` and return its document; raises CommandFailed."""
        return json.loads(self.text(*arguments, "--json"))

    def text(self, *arguments: str) -> str:
        """Run a command and return what it printed; raises CommandFailed."""
        done = subprocess.run(
            self.command(*arguments),
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=False,
        )
        if done.returncode != 0:
            raise CommandFailed(arguments, done.returncode, done.stdout, done.stderr)
        return done.stdout

    @contextmanager
    def serving(self) -> Iterator[Serving]:
        """``twinhull serve``, ended with the context; what it says goes to ``serve.log`` in the state directory."""
        with (self.state / "serve.log").open("ab") as log:
            process = subprocess.Popen(
                self.command("serve"),
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield Serving(process)
        finally:
            process.kill()
            process.wait()

    def synced_by_itself(self) -> Any:  # noqa: ANN401 - JSON is what it is
        """Wait for the first sync that ``serve`` has brought to its end, and return its run; raises TimeoutError."""
        deadline = time.monotonic() + RUN_SECONDS
        while time.monotonic() < deadline:
            for run in self("runs", "list")["runs"]:
                if (run["kind"], run["origin"], run["state"]) == ("sync", "serve", "done"):
                    return run
            time.sleep(1)
        log = (self.state / "serve.log").read_text()
        raise TimeoutError(f"serve has ended no run in {RUN_SECONDS} s; it said:\n{log}")
