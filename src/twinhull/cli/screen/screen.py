"""All that is printed goes through here: tables and facts for people, one JSON document for programs, errors.

What is shown may come from a guest, a host or a store, so every text is made :func:`plain` before it is styled.
"""

from __future__ import annotations

import os
import shutil
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import TextIO

from twinhull.cli.screen.plain import plain, plain_json
from twinhull.model.errors import TwinhullError
from twinhull.model.redaction import redacted

_GAP = 2
"""Blanks between two columns."""

_LONGEST_WHOLE = 30
"""Words of up to so many letters stay whole where a table is folded: a run's id among them."""

_CLEAR = "\x1b[2J\x1b[H"
"""Empties a terminal, and goes to its first line."""

reader_left = Event()
"""Whether a reader of ours has left, in this call."""

SCHEMA_VERSION = 1
"""Of what ``--json`` prints: it rises if a key is renamed or removed, or means something else; not for new keys."""

Shape = Mapping[str, object]
"""What ``--json`` prints: plain data. Its keys are part of the product's promises to scripts."""


@dataclass
class Screen:
    """``is_json``: stdout carries one JSON document and nothing else; messages go to stderr always.

    ``indent`` None writes a document in one line, for a command that prints one after the other.
    """

    is_json: bool = False
    indent: int | None = 2

    def document(self, shape: object) -> None:
        """Print the one JSON document, with the version of its form."""
        versioned = {"schema_version": SCHEMA_VERSION, **shape} if isinstance(shape, Mapping) else shape
        _write(sys.stdout, plain_json(versioned, self.indent))

    def table(self, headers: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
        """Columns for people, unshortened, so that they can be searched; ``empty`` is said where there are no rows.

        At a terminal that is too narrow for them their cells are folded, so that columns stay columns.
        """
        if not rows:
            self.line(empty)
            return
        headers = [plain(header.upper()) for header in headers]
        rows = [[plain(cell) for cell in row] for row in rows]
        widths = [max(len(row[column]) for row in (headers, *rows)) for column in range(len(headers))]
        if is_terminal(sys.stdout) and _width(widths) > shutil.get_terminal_size().columns:
            _write(sys.stdout, _folded(headers, rows, shutil.get_terminal_size().columns))
            return
        _write(sys.stdout, _bold(_columns(headers, widths), sys.stdout))
        for row in rows:
            _write(sys.stdout, _columns(row, widths))

    def facts(self, facts: Sequence[tuple[str, str | Sequence[str]]]) -> None:
        """Names and values below one another, without those that have no value; a list has a line for each item."""
        shown = [(plain(name), [value] if isinstance(value, str) else value) for name, value in facts if value]
        width = max((len(name) for name, _ in shown), default=0)
        for name, values in shown:
            for label, value in zip((name, *[""] * len(values)), values, strict=False):
                _write(sys.stdout, f"{label:<{width}}  {plain(value)}".rstrip())

    def line(self, text: str = "") -> None:
        """A line of the answer."""
        _write(sys.stdout, plain(text))

    def answer(self, shape: object, *lines: str) -> None:
        """One JSON document for programs, or these lines for people."""
        if self.is_json:
            self.document(shape)
            return
        for line in lines:
            self.line(line)

    def judge(self, shape: object, lines: Sequence[str], failure: TwinhullError | None) -> None:
        """An answer, and the failure that it tells of, if any: raises it, or Told where the JSON document says it."""
        self.answer(shape, *lines)
        if failure:
            raise Told(failure) if self.is_json else failure

    def heading(self, text: str) -> None:
        """A line above a part of the answer."""
        _write(sys.stdout, _bold(plain(text), sys.stdout))

    def clear(self) -> None:
        """Begin again at the top of an empty terminal."""
        if is_terminal(sys.stdout):
            sys.stdout.write(_CLEAR)

    def message(self, text: str) -> None:
        """Something on the way, beside the answer."""
        _write(sys.stderr, plain(text))

    def crash(self, error: BaseException) -> None:
        """A fault of the product: its traceback, which may quote foreign text."""
        for part in traceback.format_exception(error):
            # A frame is ours and has several lines; an error's own text stays in one.
            for line in part.rstrip("\n").split("\n") if part.startswith('  File "') else [part.strip("\n")]:
                self.message(redacted(line))

    def error(self, error: TwinhullError) -> None:
        """An error: what happened, and what to do."""
        if self.is_json:
            self.document({"error": error_shape(error)})
            return
        _write(sys.stderr, f"{_red('Error:', sys.stderr)} {plain(error.message)}")
        if error.hint:
            self.message(f"Hint: {error.hint}")


class Told(Exception):
    """Carries the exit code of an error that was printed already."""

    def __init__(self, error: TwinhullError) -> None:
        super().__init__(str(error))
        self.exit_code = error.exit_code


def error_shape(error: TwinhullError) -> Shape:
    """An error as data."""
    return {
        "kind": type(error).__name__,
        "message": error.message,
        "hint": error.hint,
        "exit_code": error.exit_code,
    }


def is_terminal(stream: TextIO) -> bool:
    """Whether a person looks at it."""
    return stream.isatty()


def _columns(row: Sequence[str], widths: Sequence[int]) -> str:
    return (" " * _GAP).join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def _width(widths: Sequence[int]) -> int:
    return sum(widths) + _GAP * (len(widths) - 1)


def _folded(headers: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> str:
    from rich.console import Console  # noqa: PLC0415 - loaded at a narrow terminal only
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold")
    for column, header in enumerate(headers):
        words = [word for row in (headers, *rows) for word in row[column].split()]
        whole = min(max(map(len, words), default=0), _LONGEST_WHOLE)
        table.add_column(Text(header), overflow="fold", min_width=whole)
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = Console(width=width, color_system="standard" if _is_coloured(sys.stdout) else None)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().rstrip("\n").split("\n"))


def _bold(text: str, stream: TextIO) -> str:
    return f"\x1b[1m{text}\x1b[0m" if _is_coloured(stream) else text


def _red(text: str, stream: TextIO) -> str:
    return f"\x1b[1;31m{text}\x1b[0m" if _is_coloured(stream) else text


def _is_coloured(stream: TextIO) -> bool:
    return is_terminal(stream) and not os.environ.get("NO_COLOR")


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text + "\n")
        stream.flush()
    except BrokenPipeError:
        leave(stream)


def leave(stream: TextIO) -> None:
    """Write nowhere from now on: whoever read the stream has left (``twinhull … | head``). What is at work goes on."""
    reader_left.set()
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())
