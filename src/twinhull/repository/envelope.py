"""The envelope of every sealed object: a plain header, then authenticated ciphertext.

The header names the format's version and the object's kind, and carries the 32 random bytes from which the object's own
key is derived. A key seals one object, so that no nonce can meet the same key twice.
"""

from __future__ import annotations

import struct
from enum import IntEnum

from cryptography.exceptions import InvalidTag

from twinhull.repository.errors import RepositoryDamaged, RepositoryVersionTooNew
from twinhull.repository.keys import Keys

MAGIC = b"TWINHULL"
FORMAT_VERSION = 1
HEADER = struct.Struct("<8sHB5x32s")
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

    @property
    def purpose(self) -> str:
        """As ``Keys.derive`` wants it."""
        return self.name.lower().replace("_", " ")


def header(kind: ObjectKind, salt: bytes) -> bytes:
    """The 48 bytes at the beginning of an object."""
    return HEADER.pack(MAGIC, FORMAT_VERSION, kind, salt)


def parse_header(data: bytes, kind: ObjectKind, name: str) -> bytes:
    """The salt in an object's header; raises RepositoryDamaged, RepositoryVersionTooNew."""
    if len(data) < HEADER.size:
        raise RepositoryDamaged(f"The object '{name}' is cut short: {len(data)} bytes are left of it.")
    magic, version, found, salt = HEADER.unpack_from(data)
    if magic != MAGIC:
        raise RepositoryDamaged(f"The object '{name}' does not begin as an object of a repository does.")
    if version > FORMAT_VERSION:
        raise RepositoryVersionTooNew(
            f"The object '{name}' has format version {version}; this Twinhull reads up to {FORMAT_VERSION}.",
            hint="Use a newer Twinhull.",
        )
    if version != FORMAT_VERSION or found != kind or data[: HEADER.size] != header(kind, salt):
        raise RepositoryDamaged(f"The object '{name}' has a header that does not fit its name.")
    return bytes(salt)


def seal(keys: Keys, kind: ObjectKind, name: str, salt: bytes, content: bytes) -> bytes:
    """An object of ``content``; ``salt`` are 32 random bytes, fresh for each object."""
    head = header(kind, salt)
    return head + keys.cipher(kind.purpose, salt).encrypt(_NONCE, content, head + name.encode())


def unseal(keys: Keys, kind: ObjectKind, name: str, data: bytes) -> bytes:
    """The content of an object, if it is what was sealed under this name; raises RepositoryDamaged."""
    salt = parse_header(data, kind, name)
    head = data[: HEADER.size]
    try:
        return keys.cipher(kind.purpose, salt).decrypt(_NONCE, data[HEADER.size :], head + name.encode())
    except (InvalidTag, ValueError):
        raise RepositoryDamaged(f"The object '{name}' is not what was written under that name.") from None
