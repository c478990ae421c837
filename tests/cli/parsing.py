"""A command line, understood as the product would understand it, without being carried out."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from twinhull.cli.door import Door
from twinhull.cli.lazy import load
from twinhull.cli.main import app

FILLING = "1"
"""Stands for a placeholder: a name, a number and a path."""
_AFTER_A_COMMAND = re.compile(r"\s(?:>>|#|\() ?.*$")
"""Where its output goes in an example, or what it is for."""


def parse(line: str) -> Any:  # noqa: ANN401 - click's own classes
    """Understand the line as the command line would; returns its command, raises what it would."""
    words = shlex.split(_AFTER_A_COMMAND.sub("", line))[1:]
    if words[0] == FILLING:  # the command itself is filled in: one of a pair, failover and failback
        words[0] = "failover"
    command: Any = get_command(app)
    context = command.make_context("twinhull", [*words], obj=Door())
    while hasattr(command, "resolve_command"):
        name, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        context = command.make_context(name, rest, parent=context)
    return command


def commands_of(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - click's own classes
    """A command and all those below it, by their words."""
    yield name, command
    for word, inner in getattr(command, "commands", {}).items():
        yield from commands_of(load(word) if not name else inner, f"{name} {word}".strip())
