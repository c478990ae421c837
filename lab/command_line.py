"""Twinhull as its users run it: the command line in a process of its own, answers as JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RUN_SECONDS = 900
"""How long one command may take: the first sync of the demo's guest takes about a minute when the machine is quiet."""


class CommandFailed(Exception):
    """A command ended with another status than 0."""

    def __init__(self, arguments: tuple[str, ...], status: int, output: str, complaint: str) -> None:
        super().__init__(f"twinhull {' '.join(arguments)}: exit status {status}\n{complaint}\n{output}")
        self.status = status
        self.complaint = complaint
        self.output = output


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

    def start(self, *arguments: str, log: Path) -> subprocess.Popen[bytes]:
        """Start a command that goes on while other things happen; its output goes to ``log``."""
        with log.open("ab") as output:
            return subprocess.Popen(
                self.command(*arguments),
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
