"""The texts of the product: every string of its source that a person can meet, with a word in each placeholder."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import twinhull
from tests.cli.parsing import FILLING

SOURCE = Path(twinhull.__file__).parent
_WITH_DOCSTRINGS = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Text:
    """A text of the product, and where it stands."""

    place: str
    text: str


def texts() -> Iterator[Text]:
    """All string constants and f-strings of the source, docstrings included."""
    for path in sorted(SOURCE.rglob("*.py")):
        yield from _texts_of(str(path.relative_to(SOURCE)), ast.parse(path.read_text()), skipped=set())


def texts_for_people() -> Iterator[Text]:
    """What a person can meet: every text but docstrings and strings that explain a name; help of commands included."""
    for path in sorted(SOURCE.rglob("*.py")):
        tree = ast.parse(path.read_text())
        yield from _texts_of(str(path.relative_to(SOURCE)), tree, skipped=set(map(id, _explaining(tree))))


def hints() -> Iterator[Text]:
    """What is handed over as ``hint=``: constants and f-strings, also those of a condition."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.keyword) and node.arg == "hint":
                yield from _texts_of(str(path.relative_to(SOURCE)), node.value, skipped=set())


def _texts_of(place: str, tree: ast.AST, *, skipped: set[int]) -> Iterator[Text]:
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield Text(f"{place}:{node.lineno}", "".join(map(_part, node.values)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner | skipped:
            yield Text(f"{place}:{node.lineno}", node.value)


def _part(node: ast.expr) -> str:
    return str(node.value) if isinstance(node, ast.Constant) else FILLING


def _explaining(tree: ast.AST) -> Iterator[ast.expr]:
    """The strings that stand alone as statements, except those that are printed: help of commands, tables of errors."""
    shown = set(map(id, _shown(tree)))
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and id(node.value) not in shown:
            yield node.value


def _shown(tree: ast.AST) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        is_command = isinstance(node, ast.FunctionDef) and any("app." in ast.unparse(d) for d in node.decorator_list)
        is_error = isinstance(node, ast.ClassDef) and any(ast.unparse(b).endswith("Error") for b in node.bases)
        if (is_command or is_error) and isinstance(node, _WITH_DOCSTRINGS) and isinstance(node.body[0], ast.Expr):
            yield node.body[0].value
