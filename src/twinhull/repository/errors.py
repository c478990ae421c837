"""The repository's errors, below ``DataError`` of the model.

The tree (exit code)::

    DataError (30)
    └── RepositoryError (30)
        ├── RepositoryMissing (31)        there is no repository in this store
        ├── RepositoryVersionTooNew (32)  it was made by a newer Twinhull
        ├── WrongPassphrase (33)          no key of the repository opens with it
        ├── RepositoryDamaged (34)        an object is not what was written
        │   ├── NotAuthentic (34)         no holder of the keys wrote this object: it counts for nothing
    │   ├── ObjectUnfit (34)          an object that was not read: too large, no plain file, or oddly named
    │   └── ChunkLost (35)            no good copy of a chunk is left
        ├── StoreError (36)               the store refused or failed
        │   ├── ObjectMissing (36)
        │   ├── ObjectExists (36)
        │   └── StoreFull (37)            no room left
        ├── PointConflict (38)            another writer has published first
        ├── WriterOverdue (39)            a capture took longer than collection waits
        └── KeysRotated (43)              the repository has a newer key than this process knows
"""

from __future__ import annotations

from twinhull.model.errors import DataError


class RepositoryError(DataError):
    """Something is wrong with a repository or its store."""

    exit_code = 30


class RepositoryMissing(RepositoryError):
    """There is no repository in this store."""

    exit_code = 31


class RepositoryVersionTooNew(RepositoryError):
    """The repository, or one object of it, was written in a format that this Twinhull does not know."""

    exit_code = 32


class WrongPassphrase(RepositoryError):
    """No key of the repository opens with this passphrase."""

    exit_code = 33


class RepositoryDamaged(RepositoryError):
    """An object of the repository is damaged."""

    exit_code = 34


class NotAuthentic(RepositoryDamaged):
    """The object was not written with the repository's keys, and is ignored."""


class ObjectUnfit(RepositoryDamaged):
    """The object is too large, not a regular file, or has an invalid name, and was not read."""


class ChunkLost(RepositoryDamaged):
    """No good copy of a chunk is left in this repository."""

    exit_code = 35


class StoreError(RepositoryError):
    """The store refused or failed; earlier data did not change."""

    exit_code = 36


class ObjectMissing(StoreError):
    """The store has no object with that name."""


class ObjectExists(StoreError):
    """The store already has an object with that name; it was not changed."""


class StoreFull(StoreError):
    """The store is full; earlier data did not change."""

    exit_code = 37


class PointConflict(RepositoryError):
    """Another writer has published a point with that sequence number first; this one was not published."""

    exit_code = 38


class WriterOverdue(RepositoryError):
    """A capture took longer than a collection waits for it, so no point was made."""

    exit_code = 39


class KeysRotated(RepositoryError):
    """The repository's keys were rotated since this process opened it."""

    exit_code = 43
