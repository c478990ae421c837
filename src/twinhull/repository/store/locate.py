"""From an address to a store."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from twinhull.model.errors import UsageError
from twinhull.repository.store.contract import Store
from twinhull.repository.store.directory import DirectoryStore


def open_store(url: str) -> Store:
    """The store at a path or URL (``/path``, ``file:///path``); raises UsageError for any other address."""
    parts = urlsplit(url)
    if parts.scheme == "" and url:
        return DirectoryStore(Path(url))
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path:
        return DirectoryStore(Path(unquote(parts.path)))
    raise UsageError(f"'{url}' is no address of a store.", hint="Give a directory's path, or file:///path.")
