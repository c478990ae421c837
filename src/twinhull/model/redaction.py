"""Secrets taken out of a text that is about to be logged.

Two kinds are found: secrets that this process has read (:func:`note_secret` is called where one is read), and what has
the form of a secret: the user information of a URI (RFC 3986, section 3.2.1) and values whose name says that they are
secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

HIDDEN = "***"
SHORTEST_SECRET = 6
"""Shorter ones are not searched for: they would be found in the middle of any word."""

_NAMED = r"(?:pass(?:word|wd|phrase)|secret|token|signature|credentials?|access[_-]?key(?:[_-]?id)?)"
"""How names of secrets end: ``AWS_SECRET_ACCESS_KEY``, ``PGPASSWORD``, ``X-Amz-Signature``."""
_SECRET_NAME = re.compile(rf"(?i){_NAMED}$")
_USER_INFORMATION = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)(?:[^\s/?#:@]*:\S*|[^\s/?#]*)@")
"""With a colon in it, up to the last ``@``: a password may hold any character if nobody encoded it."""
_ASSIGNMENT = re.compile(rf"(?i)([\w.-]*{_NAMED}[\"']?\s*[=:]\s*)(?:\"[^\"]*\"|'[^']*'|[^\s&;,\"']+)")

_known: set[str] = set()


def note_secret(secret: str) -> None:
    """Let this process's log never show the secret, nor its percent-encoded form."""
    if len(secret) >= SHORTEST_SECRET:
        _known.update((secret, quote(secret, safe="")))


def note_secrets_of(environment: Mapping[str, str]) -> None:
    """Note each variable whose name says that it holds a secret, such as ``AWS_SECRET_ACCESS_KEY``."""
    for name, value in environment.items():
        if is_secret_name(name):
            note_secret(value)


def is_secret_name(name: str) -> bool:
    """Whether a value of that name is a secret."""
    return bool(_SECRET_NAME.search(name))


def redacted(text: str) -> str:
    """The text without secrets."""
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = _USER_INFORMATION.sub(rf"\1{HIDDEN}@", text)
    return _ASSIGNMENT.sub(rf"\1{HIDDEN}", text)


def redacted_fact(name: str, value: object) -> object:
    """A named piece of plain data (a text, a number, a list, a mapping) without secrets; other objects become text."""
    if is_secret_name(name):
        return HIDDEN
    if isinstance(value, Mapping):
        return {redacted(str(key)): redacted_fact(str(key), held) for key, held in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redacted_fact("", held) for held in value]
    return value if value is None or isinstance(value, bool | int | float) else redacted(str(value))
