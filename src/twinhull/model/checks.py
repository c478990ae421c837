"""Checking one value of foreign data: what all checked constructors stand on. Each raises ValueError."""

from __future__ import annotations

import re

MAX_TEXT = 255
"""Characters of a machine's or a network's name."""
_SHOWN = 80
"""Characters of a refused value that an error shows."""
_CONTROL = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\ud800-\\udfff]")
_DIGITS = re.compile(r"[0-9]{1,20}", re.ASCII)


def checked_text(value: object) -> str:
    """One line of text that people read: not empty, bounded, without control characters and lone surrogates."""
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT:
        raise ValueError(f"{shown(value)} is not a text of 1 to {MAX_TEXT} characters.")
    if _CONTROL.search(value):
        raise ValueError(f"{shown(value)} contains control characters.")
    return value


def one_line(text: str) -> str:
    """Foreign text cut and cleaned, so that it is a text in the sense of ``checked_text``; not empty."""
    line = _CONTROL.sub(" ", text).strip()
    return (line if len(line) <= MAX_TEXT else f"{line[: MAX_TEXT - 3]}...") or "?"


def number_in(text: str | None) -> int:
    """The whole number that a text holds, digits only and few of them."""
    stripped = (text or "").strip()
    if not _DIGITS.fullmatch(stripped):
        raise ValueError(f"{shown(text)} is not a number.")
    return int(stripped)


def matching(value: object, form: re.Pattern[str], what: str) -> str:
    """The value, if it is a text of that form in whole."""
    if not isinstance(value, str) or not form.fullmatch(value):
        raise ValueError(f"{shown(value)} is not {what}.")
    return value


def bounded(value: object, lowest: int, highest: int, what: str) -> int:
    """The value, if it is a whole number within the bounds."""
    # A bool is an int to Python, and a number to nobody.
    if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
        raise ValueError(f"{shown(value)} is not {what}: it must be from {lowest} to {highest}.")
    return value


def shown(value: object) -> str:
    """The refused value as an error may show it: on one line, and short."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits has no text
        return f"A value of the kind {type(value).__name__}"
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
