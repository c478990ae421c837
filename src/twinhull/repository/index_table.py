"""One index object: a sorted table from chunk ids to places in packs, searched in a mapped file.

Content of the sealed object::

    entry count u32 | pack count u32 | replaced count u32 | 0 u32
    packs     (40 bytes each): pack id 32 | kind u8 | 0 u8 | key number u16 | size u32
    replaced  (32 bytes each): the salt in the name of an index object that this one makes superfluous
    entries   (44 bytes each), sorted by chunk id: chunk id 32 | pack number u32 | offset u32 | length u32

It is unsealed into a file without a name and mapped, so that it takes address space but no memory of its own.
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

from twinhull.repository.errors import RepositoryDamaged
from twinhull.repository.ids import CHUNK_ID_BYTES, ChunkId, ChunkKind, PackId
from twinhull.repository.packs import Entry, PackInfo

MAX_TABLE_ENTRIES = 1 << 18
"""The most entries in one index object: it is sealed as a whole, and this bounds the memory for that to some 12 MiB."""

_COUNTS = struct.Struct("<IIII")
_PACK = struct.Struct("<32sBxHI")
_ENTRY = struct.Struct("<32sIII")
_REPLACED_BYTES = 32


@dataclass(frozen=True, slots=True)
class Place:
    """Where a copy of a chunk is stored."""

    pack: PackInfo
    entry: Entry


def encode_table(places: Iterable[Place], replaced: Sequence[bytes] = ()) -> bytes:
    """The content of an index object; at most MAX_TABLE_ENTRIES places, in any order."""
    packs: dict[PackInfo, int] = {}
    rows = []
    for place in places:
        number = packs.setdefault(place.pack, len(packs))
        entry = place.entry
        rows.append(_ENTRY.pack(entry.chunk_id, number, entry.offset_bytes, entry.length_bytes))
    if len(rows) > MAX_TABLE_ENTRIES:
        raise ValueError("too many entries for one index object")
    rows.sort()
    counts = _COUNTS.pack(len(rows), len(packs), len(replaced), 0)
    table = (_PACK.pack(pack.pack_id, pack.kind, pack.key_number, pack.size_bytes) for pack in packs)
    return b"".join([counts, *table, *replaced, *rows])


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
                raise RepositoryDamaged(f"The index '{name}' has another length than it says.")
            self.packs = tuple(
                PackInfo(PackId(pack_id), ChunkKind(kind), size, key_number)
                for pack_id, kind, key_number, size in _PACK.iter_unpack(content[_COUNTS.size : packs_end])
            )
        except (struct.error, ValueError) as error:
            raise RepositoryDamaged(f"The index '{name}' holds no table: {error}.") from error
        self.replaced = tuple(
            content[start : start + _REPLACED_BYTES] for start in range(packs_end, base, _REPLACED_BYTES)
        )
        self.rows = _Rows(_mapped(content), base, count)

    def __len__(self) -> int:
        return len(self.rows)

    def find(self, chunk_id: ChunkId) -> int | None:
        """The position of the first entry of that id."""
        low, high = self.rows.bracket(chunk_id)
        position = bisect_left(self.rows, chunk_id, low, high)
        return position if position < len(self) and self.rows[position] == chunk_id else None

    def place(self, position: int) -> Place:
        """The entry at a position."""
        chunk_id, number, offset, length = self.rows.row(position)
        if number >= len(self.packs):
            raise RepositoryDamaged(f"The index '{self.name}' names a pack that it does not list.")
        return Place(self.packs[number], Entry(ChunkId(chunk_id), offset, length))

    def places(self) -> Iterator[Place]:
        """Every entry, in order of ids."""
        return (self.place(position) for position in range(len(self)))


class _Rows(Sequence[bytes]):
    """The sorted ids in the mapped table, as ``bisect`` wants them."""

    def __init__(self, mapped: mmap.mmap, base: int, count: int) -> None:
        self._mapped = mapped
        self._base = base
        self._size = count
        self._spread = 8 * isqrt(count) + 8
        self._first = int.from_bytes(self[0][:8], "big") if count else 0
        self._span = (int.from_bytes(self[count - 1][:8], "big") - self._first + 1) if count else 1

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...
    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(self._size))]
        start = self._base + index * _ENTRY.size
        return self._mapped[start : start + CHUNK_ID_BYTES]

    def row(self, position: int) -> tuple[bytes, int, int, int]:
        return _ENTRY.unpack_from(self._mapped, self._base + position * _ENTRY.size)

    def close(self) -> None:
        self._mapped.close()

    def bracket(self, chunk_id: bytes) -> tuple[int, int]:
        """Positions between which the id must be: ids are evenly spread, so a guess is nearly always right."""
        guess = (int.from_bytes(chunk_id[:8], "big") - self._first) * self._size // self._span
        low, high = max(0, guess - self._spread), min(self._size, guess + self._spread)
        if low >= high:
            return 0, self._size
        if low > 0 and self[low] >= chunk_id:
            low = 0
        if high < self._size and self[high - 1] < chunk_id:
            high = self._size
        return low, high


def _mapped(content: bytes) -> mmap.mmap:
    with tempfile.TemporaryFile(prefix="twinhull-index-") as file:
        file.write(content)
        file.flush()
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
