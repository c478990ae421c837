"""One index object: a sorted table from chunk ids to places in packs, searched in a mapped file.

Content of the sealed object::

    entry count u32 | pack count u32 | replaced count u32 | 0 u32
    packs     (40 bytes each): pack id 32 | kind u8 | 0 u8 | key number u16 | size u32
    replaced  (32 bytes each): the salt in the name of an index object that this one makes superfluous
    entries   (44 bytes each), sorted by chunk id:
              chunk id 32 | pack number u24, position in the payload u8 | offset u32 | length u32

A large one is unsealed into a file without a name and mapped, so that it takes address space but no memory of its own.
Small ones are kept as they are: every sync leaves one, and each mapped file takes a file descriptor.
"""

from __future__ import annotations

import mmap
import struct
import tempfile
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import overload

from twinhull.model.units import KIB
from twinhull.repository.errors import RepositoryDamaged
from twinhull.repository.format.ids import CHUNK_ID_BYTES, ChunkId, ChunkKind, PackId
from twinhull.repository.format.packs import Entry, PackInfo

MAX_TABLE_ENTRIES = 1 << 18
"""The most entries in one index object: it is sealed as a whole, and this bounds the memory for that to some 12 MiB."""

MAX_HELD_BYTES = 256 * KIB
"""Up to this size a table is held in memory, and above it in a mapped file."""

_COUNTS = struct.Struct("<IIII")
_PACK = struct.Struct("<32sBxHI")
_ENTRY = struct.Struct("<32sIII")
_NUMBER_BITS = 24
_REPLACED_BYTES = 32
_PREFIX = struct.Struct(">Q")
GUESS_REACH = 4
"""How far around a guess is looked, in times of how wrong it is by chance."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a copy of a chunk is stored."""

    pack: PackInfo
    entry: Entry


PayloadKey = tuple[PackId, int]
"""A payload, by its pack and its offset there."""


def payload_of(place: Place) -> PayloadKey:
    """The payload that holds a copy."""
    return place.pack.pack_id, place.entry.offset_bytes


def order_in_packs(place: Place) -> tuple[PackId, int, int]:
    """The key that sorts copies as they lie: pack by pack, payload by payload."""
    return place.pack.pack_id, place.entry.offset_bytes, place.entry.position


class TableBuilder:
    """The content of an index object, entry by entry: at most MAX_TABLE_ENTRIES, in any order."""

    def __init__(self) -> None:
        self._packs: dict[PackInfo, int] = {}
        self._rows: list[bytes] = []

    @property
    def is_empty(self) -> bool:
        """Whether it has no entry yet."""
        return not self._rows

    @property
    def is_full(self) -> bool:
        """Whether it takes no more."""
        return len(self._rows) == MAX_TABLE_ENTRIES

    def add(self, place: Place) -> None:
        """Take one entry; raises ValueError where it is full."""
        if self.is_full:
            raise ValueError("too many entries for one index object")
        number = self._packs.setdefault(place.pack, len(self._packs))
        entry = place.entry
        where = number | entry.position << _NUMBER_BITS
        self._rows.append(_ENTRY.pack(entry.chunk_id, where, entry.offset_bytes, entry.length_bytes))

    def content(self, replaced: Sequence[bytes] = ()) -> bytes:
        """The table; ``replaced`` are the salts of the index objects that it makes superfluous."""
        self._rows.sort()
        counts = _COUNTS.pack(len(self._rows), len(self._packs), len(replaced), 0)
        packs = (_PACK.pack(pack.pack_id, pack.kind, pack.key_number, pack.size_bytes) for pack in self._packs)
        return b"".join([counts, *packs, *replaced, *self._rows])


def encode_table(places: Iterable[Place], replaced: Sequence[bytes] = ()) -> bytes:
    """The content of an index object; at most MAX_TABLE_ENTRIES places, in any order."""
    builder = TableBuilder()
    for place in places:
        builder.add(place)
    return builder.content(replaced)


