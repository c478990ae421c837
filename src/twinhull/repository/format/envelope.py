"""The envelope of every sealed object: a plain header, then authenticated ciphertext.

The header names the format's version and the object's kind, and carries which repository key and which 32 random
bytes the object's own key is derived from. A key seals one object, so that no nonce can meet the same key twice.

Sources: NIST SP 800-38D (AES-GCM), RFC 5869 (HKDF).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from cryptography.exceptions import InvalidTag

from twinhull.repository.errors import RepositoryDamaged, RepositoryVersionTooNew
from twinhull.repository.format.keyring import Keys

MAGIC = b"TWINHULL"
FORMAT_VERSION = 1
HEADER = struct.Struct("<8sHBxH2x32s")
TAG_BYTES = 16
SALT_BYTES = 32
_NONCE = bytes(12)


class ObjectKind(IntEnum):
    """What an object is; also the purpose that its key is derived for."""

    DATA_PACK = 1
    NODE_PACK = 2
    INDEX = 3
    POINT = 4
    REMOVAL = 5
    HOLD = 6
    COLLECTION = 7
    VERIFICATION = 8
    ROTATION = 9

    @property
    def purpose(self) -> str:
        """As ``Keys.derive`` wants it."""
        return self.name.lower().replace("_", " ")


@dataclass(frozen=True, slots=True)
class Header:
    """The 48 bytes at the beginning of an object: under which key it is sealed, and the salt of its own key."""

    kind: ObjectKind
    salt: bytes
    key_number: int

    def __bytes__(self) -> bytes:
        return HEADER.pack(MAGIC, FORMAT_VERSION, self.kind, self.key_number, self.salt)


def parse_header(keys: Keys, data: bytes, kind: ObjectKind, name: str) -> Header:
    """An object's header; raises RepositoryDamaged, RepositoryVersionTooNew."""
    if len(data) < HEADER.size:
        raise RepositoryDamaged(f"The object '{name}' is truncated to {len(data)} bytes.")
    magic, version, found, key_number, salt = HEADER.unpack_from(data)
    if magic != MAGIC:
        raise RepositoryDamaged(f"The object '{name}' does not start like a repository's object.")
    if version > FORMAT_VERSION:
        raise RepositoryVersionTooNew(
            f"The object '{name}' has format version {version}; this Twinhull reads up to {FORMAT_VERSION}.",
            hint="Use a newer Twinhull.",
        )
    head = Header(kind, bytes(salt), key_number)
    if version != FORMAT_VERSION or found != kind or data[: HEADER.size] != bytes(head):
        raise RepositoryDamaged(f"The object '{name}' has a header that does not match its name.")
    if not keys.has(key_number):
        raise RepositoryDamaged(
            f"The object '{name}' is sealed with key {key_number}, but only {keys.number} keys are known here.",
            hint="If the keys were rotated, open the repository with the current passphrase.",
        )
    return head


def salt_in(data: bytes) -> bytes:
    """The salt in an object's header, whoever wrote it."""
    return bytes(data[HEADER.size - SALT_BYTES : HEADER.size])


def seal(keys: Keys, kind: ObjectKind, name: str, salt: bytes, content: bytes) -> bytes:
    """An object of ``content``; ``salt`` are 32 random bytes, fresh for each object."""
    number = keys.number
    head = bytes(Header(kind, salt, number))
    return head + keys.cipher(kind.purpose, salt, number).encrypt(_NONCE, content, head + name.encode())


def unseal(keys: Keys, kind: ObjectKind, name: str, data: bytes) -> bytes:
    """The content of an object, if it is what was sealed under this name; raises RepositoryDamaged."""
    head = parse_header(keys, data, kind, name)
    cipher = keys.cipher(kind.purpose, head.salt, head.key_number)
    try:
        return cipher.decrypt(_NONCE, data[HEADER.size :], bytes(head) + name.encode())
    except (InvalidTag, ValueError):
        raise RepositoryDamaged(
            f"The object '{name}' is damaged: it is not what was written under that name."
        ) from None
