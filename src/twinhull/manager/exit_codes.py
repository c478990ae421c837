"""The table of exit codes in the docs, made from the error tree: ``python -m twinhull.manager.exit_codes``."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator

import twinhull.repository.errors  # noqa: F401 - its errors are part of the tree
from twinhull.model.errors import TwinhullError

_HEAD = """\
# Errors and exit codes

Every error says what happened, to which machine or site, and what was left as it was; a hint says what to do. With
`--json` it is printed as `{"error": {"kind", "message", "hint", "exit_code"}}` on stdout. Exit codes are stable:
scripts may rely on them. An error has the code of its own kind; kinds below it (indented) are special cases of it.
0 is success, 130 is a second Ctrl-C.

This page is made from the code (`python -m twinhull.manager.exit_codes > docs/errors.md`), and a test compares the two.

| exit code | kind | meaning |
|---|---|---|
"""
_MODULES = ("twinhull.model.errors", "twinhull.repository.errors")
"""Where the errors that users meet are; a room's inner ones have the code of their kind, whatever is loaded."""


def table() -> str:
    """The page as Markdown."""
    return _HEAD + "\n".join(_rows(TwinhullError, 0)) + "\n"


def _rows(kind: type[TwinhullError], depth: int) -> Iterator[str]:
    meaning = inspect.getdoc(kind) or ""
    sentence = meaning.split("\n\n")[0].replace("\n", " ")
    yield f"| {kind.exit_code} | {'&nbsp;&nbsp;' * depth}{kind.__name__} | {sentence} |"
    children = [child for child in kind.__subclasses__() if child.__module__ in _MODULES]
    for child in sorted(children, key=lambda child: (child.exit_code, child.__name__)):
        yield from _rows(child, depth + 1)


if __name__ == "__main__":
    sys.stdout.write(table())
