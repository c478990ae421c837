"""What the repository asks of a store; every store passes the same contract suite."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from twinhull.model.errors import UsageError
from twinhull.model.units import MIB, format_bytes
from twinhull.repository.errors import ObjectUnfit

_NAME = re.compile(r"[a-z]+(-[0-9a-f]+)*", re.ASCII)
MAX_NAME_LENGTH = 128
MAX_READ_BYTES = 256 * MIB
"""The most that ``Store.read`` reads: no object that is read whole may be larger (packs are read in ranges)."""
CONFIG_NAME = "config"
"""The object that every repository has, from its beginning to its end."""
NEVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object in a listing."""

    name: str
    size_bytes: int


class Store(Protocol):
    """Objects by name. Names are a kind in lower-case letters and hexadecimal words, joined by dashes.

    Every call may raise StoreError; nothing else, beside what is named below, comes out of a store.
    """

    @property
    def url(self) -> str:
        """What ``open_store`` opens this store by, for messages and for other processes."""
        ...

    def create(self, name: str, parts: Sequence[bytes]) -> None:
        """Make an object of the joined parts, whole and durable when the call returns.

        Raises ObjectExists, and changes nothing, where the name is taken; of several concurrent creators one wins.
        After any other error the object may or may not exist, but never in part. Raises StoreFull.
        """
        ...

    def read(self, name: str, max_bytes: int = MAX_READ_BYTES) -> bytes:
        """A whole object; raises ObjectMissing, and RepositoryDamaged if only this one cannot be read.

        Raises ObjectUnfit, before it reads any of it, if the object has more than ``max_bytes``. Of a name that was
        found in a listing and is none that ``create`` takes, this and what follows raise ObjectUnfit, too.
        """
        ...

    def read_range(self, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        """A part of an object, shorter only where the object ends first; raises as ``read``."""
        ...

    def size(self, name: str) -> int:
        """An object's size in bytes; raises ObjectMissing."""
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every object whose name starts with ``prefix``, sorted by name; ``prefix`` begins with a whole kind.

        An object whose creation had returned before the call is in the listing, one that was deleted is not.
        """
        ...

    def delete(self, name: str) -> None:
        """Make the object go, durably; no error where there is none."""
        ...

    def locked_until(self, name: str) -> datetime | None:
        """Until when the store itself keeps the object, whoever deletes it (object lock); None where it does not.

        NEVER where nobody has said when that ends (a legal hold). It is told by the store's own clock.
        """
        ...

    def sweep(self) -> int:
        """Remove what creations that were cut short have left beside the objects; returns how many leftovers."""
        ...


def check_size(name: str, size_bytes: int, max_bytes: int) -> None:
    """Raise ObjectUnfit if an object is larger than what is read of its kind."""
    if size_bytes > max_bytes:
        raise ObjectUnfit(
            f"The object '{name}' has {format_bytes(size_bytes)}; the limit is {format_bytes(max_bytes)}."
        )


def found_name(name: str) -> str:
    """``name``, as a listing had it, if it is one that a store takes; raises ObjectUnfit."""
    try:
        return checked_name(name)
    except UsageError as error:
        raise ObjectUnfit(f"The object {name!r} has a name that no object of a repository has.") from error


def checked_name(name: str) -> str:
    """``name`` if it is one that a store takes; raises UsageError."""
    if len(name) > MAX_NAME_LENGTH or not _NAME.fullmatch(name):
        raise UsageError(f"'{name}' is not a valid object name.")
    return name
