"""Packs: many sealed chunks in one object, and a sealed footer that lists them.

::

    header 48 | payload, payload, … | footer (sealed entries) | footer length u32 | "PACK-END"

A payload holds a tree node, or data chunks that were written together, one behind the other: they are compressed as
one. It is one byte of encoding (0 plain, 1 zstd), then the content, sealed by the pack's key with the payload's offset
in the pack as nonce: offsets in a pack differ and a pack's key seals one pack, so no nonce is used twice.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from threading import Condition

from cryptography.exceptions import InvalidTag

from twinhull.model.units import MIB
from twinhull.repository.errors import RepositoryDamaged
from twinhull.repository.format import compression
from twinhull.repository.format.envelope import HEADER, TAG_BYTES, Header, ObjectKind, parse_header
from twinhull.repository.format.ids import PACK_ID_BYTES, ChunkId, ChunkKind, PackId
from twinhull.repository.format.keyring import Keys
from twinhull.repository.format.tree import MAX_NODE_BYTES
from twinhull.repository.store.contract import Store

TARGET_PACK_BYTES = 16 * MIB
"""A pack is closed when its payloads have reached this; it is larger by at most one payload and the footer."""

MAX_PACK_CHUNKS = 1 << 14
"""A pack is closed at about so many chunks, too: they may be packed to a few bytes, and their list is read whole."""
MAX_PAYLOAD_CHUNKS = 256
"""So many chunks may share a payload: a chunk's position in it takes a byte of the index."""
PAYLOAD_CONTENT_BYTES = MIB
"""The content of a payload with more than one chunk: what a reader of one chunk has to fetch (docs/adr/0012)."""
MAX_FOOTER_BYTES = 4 * MIB
"""The most that is read of a pack before it is known to be one: five times the longest list of chunks."""
_OVERHEAD_BYTES = 1 + TAG_BYTES
"""A payload is never longer than its content and this: what does not compress is kept plain."""
_ENTRY = struct.Struct("<32sII")
_TRAILER = struct.Struct("<I8s")
_END = b"PACK-END"
_NAME = re.compile(rf"pack-[0-9a-f]{{{2 * PACK_ID_BYTES}}}", re.ASCII)
_KIND_AT = 10
"""Where the header has the object's kind."""
_FOOTER_NONCE = b"\xff" * 12


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a chunk is in its pack: a byte range of sealed payload, and which of the payload's chunks it is, from 0."""

    chunk_id: ChunkId
    offset_bytes: int
    length_bytes: int
    position: int = 0


@dataclass(frozen=True, slots=True)
class PackInfo:
    """A pack by name, what kind of chunks it holds, its size as an object, and the key that it is sealed under."""

    pack_id: PackId
    kind: ChunkKind
    size_bytes: int
    key_number: int

    @property
    def name(self) -> str:
        """The object's name."""
        return pack_name(self.pack_id)


@dataclass(frozen=True, slots=True)
class SealedPack:
    """A pack that is ready to be stored."""

    info: PackInfo
    parts: Sequence[bytes]
    entries: Sequence[Entry]


def pack_name(pack_id: PackId) -> str:
    """The name of a pack's object."""
    return f"pack-{pack_id.hex()}"


def pack_id_in(name: str) -> PackId | None:
    """The id in the name of a pack's object, None where the name is none of a pack."""
    return PackId(bytes.fromhex(name.removeprefix("pack-"))) if _NAME.fullmatch(name) else None


def object_kind(kind: ChunkKind) -> ObjectKind:
    """What kind of pack holds this kind of chunk."""
    return ObjectKind.DATA_PACK if kind is ChunkKind.DATA else ObjectKind.NODE_PACK


