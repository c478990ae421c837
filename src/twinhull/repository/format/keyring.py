"""The repository's keys: a ring of random repository keys, everything else is derived from them by HKDF-SHA256.

New objects are sealed under the newest key of the ring; each object says under which one it is. Chunk ids and the
config stay with the first one for ever: ids that changed would tear all content in two.

Source: RFC 5869 (HKDF), sections 2.2 and 2.3.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Sequence
from functools import lru_cache

from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from twinhull.repository.format.ids import ChunkId, ChunkKind

KEY_BYTES = 32
MAX_KEYS = 0xFFFF
"""As many as an object's header can tell apart."""
TAG_LETTERS = 32
"""The length of the tag of a name, in hexadecimal digits."""
_SIGNATURE_BYTES = 16
"""How much of a signed salt is signature."""
_CACHED_CIPHERS = 256


class Keys:
    """Everything that the repository keys open. Safe for threads."""

    def __init__(self, ring: Sequence[bytes]) -> None:
        """Take the keys in the order in which they were made."""
        if not 1 <= len(ring) <= MAX_KEYS or any(len(key) != KEY_BYTES for key in ring):
            raise ValueError(f"a ring holds 1 to {MAX_KEYS} keys of {KEY_BYTES} bytes each")
        self.ring = tuple(ring)
        self.find_more: Callable[[], None] | None = None
        """Called where a key is asked for that is not in the ring; it may have come by a rotation since."""
        self.on_growth: Callable[[], None] | None = None
        """Called after a rotation has added keys to the ring."""
        self._id_keys = {kind: self.derive(f"id {kind.name.lower()}") for kind in ChunkKind}
        self._config_key = self.derive("config")
        self._name_key = self.derive("names")
        self.cipher = lru_cache(_CACHED_CIPHERS)(self._cipher)

    @property
    def number(self) -> int:
        """Under which key new objects are sealed; keys are counted from 1."""
        return len(self.ring)

    def grow(self, ring: Sequence[bytes]) -> None:
        """Take a later ring of the same repository, and seal new objects under its newest key.

        Raises ValueError where that ring has not come of this one.
        """
        if any(old != new for old, new in zip(self.ring, ring, strict=False)):
            raise ValueError("the ring is not a later one of the same repository")
        if len(ring) > len(self.ring):
            self.ring = tuple(ring)
            if self.on_growth:
                self.on_growth()

    def has(self, number: int) -> bool:
        """Whether the ring has the key of that number, if need be after a look for what rotations have added."""
        if number > self.number and self.find_more:
            self.find_more()
        return 1 <= number <= self.number

    def derive(self, purpose: str, salt: bytes = b"", number: int = 1) -> bytes:
        """The key for one purpose; ``salt`` tells apart the objects of that purpose."""
        info = f"twinhull 1 {purpose}".encode()
        return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt or None, info=info).derive(self.ring[number - 1])

    def chunk_id(self, kind: ChunkKind, content: bytes | memoryview) -> ChunkId:
        """The id of a chunk's plain content."""
        return ChunkId(blake3(content, key=self._id_keys[kind]).digest())

    def config_seal(self, config: bytes) -> str:
        """The HMAC-SHA256 of the config's first line, in hexadecimal."""
        return hmac.new(self._config_key, config, hashlib.sha256).hexdigest()

    def name_tag(self, plain: str) -> str:
        """What only a holder of the keys can add to that name of an object."""
        return hmac.new(self._name_key, b"name " + plain.encode(errors="surrogateescape"), hashlib.sha256).hexdigest()[
            :TAG_LETTERS
        ]

    def signed_salt(self, name: str, seed: bytes, number: int = 1) -> bytes:
        """A salt for the object of that name: the beginning of 32 random bytes, then what proves that we drew it.

        ``number`` says by which key it is proved: the first one, which every holder has, if nothing else is said.
        """
        drawn = seed[:-_SIGNATURE_BYTES]
        return drawn + self._signature(name, drawn, number)

    def is_signed_salt(self, name: str, salt: bytes, number: int = 1) -> bool:
        """Whether a holder of the keys drew that salt for the object of that name; not if the ring lacks the key."""
        if not 1 <= number <= self.number:
            return False
        drawn = salt[:-_SIGNATURE_BYTES]
        return hmac.compare_digest(salt, drawn + self._signature(name, drawn, number))

    def _signature(self, name: str, drawn: bytes, number: int) -> bytes:
        key = self._name_key if number == 1 else self.derive("names", b"", number)
        return hmac.new(key, b"salt " + _encoded(name) + b"\0" + drawn, hashlib.sha256).digest()[:_SIGNATURE_BYTES]

    def _cipher(self, purpose: str, salt: bytes, number: int) -> AESGCM:
        self.has(number)
        return AESGCM(self.derive(purpose, salt, number))


def _encoded(name: str) -> bytes:
    """A name as bytes, also one that a directory holds and that is no UTF-8."""
    return name.encode(errors="surrogateescape")