class IndexTable:
    """An index object, open for searching. Positions count its entries from 0."""

    def __init__(self, name: str, content: bytes) -> None:
        """Raises RepositoryDamaged where the content is no table."""
        self.name = name
        try:
            count, pack_count, replaced_count, _ = _COUNTS.unpack_from(content)
            packs_end = _COUNTS.size + pack_count * _PACK.size
            base = packs_end + replaced_count * _REPLACED_BYTES
            if len(content) != base + count * _ENTRY.size:
                raise RepositoryDamaged(f"The index '{name}' has a wrong length.")
            self.packs = tuple(
                PackInfo(PackId(pack_id), ChunkKind(kind), size, key_number)
                for pack_id, kind, key_number, size in _PACK.iter_unpack(content[_COUNTS.size : packs_end])
            )
        except (struct.error, ValueError) as error:
            raise RepositoryDamaged(f"The index '{name}' holds no index table: {error}.") from error
        self.replaced = tuple(
            content[start : start + _REPLACED_BYTES] for start in range(packs_end, base, _REPLACED_BYTES)
        )
        self.rows = _Rows(_mapped(content), base, count)

    def __len__(self) -> int:
        return len(self.rows)

    def find(self, chunk_id: ChunkId) -> int | None:
        """The position of the first entry of that id."""
        return self.rows.search(chunk_id)

    def place(self, position: int) -> Place:
        """The entry at a position."""
        chunk_id, where, offset, length = self.rows.row(position)
        number, among = where & ((1 << _NUMBER_BITS) - 1), where >> _NUMBER_BITS
        if number >= len(self.packs):
            raise RepositoryDamaged(f"The index '{self.name}' names a pack that it does not list.")
        return Place(self.packs[number], Entry(ChunkId(chunk_id), offset, length, among))

    def places(self) -> Iterator[Place]:
        """Every entry, in order of ids."""
        return (self.place(position) for position in range(len(self)))


class _Rows(Sequence[bytes]):
    """The sorted ids in the mapped table, as ``bisect`` wants them."""

    def __init__(self, mapped: mmap.mmap | bytes, base: int, count: int) -> None:
        self._mapped = mapped
        self._base = base
        self._size = count
        self._first = self._prefix(0) if count else 0
        self._scale = count / (self._prefix(count - 1) - self._first + 1) if count else 0.0

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(self._size))]
        start = self._base + (index if index >= 0 else index + self._size) * _ENTRY.size
        return self._mapped[start : start + CHUNK_ID_BYTES]

    def row(self, position: int) -> tuple[bytes, int, int, int]:
        return _ENTRY.unpack_from(self._mapped, self._base + position * _ENTRY.size)

    def close(self) -> None:
        if isinstance(self._mapped, mmap.mmap):
            self._mapped.close()

    def search(self, chunk_id: bytes) -> int | None:
        """The position of the first row of that id.

        Ids are evenly spread: a guess, and a second one from what lies there, are off by a few rows only. Those are
        looked through at once; where the guess was wrong, all rows are halved.
        """
        low, high = self._guess(chunk_id)
        if low < high:
            start = self._base + low * _ENTRY.size
            at = self._mapped[start : start + (high - low) * _ENTRY.size].find(chunk_id)
            if at < 0:
                return None
            if at % _ENTRY.size == 0:
                return low + at // _ENTRY.size
        position = bisect_left(self, chunk_id)
        return position if position < self._size and self[position] == chunk_id else None

    def _guess(self, chunk_id: bytes) -> tuple[int, int]:
        """Positions between which all rows of the id are, if there are any; two equal ones where it cannot be said."""
        size = self._size
        if not size:
            return 0, 0
        (wanted,) = _PREFIX.unpack_from(chunk_id)
        first = min(max(int((wanted - self._first) * self._scale), 0), size - 1)
        off = int((wanted - self._prefix(first)) * self._scale)
        reach = GUESS_REACH * isqrt(abs(off)) + GUESS_REACH
        low, high = max(first + off - reach, 0), min(first + off + reach, size)
        is_above = low == 0 or (low < size and self._prefix(low) < wanted)
        is_below = high == size or (high > 0 and self._prefix(high - 1) > wanted)
        return (low, high) if is_above and is_below else (0, 0)

    def _prefix(self, position: int) -> int:
        (prefix,) = _PREFIX.unpack_from(self._mapped, self._base + position * _ENTRY.size)
        return int(prefix)


def _mapped(content: bytes) -> mmap.mmap | bytes:
    if len(content) <= MAX_HELD_BYTES:
        return content
    with tempfile.TemporaryFile(prefix="twinhull-index-") as file:
        file.write(content)
        file.flush()
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
