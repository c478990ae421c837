"""Every command line in the documents is one that the product understands, and every target of `make` exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.parsing import parse
from tests.docs.documents import DOCUMENTS, ROOT


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
    parse(line)


@pytest.mark.parametrize("line", TARGETS)
def test_the_make_target_is_there(line: str) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    assert line.split()[1] in targets


def test_help_lists_every_target() -> None:
    """``make help`` reads the targets' own lines."""
    makefile = (ROOT / "Makefile").read_text()
    phony = set(re.findall(r"^\.PHONY: (.+)$", makefile, flags=re.MULTILINE)[0].split())
    explained = set(re.findall(r"^([a-z-]+):.*## .+$", makefile, flags=re.MULTILINE))
    assert phony - {"packages"} == explained