class PackBuilder:
    """A pack that is being filled. One thread at a time reserves places; what has one may be sealed by any thread."""

    def __init__(self, keys: Keys, kind: ChunkKind, pack_id: PackId) -> None:
        self._kind = kind
        self._pack_id = pack_id
        self._key_number = keys.number
        self._cipher = keys.cipher(object_kind(kind).purpose, pack_id, self._key_number)
        self._parts = [bytes(Header(object_kind(kind), pack_id, self._key_number))]
        self._offsets: list[int] = []
        self._entries: list[Entry] = []
        self._end = HEADER.size
        self._unsealed = 0
        self._changed = Condition()

    @property
    def is_full(self) -> bool:
        """Whether it is to be closed."""
        return self._end - HEADER.size >= TARGET_PACK_BYTES or len(self._entries) >= MAX_PACK_CHUNKS

    def reserve(self, chunk_ids: Sequence[ChunkId], payload_bytes: int) -> int:
        """A place behind the last one, by its number, for a payload of these chunks; it must be sealed."""
        length = payload_bytes + TAG_BYTES
        self._entries += [Entry(found, self._end, length, position) for position, found in enumerate(chunk_ids)]
        self._offsets.append(self._end)
        self._parts.append(b"")
        self._end += length
        with self._changed:
            self._unsealed += 1
        return len(self._offsets) - 1

    def seal(self, number: int, payload: bytes) -> None:
        """Put the payload into its place; one that cannot be sealed is found out by who checks the pack."""
        try:
            self._parts[number + 1] = self._cipher.encrypt(_nonce(self._offsets[number]), payload, None)
        finally:
            with self._changed:
                self._unsealed -= 1
                self._changed.notify_all()

    def finish(self) -> SealedPack:
        """The pack, once every place is sealed; waits for those that are not. Nothing may be reserved any more."""
        with self._changed:
            self._changed.wait_for(lambda: not self._unsealed)
        table = b"".join(_ENTRY.pack(entry.chunk_id, entry.offset_bytes, entry.length_bytes) for entry in self._entries)
        trailer = _TRAILER.pack(len(table) + TAG_BYTES, _END)
        footer = self._cipher.encrypt(_FOOTER_NONCE, table, self._parts[0] + trailer)
        size = self._end + len(footer) + len(trailer)
        info = PackInfo(self._pack_id, self._kind, size, self._key_number)
        return SealedPack(info, [*self._parts, footer, trailer], self._entries)


