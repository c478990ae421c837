"""What every command is handed: how it was called, where it prints, and the way to the manager."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from twinhull.cli.screen.screen import Screen, is_terminal
from twinhull.model.errors import Declined
from twinhull.model.ports import Ports, system_ports

if TYPE_CHECKING:
    import typer

    from twinhull.manager.manager import Manager


@dataclass
class Door:
    """``ports`` and ``environment`` are the real ones outside of tests."""

    screen: Screen = field(default_factory=Screen)
    ports: Ports = field(default_factory=system_ports)
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    state: Path | None = None
    repository_url: str | None = None
    passphrase_file: Path | None = None

    @contextmanager
    def manager(self, *, origin: str = "command line") -> Iterator[Manager]:
        """As a context: the manager on the state directory."""
        from twinhull.manager.catalog.state import StateDirectory, default_directory  # noqa: PLC0415 - as above
        from twinhull.manager.manager import Manager  # noqa: PLC0415 - help and completion do without

        state = StateDirectory((self.state or default_directory(self.environment)).absolute())
        if not state.path.exists():
            self.screen.message(f"Created a new, empty state directory: {state.path}")
        with Manager(
            state,
            self.ports,
            self.environment,
            repository_url=self.repository_url,
            passphrase_file=self.passphrase_file,
            origin=origin,
        ) as manager:
            yield manager

    def confirm(self, question: str, *, is_yes: bool) -> None:
        """Ask before something that cannot be taken back lightly; raises Declined."""
        if is_yes:
            return
        if not is_terminal(sys.stdin):
            raise Declined(
                f"{question} There is no terminal to ask on, so nothing was done.",
                hint="Add --yes to confirm without a terminal, or --dry-run to see what would happen.",
            )
        self.screen.message(f"{question} [y/N] ")
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise Declined("Nothing was done.")


def door_of(context: typer.Context) -> Door:
    """The door of this call."""
    door = context.find_root().obj
    if not isinstance(door, Door):
        raise TypeError("a command was called without its door")
    return door
