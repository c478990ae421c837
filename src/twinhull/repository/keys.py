"""The repository's keys: one random repository key, everything else is derived from it by HKDF-SHA256."""

from __future__ import annotations

import hashlib
import hmac
from functools import lru_cache

from blake3 import blake3
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from twinhull.repository.ids import ChunkId, ChunkKind

KEY_BYTES = 32
_CACHED_CIPHERS = 256


class Keys:
    """Everything that the repository key opens."""

    def __init__(self, repository_key: bytes) -> None:
        if len(repository_key) != KEY_BYTES:
            raise ValueError("a repository key has 32 bytes")
        self.repository_key = repository_key
        self._id_keys = {kind: self.derive(f"id {kind.name.lower()}") for kind in ChunkKind}
        self._config_key = self.derive("config")
        self.cipher = lru_cache(_CACHED_CIPHERS)(self._cipher)

    def derive(self, purpose: str, salt: bytes = b"") -> bytes:
        """The key for one purpose; ``salt`` tells apart the objects of that purpose."""
        info = f"twinhull 1 {purpose}".encode()
        return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt or None, info=info).derive(self.repository_key)

    def chunk_id(self, kind: ChunkKind, content: bytes | memoryview) -> ChunkId:
        """The id of a chunk's plain content."""
        return ChunkId(blake3(content, key=self._id_keys[kind]).digest())

    def config_seal(self, config: bytes) -> str:
        """The HMAC-SHA256 of the config's first line, in hexadecimal."""
        return hmac.new(self._config_key, config, hashlib.sha256).hexdigest()

    def _cipher(self, purpose: str, salt: bytes) -> AESGCM:
        return AESGCM(self.derive(purpose, salt))
