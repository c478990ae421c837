"""The repository's first object: ``config``, in plain, so that a person with a text editor can see what there is."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from twinhull.model.errors import AlreadyExists, UsageError
from twinhull.model.ports import Randomness
from twinhull.model.units import KIB, MIB
from twinhull.repository.errors import (
    ObjectExists,
    ObjectMissing,
    RepositoryDamaged,
    RepositoryMissing,
    RepositoryVersionTooNew,
    StoreError,
)
from twinhull.repository.format.envelope import FORMAT_VERSION
from twinhull.repository.format.keyring import KEY_BYTES, Keys
from twinhull.repository.keys.key_objects import KeyMemory, KeyObjects, check_signed, signed
from twinhull.repository.keys.key_search import MAX_PLAIN_BYTES
from twinhull.repository.keys.passphrases import KdfCost
from twinhull.repository.store.contract import CONFIG_NAME, Store

FORMAT_NAME = "twinhull repository"
DEFAULT_CHUNK_SIZE_BYTES = 128 * KIB
MIN_CHUNK_SIZE_BYTES = 4 * KIB
MAX_CHUNK_SIZE_BYTES = 16 * MIB


@dataclass(frozen=True, slots=True)
class Config:
    """What holds for the whole repository, for ever."""

    repository_id: str
    chunk_size_bytes: int


def create_config(
    store: Store, passphrase: str, chunk_size_bytes: int, cost: KdfCost, randomness: Randomness
) -> tuple[Config, Keys]:
    """Make an empty repository: its key first, its config last; raises AlreadyExists."""
    _check_chunk_size(chunk_size_bytes)
    if is_repository(store):
        raise AlreadyExists(f"A repository already exists in {store.url}. It was not changed.")
    config = Config(randomness.uuid(), chunk_size_bytes)
    keys = Keys([randomness.token(KEY_BYTES)])
    name = KeyObjects(store, config.repository_id, randomness, cost).add(keys, passphrase)
    try:
        store.create(CONFIG_NAME, [signed(keys, _config_line(config))])
    except ObjectExists:
        store.delete(name)
        raise AlreadyExists(f"Another program has just created a repository in {store.url}.") from None
    for info in list(store.list("key-")):
        if info.name != name:  # of a creation that did not come to its end, and cannot any more; or junk
            with suppress(StoreError, UsageError):  # it does no harm
                store.delete(info.name)
    return config, keys


def is_repository(store: Store) -> bool:
    """Whether there is a repository in the store, whoever can open it."""
    try:
        store.size(CONFIG_NAME)
    except ObjectMissing:
        return False
    return True


def open_config(
    store: Store, passphrase: str, randomness: Randomness, memory: KeyMemory | None = None
) -> tuple[Config, Keys]:
    """The config and keys of the repository in a store.

    Raises RepositoryMissing, RepositoryVersionTooNew, WrongPassphrase, RepositoryDamaged.
    """
    config = _read_config(store)
    keys = KeyObjects(store, config.repository_id, randomness).open(passphrase, memory)
    check_signed(store, keys, CONFIG_NAME)
    return config, keys


def _check_chunk_size(chunk_size_bytes: int) -> None:
    is_power = chunk_size_bytes & (chunk_size_bytes - 1) == 0
    if not is_power or not MIN_CHUNK_SIZE_BYTES <= chunk_size_bytes <= MAX_CHUNK_SIZE_BYTES:
        raise UsageError(
            f"{chunk_size_bytes} bytes is not a valid chunk size.",
            hint="Use a power of two from 4 KiB to 16 MiB.",
        )


def _config_line(config: Config) -> bytes:
    return json.dumps(
        {
            "format": FORMAT_NAME,
            "version": FORMAT_VERSION,
            "repository_id": config.repository_id,
            "chunk_size_bytes": config.chunk_size_bytes,
        }
    ).encode()


def _read_config(store: Store) -> Config:
    try:
        data = store.read_range(CONFIG_NAME, 0, MAX_PLAIN_BYTES)
    except ObjectMissing:
        raise RepositoryMissing(
            f"There is no repository in {store.url}.",
            hint="Check the address, and that its disk is mounted. To create a new one: twinhull repository "
            "create URL --generate",
        ) from None
    try:
        raw = json.loads(data.partition(b"\n")[0])
        _check_version(raw, store)
        config = Config(str(raw["repository_id"]), int(raw["chunk_size_bytes"]))
        _check_chunk_size(config.chunk_size_bytes)
    except (ValueError, KeyError, TypeError, RecursionError, UsageError) as error:
        raise RepositoryDamaged(f"The config in {store.url} is not a repository's config: {error!r}.") from error
    return config


def _check_version(raw: Any, store: Store) -> None:  # noqa: ANN401 - whatever JSON the object held
    if raw["format"] != FORMAT_NAME:
        raise ValueError(f"its format is {raw['format']!r}")
    if int(raw["version"]) > FORMAT_VERSION:
        raise RepositoryVersionTooNew(
            f"The repository in {store.url} has format version {raw['version']}; "
            f"this Twinhull reads up to {FORMAT_VERSION}.",
            hint="Use a newer Twinhull.",
        )
    if int(raw["version"]) < 1:
        raise ValueError(f"its version is {raw['version']!r}")
