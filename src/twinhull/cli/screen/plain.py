r"""Foreign text as a terminal may show it: names, guests' files, hosts' output and errors cannot command the terminal.

A control character moves the cursor, rewrites what is above it, sets the window's title, or turns the reading
direction. It is shown by its escape instead, as Python writes it: ``\x1b``, ``\u202e``, ``\n``.
"""

from __future__ import annotations

import json

_JSON_LAYOUT = "\n"
"""What the layout of a JSON document may hold beside printable characters; in its strings it is escaped anyway."""


def plain(text: str) -> str:
    """One line without control characters: C0, C1, line breaks, bidi and other format characters are escaped."""
    return text if text.isprintable() else "".join(map(_shown, text))


def plain_json(shape: object, indent: int | None) -> str:
    """A JSON document whose strings hold printable characters only; all others are JSON escapes."""
    text = json.dumps(shape, indent=indent, ensure_ascii=False)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == _JSON_LAYOUT else json.dumps(c)[1:-1] for c in text)


def _shown(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()
