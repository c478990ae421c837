"""Every command line in the documents is one that the product understands; what `make` is told to do is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from twinhull.cli.main import app

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]


def _code_lines(document: Path) -> list[str]:
    text = document.read_text()
    blocks = re.findall(r"```(?:sh|console)\n(.*?)```", text, flags=re.DOTALL)
    indented = [line.strip() for line in text.splitlines() if line.startswith("    twinhull ")]
    lines = [line.split("#")[0].strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [part.strip() for line in [*lines, *indented] for part in line.split("&&")]


COMMANDS = sorted({line for document in DOCUMENTS for line in _code_lines(document) if line.startswith("twinhull ")})
TARGETS = sorted({line for document in DOCUMENTS for line in _code_lines(document) if line.startswith("make ")})


def test_the_documents_show_commands() -> None:
    assert len(COMMANDS) > 5
    assert {"make demo", "make test"} <= set(TARGETS)


@pytest.mark.parametrize("line", COMMANDS)
def test_the_command_is_understood(line: str) -> None:
    words = shlex.split(line)[1:]
    command = get_command(app)
    context = command.make_context("twinhull", words, resilient_parsing=False)
    while hasattr(command, "resolve_command"):
        remaining = [*context._protected_args, *context.args]
        name, command, rest = command.resolve_command(context, remaining)
        assert command is not None, f"'{name}' is no command"
        context = command.make_context(name, rest, parent=context)


@pytest.mark.parametrize("line", TARGETS)
def test_the_make_target_is_there(line: str) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert line.split()[1] in targets
