"""A second reader of the repository's format, written from docs/repository-format.md alone.

It shares no code with Twinhull, reads a directory store, and is slow and plain on purpose: it reads every pack's footer
and no index at all.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import struct
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import zstandard
from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

FAN_OUT = 64


class IndependentReader:
    def __init__(self, root: Path, passphrase: str) -> None:
        self.root = root
        line, seal = (root / "config" / "config").read_bytes().splitlines()
        self.config: dict[str, Any] = json.loads(line)
        assert self.config["format"] == "twinhull repository"
        assert self.config["version"] == 1
        self.ring = self._unwrap(passphrase)
        assert hmac.new(self.derive("config"), line, hashlib.sha256).hexdigest() == seal.decode()
        self.chunk_size: int = self.config["chunk_size_bytes"]
        self.places: dict[bytes, tuple[Path, str, int, int, int]] = {}
        for pack in root.glob("pack/??/pack-*"):
            self._read_footer(pack)

    def points(self) -> list[dict[str, Any]]:
        removed = {self._plain(path).removeprefix("removal-") for path, _ in self._opened("removal", 5)}
        return [
            json.loads(content)
            for path, content in self._opened("point", 4)
            if self._plain(path).removeprefix("point-") not in removed
        ]

    def _opened(self, kind: str, number: int) -> Iterator[tuple[Path, bytes]]:
        """The objects of a kind that a holder of the keys wrote; whatever else is there counts for nothing."""
        for path in sorted(self.root.glob(f"{kind}/{kind}-*")):
            with suppress(InvalidTag, AssertionError):
                yield path, self._unseal(path, number, kind)

    def _plain(self, path: Path) -> str:
        """What an object is: its name without the tag, if it has the right one."""
        plain, _, tag = path.name.rpartition("-")
        right = hmac.new(self.derive("names"), b"name " + plain.encode(), hashlib.sha256).hexdigest()[:32]
        return plain if tag == right else path.name

    def index_entries(self) -> dict[bytes, tuple[str, int, int, int]]:
        found: dict[bytes, tuple[str, int, int, int]] = {}
        for path in sorted(self.root.glob("index/??/index-*")):
            table = self._unseal(path, 3, "index")
            count, packs, replaced, _ = struct.unpack_from("<IIII", table)
            base = 16 + 40 * packs + 32 * replaced
            for pack_id, pack_kind, key_number, size in struct.iter_unpack("<32sBxHI", table[16 : 16 + 40 * packs]):
                data = (self.root / "pack" / pack_id.hex()[:2] / f"pack-{pack_id.hex()}").read_bytes()
                assert (data[10], self.key_number(data), len(data)) == (pack_kind, key_number, size)
            rows = [struct.unpack_from("<32sIII", table, base + 44 * number) for number in range(count)]
            assert rows == sorted(rows)
            for chunk_id, where, offset, length in rows:
                number, position = where & 0xFFFFFF, where >> 24
                pack_id = table[16 + 40 * number : 48 + 40 * number]
                found[chunk_id] = (f"pack-{pack_id.hex()}", offset, length, position)
        return found

    def disk(self, disk: dict[str, Any]) -> bytes:
        count = -(-disk["size_bytes"] // self.chunk_size)
        level = 0
        while FAN_OUT ** (level + 1) < count:
            level += 1
        content = bytearray(count * self.chunk_size)
        if disk["root"] is not None:
            self._fill(content, bytes.fromhex(disk["root"]), level, 0)
        assert not any(content[disk["size_bytes"] :])
        return bytes(content[: disk["size_bytes"]])

    def _fill(self, content: bytearray, node_id: bytes, level: int, first: int) -> None:
        node = self.chunk(node_id, "node")
        assert node[0] == level
        assert node[1:8] == bytes(7)
        (present,) = struct.unpack_from("<Q", node, 8)
        children = [number for number in range(FAN_OUT) if present >> number & 1]
        assert len(node) == 16 + 32 * len(children) > 16
        for rank, number in enumerate(children):
            child = node[16 + 32 * rank : 48 + 32 * rank]
            at = first + number * FAN_OUT**level
            if level:
                self._fill(content, child, level - 1, at)
            else:
                content[at * self.chunk_size : (at + 1) * self.chunk_size] = self.chunk(child, "data")

    def chunk(self, chunk_id: bytes, kind: str) -> bytes:
        path, found_kind, offset, length, position = self.places[chunk_id]
        assert found_kind == kind
        data = path.read_bytes()
        cipher = AESGCM(self.derive(f"{kind} pack", data[16:48], self.key_number(data)))
        payload = cipher.decrypt(offset.to_bytes(12, "big"), data[offset : offset + length], None)
        content = payload[1:] if payload[0] == 0 else zstandard.decompress(payload[1:])
        assert payload[0] in (0, 1)
        if kind == "data":
            content = content[position * self.chunk_size : (position + 1) * self.chunk_size]
            assert len(content) == self.chunk_size
        assert blake3(content, key=self.derive(f"id {kind}")).digest() == chunk_id
        return content

    def _read_footer(self, path: Path) -> None:
        data = path.read_bytes()
        kind = {1: "data", 2: "node"}[data[10]]
        assert data[:10] + data[11:12] + data[14:16] == b"TWINHULL\x01\x00" + bytes(3)
        assert path.name == f"pack-{data[16:48].hex()}"
        length, end = struct.unpack("<I8s", data[-12:])
        assert end == b"PACK-END"
        cipher = AESGCM(self.derive(f"{kind} pack", data[16:48], self.key_number(data)))
        footer = cipher.decrypt(b"\xff" * 12, data[-12 - length : -12], data[:48] + data[-12:])
        position, last = 0, 0
        for chunk_id, offset, size in struct.iter_unpack("<32sII", footer):
            position = position + 1 if offset == last else 0
            last = offset
            self.places[chunk_id] = (path, kind, offset, size, position)

    def _unseal(self, path: Path, kind: int, purpose: str) -> bytes:
        data = path.read_bytes()
        assert data[:12] + data[14:16] == b"TWINHULL\x01\x00" + bytes([kind]) + bytes(3)
        cipher = AESGCM(self.derive(purpose, data[16:48], self.key_number(data)))
        return cipher.decrypt(bytes(12), data[48:], data[:48] + path.name.encode())

    def key_number(self, data: bytes) -> int:
        (number,) = struct.unpack_from("<H", data, 12)
        assert 1 <= number <= len(self.ring)
        return int(number)

    def _unwrap(self, passphrase: str) -> list[bytes]:
        (path,) = self.root.glob("key/key-*")
        raw = json.loads(path.read_bytes().splitlines()[0])
        stretched = Argon2id(
            salt=bytes.fromhex(raw["salt"]),
            length=32,
            iterations=raw["iterations"],
            lanes=raw["lanes"],
            memory_cost=raw["memory_kib"],
        ).derive(unicodedata.normalize("NFC", passphrase).encode())
        repository_id = str(self.config["repository_id"])
        if "sealed_keys" in raw:
            ring = self._unseal_ring(raw, stretched, path.name, repository_id)
        else:  # of version 1.0
            ring = AESGCM(stretched).decrypt(bytes(12), bytes.fromhex(raw["wrapped_keys"]), repository_id.encode())
        return [ring[at : at + 32] for at in range(0, len(ring), 32)]

    def _unseal_ring(self, raw: dict[str, Any], stretched: bytes, name: str, repository_id: str) -> bytes:
        def derived(purpose: str, salt: bytes) -> bytes:
            return HKDF(SHA256(), 32, salt, f"twinhull 1 {purpose}".encode()).derive(stretched)

        salt = bytes.fromhex(raw["wrap_salt"])
        assert raw["name"] == name
        assert name[12:] == derived("key name", name[4:12].encode())[:4].hex()
        assert bytes.fromhex(raw["salt"]) == hashlib.sha256(f"twinhull 1 salt {repository_id}".encode()).digest()[:16]
        assert bytes.fromhex(raw["commitment"]) == derived("commitment", salt)
        bound = f"{repository_id} {name}".encode()
        return AESGCM(derived("wrap", salt)).decrypt(bytes(12), bytes.fromhex(raw["sealed_keys"]), bound)

    def derive(self, purpose: str, salt: bytes = b"", number: int = 1) -> bytes:
        info = f"twinhull 1 {purpose}".encode()
        return HKDF(algorithm=SHA256(), length=32, salt=salt or bytes(32), info=info).derive(self.ring[number - 1])
