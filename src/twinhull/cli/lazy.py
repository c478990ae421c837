"""Commands that are loaded when they are called: ``twinhull --help`` must not load what it does not show."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

if TYPE_CHECKING:
    import typer

COMMANDS: Mapping[str, tuple[str, str]] = {
    "site": ("site", "Connect virtualization environments, and check what they can do."),
    "machine": ("machine", "List, inspect and unprotect machines."),
    "repository": ("repository.repository", "Create, verify, repair and copy the repository of restore points."),
    "store": ("store", "Test storage for a repository."),
    "plan": ("plan.plan", "Define which machines are replicated, from where to where, how often."),
    "sync": ("sync", "Capture a machine, and bring its replica to that point."),
    "status": ("status", "Show where each machine runs, and how far its replica lags."),
    "points": ("points.points", "List, compare, verify, hold and remove restore points."),
    "failover": ("failover", "Start the replica in place of its machine."),
    "failback": ("failover", "Bring a machine home, sending only what differs."),
    "rollback": ("rollback", "Put a machine back to an earlier point where it is."),
    "restore": ("restore", "Restore a point to a site, a file, a device or an NBD export."),
    "serve": ("serve", "Keep every plan within its RPO until stopped."),
    "runs": ("runs", "Show what was done, step by step; resume what was interrupted."),
    "catalog": ("catalog", "Rebuild the manager's catalog from the sites."),
}
"""Each command: the module of ``commands`` that has it as ``app``, and what it is for."""


class LazyGroup(TyperGroup):
    """Shows stand-ins in its help, and loads the one command that is called."""

    def __init__(self, **arguments: Any) -> None:  # noqa: ANN401 - typer's own signature
        super().__init__(**arguments)
        for name, (_, text) in COMMANDS.items():
            self.commands[name] = TyperCommand(name, help=text)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ANN401 - typer's own signature
        """Load the command that is meant, then go on as ever."""
        name = args[0]
        if name in COMMANDS:
            self.commands[name] = load(name)
        is_bare_group = len(args) == 1 and hasattr(self.commands.get(name), "commands")
        return super().resolve_command(ctx, [name, "--help"] if is_bare_group else args)


def load(name: str) -> Any:  # noqa: ANN401 - typer's own command classes
    """The command of that name, whole."""
    module, text = COMMANDS[name]
    app: typer.Typer = import_module(f"twinhull.cli.commands.{module}").APPS[name]
    command = get_command(app)
    command.name = name
    command.short_help = text
    command.help = command.help or text
    return command
