"""The content of an object ``key-…``: the ring of repository keys, wrapped by a passphrase. JSON, for a person's eyes.

Since format 1.1 all such objects of a repository share the salt of the passphrase. So one stretching of the passphrase
serves all of them, however many an attacker adds, and the name of each shows whether the passphrase may open it.

Sources: RFC 9106 (Argon2id), NIST SP 800-38D (AES-GCM).
"""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from twinhull.model.ports import Randomness
from twinhull.repository.format.envelope import FORMAT_VERSION
from twinhull.repository.format.keyring import KEY_BYTES, Keys
from twinhull.repository.keys.passphrases import KdfCost

PREFIX = "key-"
_NONCE = bytes(12)
_NAME_BYTES = 4
"""A name has that many random bytes, and as many that the passphrase adds."""


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A wrapped ring, parsed. ``wrap_salt`` and ``commitment`` are None in objects of format 1.0."""

    name: str
    cost: KdfCost
    salt: bytes
    wrapped_keys: bytes
    wrap_salt: bytes | None
    commitment: bytes


def shared_salt(repository_id: str) -> bytes:
    """The salt by which all passphrases of a repository are stretched."""
    return hashlib.sha256(b"twinhull 1 salt " + repository_id.encode()).digest()[:16]


def parse(name: str, line: bytes) -> Wrapped:
    """What an object says; raises ValueError, KeyError, TypeError, RecursionError for one that holds no key."""
    raw = json.loads(line)
    cost = KdfCost(int(raw["iterations"]), int(raw["lanes"]), int(raw["memory_kib"]))
    salt = bytes.fromhex(raw["salt"])
    if "sealed_keys" not in raw:
        return Wrapped(name, cost, salt, bytes.fromhex(raw["wrapped_keys"]), None, b"")
    if raw["name"] != name:
        raise ValueError(f"it is a copy of {str(raw['name'])[:40]!r}")
    wrap_salt, commitment = bytes.fromhex(raw["wrap_salt"]), bytes.fromhex(raw["commitment"])
    return Wrapped(name, cost, salt, bytes.fromhex(raw["sealed_keys"]), wrap_salt, commitment)


def wrap(keys: Keys, stretched: bytes, cost: KdfCost, repository_id: str, randomness: Randomness) -> tuple[str, bytes]:
    """The name of a new object, and its line of JSON."""
    drawn = randomness.token(_NAME_BYTES).hex()
    name = f"{PREFIX}{drawn}{_name_end(stretched, drawn)}"
    wrap_salt = randomness.token(KEY_BYTES)
    document = {
        "kind": "passphrase",
        "version": FORMAT_VERSION,
        "repository_id": repository_id,
        "name": name,
        "kdf": "argon2id",
        "iterations": cost.iterations,
        "lanes": cost.lanes,
        "memory_kib": cost.memory_kib,
        "salt": shared_salt(repository_id).hex(),
        "wrap_salt": wrap_salt.hex(),
        "commitment": _derived(stretched, wrap_salt, "commitment").hex(),
        "sealed_keys": AESGCM(_derived(stretched, wrap_salt, "wrap"))
        .encrypt(_NONCE, b"".join(keys.ring), _bound_to(repository_id, name))
        .hex(),
    }
    return name, json.dumps(document, sort_keys=True).encode()


def may_open(stretched: bytes, name: str) -> bool:
    """Whether the name is one that this passphrase gives; of other names one in 2^32 is, too."""
    text = name.removeprefix(PREFIX)
    drawn, end = text[: 2 * _NAME_BYTES], text[2 * _NAME_BYTES :]
    return end.isascii() and hmac.compare_digest(end, _name_end(stretched, drawn))


def unwrap(wrapped: Wrapped, stretched: bytes, repository_id: str) -> Keys | None:
    """The ring, None if the passphrase does not open it; raises ValueError if it holds none."""
    bound = repository_id.encode()
    key = stretched
    if wrapped.wrap_salt is not None:
        if not hmac.compare_digest(wrapped.commitment, _derived(stretched, wrapped.wrap_salt, "commitment")):
            return None
        key, bound = _derived(stretched, wrapped.wrap_salt, "wrap"), _bound_to(repository_id, wrapped.name)
    try:
        ring = AESGCM(key).decrypt(_NONCE, wrapped.wrapped_keys, bound)
    except InvalidTag:
        return None
    return Keys([ring[start : start + KEY_BYTES] for start in range(0, len(ring), KEY_BYTES)])


def _bound_to(repository_id: str, name: str) -> bytes:
    return f"{repository_id} {name}".encode()


def _name_end(stretched: bytes, drawn: str) -> str:
    return _derived(stretched, drawn.encode(errors="surrogateescape"), "key name")[:_NAME_BYTES].hex()


def _derived(stretched: bytes, salt: bytes, purpose: str) -> bytes:
    info = b"twinhull 1 " + purpose.encode()
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=info).derive(stretched)
