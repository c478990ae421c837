"""The repository's first two kinds of objects: ``config``, and the keys that wrap the repository key.

They are JSON, so that a person with a text editor and the specification can see what a store holds.
"""

from __future__ import annotations

import hmac
import json
import re
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from twinhull.model.errors import AlreadyExists, UsageError
from twinhull.model.ports import Randomness
from twinhull.model.units import KIB, MIB
from twinhull.repository.envelope import FORMAT_VERSION
from twinhull.repository.errors import (
    ObjectExists,
    ObjectMissing,
    RepositoryDamaged,
    RepositoryMissing,
    RepositoryVersionTooNew,
    WrongPassphrase,
)
from twinhull.repository.keys import KEY_BYTES, Keys
from twinhull.repository.store.contract import Store

FORMAT_NAME = "twinhull repository"
CONFIG_NAME = "config"
DEFAULT_CHUNK_SIZE_BYTES = 128 * KIB
MIN_CHUNK_SIZE_BYTES = 4 * KIB
MAX_CHUNK_SIZE_BYTES = 16 * MIB
MAX_ITERATIONS = 64
MAX_LANES = 16
MAX_MEMORY_KIB = 4 * MIB
_MAX_CONFIG_BYTES = 64 * KIB
_NONCE = bytes(12)
RECOVERY_KEY_LETTERS = 30
_RECOVERY_ALPHABET = "ABCDEFGHJKLMNPQRSTUVWXYZ23456789"
"""No letter that is taken for a digit when it is read off paper."""
_RECOVERY_KEY = re.compile(rf"([{_RECOVERY_ALPHABET}]{{5}}-){{5}}[{_RECOVERY_ALPHABET}]{{5}}")


@dataclass(frozen=True, slots=True)
class Config:
    """What holds for the whole repository, for ever."""

    repository_id: str
    chunk_size_bytes: int


@dataclass(frozen=True, slots=True)
class KdfCost:
    """What one guess at a passphrase costs (Argon2id)."""

    iterations: int = 3
    lanes: int = 4
    memory_kib: int = 128 * KIB

    def __post_init__(self) -> None:
        # The bounds keep a forged key object from eating the reader's memory or its day.
        is_possible = 1 <= self.iterations <= MAX_ITERATIONS and 1 <= self.lanes <= MAX_LANES
        if not is_possible or not 8 * self.lanes <= self.memory_kib <= MAX_MEMORY_KIB:
            raise ValueError(f"the cost {self} is out of bounds")


def create_config(
    store: Store, passphrase: str, chunk_size_bytes: int, cost: KdfCost, randomness: Randomness
) -> tuple[Config, Keys]:
    """Make an empty repository: its key first, its config last; raises AlreadyExists."""
    _check_chunk_size(chunk_size_bytes)
    if _exists(store):
        raise AlreadyExists(f"There is a repository in {store.url} already; it was left as it is.")
    config = Config(randomness.uuid(), chunk_size_bytes)
    keys = Keys(randomness.token(KEY_BYTES))
    name = add_passphrase(store, config, keys, passphrase, cost=cost, randomness=randomness)
    line = _config_line(config)
    try:
        store.create(CONFIG_NAME, [_signed(keys, line)])
    except ObjectExists:
        store.delete(name)
        raise AlreadyExists(f"Somebody else has just made a repository in {store.url}.") from None
    for info in list(store.list("key-")):
        if info.name != name:  # of a creation that did not come to its end, and cannot any more
            store.delete(info.name)
    return config, keys


def open_config(store: Store, passphrase: str) -> tuple[Config, Keys]:
    """The config and keys of the repository in a store.

    Raises RepositoryMissing, RepositoryVersionTooNew, WrongPassphrase, RepositoryDamaged.
    """
    config = _read_config(store)
    keys = _unwrap(store, config, passphrase)
    check_signed(store, keys, CONFIG_NAME)
    return config, keys


def add_passphrase(
    store: Store, config: Config, keys: Keys, passphrase: str, *, cost: KdfCost, randomness: Randomness
) -> str:
    """Wrap the repository key by one more passphrase; returns the name of the key's object."""
    if not passphrase:
        raise UsageError("A repository needs a passphrase that is not empty.")
    salt = randomness.token(16)
    wrapping = AESGCM(_stretch(passphrase, salt, cost))
    document = {
        "kind": "passphrase",
        "version": FORMAT_VERSION,
        "repository_id": config.repository_id,
        "kdf": "argon2id",
        "iterations": cost.iterations,
        "lanes": cost.lanes,
        "memory_kib": cost.memory_kib,
        "salt": salt.hex(),
        "wrapped_key": wrapping.encrypt(_NONCE, keys.repository_key, config.repository_id.encode()).hex(),
    }
    name = f"key-{randomness.token(8).hex()}"
    store.create(name, [_signed(keys, json.dumps(document, sort_keys=True).encode())])
    return name


