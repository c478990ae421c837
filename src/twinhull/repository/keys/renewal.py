"""Keys that rotations have added since a repository was opened: taken into its ring once one of them is needed.

They are needed before something is written, which is to be sealed under the newest key, and where something is read
that is sealed under a key that the ring does not have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock

from twinhull.model.errors import PassphraseMissing, TwinhullError
from twinhull.repository.errors import StoreError, WrongPassphrase
from twinhull.repository.format.keyring import Keys
from twinhull.repository.keys.key_objects import KeyObjects

FindPassphrase = Callable[[], str]
"""The passphrase of now, asked for after each rotation; raises what keeps it from being found."""


def not_kept() -> str:
    """Stands for a passphrase that nobody can be asked for."""
    raise PassphraseMissing("This process does not keep the passphrase.")


class Renewal:
    """Keeps the ring of one open repository up to date. Safe for threads."""

    def __init__(self, objects: KeyObjects, keys: Keys, find_passphrase: FindPassphrase) -> None:
        self._objects = objects
        self._keys = keys
        self._find_passphrase = find_passphrase
        self._lock = Lock()
        self._made: tuple[str, Sequence[str]] | None = None
        self._problem = ""

    def require_current(self) -> None:
        """Have the newest key, to write under it; raises KeysRotated, RepositoryDamaged, StoreError."""
        self.require_known()
        self._objects.require_current(self._keys)

    def require_known(self) -> None:
        """Have every key that is in force; raises KeysRotated where the passphrase of now does not open it."""
        self.look()
        self._objects.require_known(self._keys, self._problem)

    def look(self) -> None:
        """Take what rotations have added, where that can be opened; raises StoreError."""
        with self._lock:
            if self._objects.is_newer_claimed(self._keys):
                self._take()

    def _take(self) -> None:
        try:
            guess = self._find_passphrase(), self._objects.names()
        except StoreError:
            raise
        except TwinhullError as error:
            self._problem = error.message
            return
        if guess == self._made:  # a guess costs what it is meant to cost: none is made twice
            return
        try:
            self._keys.grow(self._objects.open(guess[0]).ring)
        except WrongPassphrase as error:
            self._problem = error.message
        except ValueError as error:
            self._problem = f"It must be reopened: {error}."
        self._made = guess