def payload_chunks(chunk_size_bytes: int) -> int:
    """How many data chunks are put into one payload at most."""
    return min(max(PAYLOAD_CONTENT_BYTES // chunk_size_bytes, 1), MAX_PAYLOAD_CHUNKS)


def max_payload_bytes(kind: ChunkKind, chunk_size_bytes: int) -> int:
    """The longest sealed payload in a pack of that kind."""
    return _max_content_bytes(kind, chunk_size_bytes) + _OVERHEAD_BYTES


def by_payload(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """The entries of one pack, in order of offsets, together where they share a payload."""
    return (list(shared) for _, shared in groupby(entries, key=lambda entry: entry.offset_bytes))


def open_payload(keys: Keys, pack: PackInfo, entry: Entry, sealed: bytes, chunk_size_bytes: int) -> bytes:
    """The content of a sealed payload, that of one chunk or of several; raises RepositoryDamaged, naming the entry."""
    try:
        cipher = keys.cipher(object_kind(pack.kind).purpose, pack.pack_id, pack.key_number)
        payload = cipher.decrypt(_nonce(entry.offset_bytes), sealed, None)
        return compression.decode(payload, _max_content_bytes(pack.kind, chunk_size_bytes))
    except (InvalidTag, ValueError, IndexError):  # the last one: of a key that is not known here
        raise _damaged_chunk(pack, entry) from None


def chunk_in(keys: Keys, pack: PackInfo, entry: Entry, content: bytes, chunk_size_bytes: int) -> memoryview:
    """A chunk in a payload's content, checked against its id; raises RepositoryDamaged."""
    found = memoryview(content)
    if pack.kind is ChunkKind.DATA:
        start = entry.position * chunk_size_bytes
        found = found[start : start + chunk_size_bytes]
    is_short = pack.kind is ChunkKind.DATA and len(found) != chunk_size_bytes
    if is_short or keys.chunk_id(pack.kind, found) != entry.chunk_id:
        raise _damaged_chunk(pack, entry)
    return found


def _max_content_bytes(kind: ChunkKind, chunk_size_bytes: int) -> int:
    return MAX_NODE_BYTES if kind is ChunkKind.NODE else payload_chunks(chunk_size_bytes) * chunk_size_bytes


def read_footer(keys: Keys, store: Store, pack_id: PackId) -> tuple[PackInfo, list[Entry]]:
    """What a pack says it holds; raises RepositoryDamaged, ObjectMissing."""
    name = pack_name(pack_id)
    size = store.size(name)
    head = store.read_range(name, 0, HEADER.size)
    kind, number = _kind_of(keys, head, pack_id, name)
    tail_offset = size - _TRAILER.size
    if tail_offset < HEADER.size:
        raise RepositoryDamaged(f"The pack '{name}' is truncated.")
    trailer = store.read_range(name, tail_offset, _TRAILER.size)
    footer_bytes, end = _TRAILER.unpack(trailer)
    footer_offset = tail_offset - footer_bytes
    if end != _END or footer_offset < HEADER.size or footer_bytes > MAX_FOOTER_BYTES:
        raise RepositoryDamaged(f"The pack '{name}' has no pack footer.")
    sealed = store.read_range(name, footer_offset, footer_bytes)
    cipher = keys.cipher(object_kind(kind).purpose, pack_id, number)
    try:
        table = cipher.decrypt(_FOOTER_NONCE, sealed, head + trailer)
    except (InvalidTag, ValueError):
        raise RepositoryDamaged(f"The footer of the pack '{name}' is damaged.") from None
    entries = list(_entries(table))
    if not _fits(entries, footer_offset):
        raise RepositoryDamaged(f"The footer of the pack '{name}' does not match its payloads.")
    return PackInfo(pack_id, kind, size, number), entries


def _kind_of(keys: Keys, head: bytes, pack_id: PackId, name: str) -> tuple[ChunkKind, int]:
    """What a pack holds, and the number of the key that it is sealed under."""
    is_nodes = head[_KIND_AT : _KIND_AT + 1] == bytes([ObjectKind.NODE_PACK])
    kind = ChunkKind.NODE if is_nodes else ChunkKind.DATA
    parsed = parse_header(keys, head, object_kind(kind), name)
    if parsed.salt != pack_id:
        raise RepositoryDamaged(f"The pack '{name}' carries another pack's name inside.")
    return kind, parsed.key_number


def _entries(table: bytes) -> Iterator[Entry]:
    if len(table) % _ENTRY.size:
        return
    last = Entry(ChunkId(b""), 0, 0)
    for chunk_id, offset, length in _ENTRY.iter_unpack(table):
        is_shared = (offset, length) == (last.offset_bytes, last.length_bytes)
        last = Entry(ChunkId(chunk_id), offset, length, last.position + 1 if is_shared else 0)
        yield last


def _fits(entries: Sequence[Entry], footer_offset: int) -> bool:
    """Whether the payloads follow one another from the header to the footer without a gap."""
    end = HEADER.size
    for entry in entries:
        if entry.position:
            is_next = entry.position < MAX_PAYLOAD_CHUNKS
        else:
            is_next = entry.offset_bytes == end and entry.length_bytes > TAG_BYTES
            end += entry.length_bytes
        if not is_next:
            return False
    return bool(entries) and end == footer_offset


def _nonce(offset_bytes: int) -> bytes:
    return offset_bytes.to_bytes(12, "big")


def _damaged_chunk(pack: PackInfo, entry: Entry) -> RepositoryDamaged:
    return RepositoryDamaged(
        f"The chunk {entry.chunk_id.hex()[:16]}… at {entry.offset_bytes} in the pack '{pack.name}' is damaged."
    )