def change_passphrase(
    store: Store, config: Config, keys: Keys, old: str, new: str, *, cost: KdfCost, randomness: Randomness
) -> str:
    """Replace the key that ``old`` opens by one that ``new`` opens; the new one is there before the old one goes.

    Whoever has read the old key's object and knows the old passphrase keeps the repository key all the same.
    """
    replaced = [info.name for info in store.list("key-") if _opens(store, config, info.name, old)]
    if not replaced:
        raise _wrong_passphrase(store, [])
    name = add_passphrase(store, config, keys, new, cost=cost, randomness=randomness)
    for each in replaced:
        store.delete(each)
    return name


def new_recovery_key(randomness: Randomness) -> str:
    """A passphrase that nobody has to think up, for printing: 30 letters and digits in groups, 150 random bits."""
    number = int.from_bytes(randomness.token(32), "big")
    letters = []
    for _ in range(RECOVERY_KEY_LETTERS):
        number, rest = divmod(number, len(_RECOVERY_ALPHABET))
        letters.append(_RECOVERY_ALPHABET[rest])
    return "-".join("".join(letters[at : at + 5]) for at in range(0, RECOVERY_KEY_LETTERS, 5))


def check_signed(store: Store, keys: Keys, name: str) -> None:
    """Whether the config, or the object of a key, is what was written; raises RepositoryDamaged, ObjectMissing."""
    data = store.read_range(name, 0, _MAX_CONFIG_BYTES)
    line = data.partition(b"\n")[0]
    if not hmac.compare_digest(_signed(keys, line), data):
        raise RepositoryDamaged(f"The object '{name}' in {store.url} is not what was written.")


def _signed(keys: Keys, line: bytes) -> bytes:
    return line + b"\n" + keys.config_seal(line).encode() + b"\n"


def _exists(store: Store) -> bool:
    try:
        store.size(CONFIG_NAME)
    except ObjectMissing:
        return False
    return True


def _check_chunk_size(chunk_size_bytes: int) -> None:
    is_power = chunk_size_bytes & (chunk_size_bytes - 1) == 0
    if not is_power or not MIN_CHUNK_SIZE_BYTES <= chunk_size_bytes <= MAX_CHUNK_SIZE_BYTES:
        raise UsageError(
            f"A chunk size of {chunk_size_bytes} bytes is not possible.",
            hint="Take a power of two from 4 KiB to 16 MiB.",
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
        data = store.read_range(CONFIG_NAME, 0, _MAX_CONFIG_BYTES)
    except ObjectMissing:
        raise RepositoryMissing(
            f"There is no repository in {store.url}.", hint="Check the address, or create one there."
        ) from None
    try:
        raw = json.loads(data.partition(b"\n")[0])
        _check_version(raw, store)
        config = Config(str(raw["repository_id"]), int(raw["chunk_size_bytes"]))
        _check_chunk_size(config.chunk_size_bytes)
    except (ValueError, KeyError, TypeError, RecursionError, UsageError) as error:
        raise RepositoryDamaged(f"The config in {store.url} is not one of a repository: {error!r}.") from error
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


def _unwrap(store: Store, config: Config, passphrase: str) -> Keys:
    """The keys, from the first key object that this passphrase opens."""
    problems: list[str] = []
    for info in store.list("key-"):
        try:
            found = _unwrapped(store, config, info.name, passphrase)
        except (ValueError, KeyError, TypeError, RecursionError, ObjectMissing) as error:
            problems.append(f"'{info.name}' is damaged ({error!r})")
            continue
        if found:
            return found
    raise _wrong_passphrase(store, problems)


def _unwrapped(store: Store, config: Config, name: str, passphrase: str) -> Keys | None:
    raw = json.loads(store.read_range(name, 0, _MAX_CONFIG_BYTES).partition(b"\n")[0])
    cost = KdfCost(int(raw["iterations"]), int(raw["lanes"]), int(raw["memory_kib"]))
    cipher = AESGCM(_stretch(passphrase, bytes.fromhex(raw["salt"]), cost))
    try:
        return Keys(cipher.decrypt(_NONCE, bytes.fromhex(raw["wrapped_key"]), config.repository_id.encode()))
    except InvalidTag:
        return None


def _opens(store: Store, config: Config, name: str, passphrase: str) -> bool:
    try:
        return _unwrapped(store, config, name, passphrase) is not None
    except (ValueError, KeyError, TypeError, RecursionError, ObjectMissing):
        return False


def _wrong_passphrase(store: Store, problems: list[str]) -> WrongPassphrase:
    told = f" And {', '.join(problems)}." if problems else ""
    return WrongPassphrase(
        f"No key of the repository in {store.url} opens with this passphrase.{told}",
        hint="Check the passphrase; each repository has its own.",
    )


def _stretch(passphrase: str, salt: bytes, cost: KdfCost) -> bytes:
    text = passphrase.strip().upper()
    if _RECOVERY_KEY.fullmatch(text):
        passphrase = text  # read off paper: neither case nor a space at the end makes a difference
    return Argon2id(
        salt=salt, length=KEY_BYTES, iterations=cost.iterations, lanes=cost.lanes, memory_cost=cost.memory_kib
    ).derive(passphrase.encode())
