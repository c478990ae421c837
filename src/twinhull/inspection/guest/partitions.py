"""The partitions of a disk: MBR with its logical ones, GPT, or none at all.

Source: UEFI Specification 2.10, chapter 5 (*Legacy Master Boot Record*, *GUID Partition Table Disk Layout*).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

SECTOR_BYTES = 512
_LARGE_SECTOR_BYTES = 4096
"""Of a disk with logical blocks of 4 KiB (4Kn)."""
LARGEST_TABLE = 128
"""Partitions looked at, at most."""

_EXTENDED = {0x05, 0x0F, 0x85}
_GPT_PROTECTIVE = 0xEE


class Readable(Protocol):
    """A disk, as a parser needs it: reading beyond its end gives less."""

    @property
    def size_bytes(self) -> int:
        """Its size."""
        ...

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        """The bytes of the range; raises OSError where they cannot be had."""
        ...


@dataclass(frozen=True, slots=True)
class Partition:
    """A byte range of the disk that may hold a file system."""

    offset_bytes: int
    length_bytes: int


def partitions(disk: Readable) -> list[Partition]:
    """The disk's partitions in their table's order; the whole disk where it has no table. Nonsense is skipped."""
    first = disk.read(0, SECTOR_BYTES).ljust(SECTOR_BYTES, b"\0")
    if first[510:512] != b"\x55\xaa":
        return [Partition(0, disk.size_bytes)]
    entries = _entries(first)
    found = _gpt(disk) if any(kind == _GPT_PROTECTIVE for kind, _, _ in entries) else _mbr(disk, entries)
    ends = disk.size_bytes
    fitting = [part for part in found if part.length_bytes > 0 and part.offset_bytes + part.length_bytes <= ends]
    fitting = list(dict.fromkeys(fitting))[:LARGEST_TABLE]
    return fitting or [Partition(0, disk.size_bytes)]


def _entries(sector: bytes) -> list[tuple[int, int, int]]:
    """Type, first sector and count of the four entries of one MBR."""
    table = [struct.unpack_from("<B3xB3xII", sector, 446 + 16 * index)[1:] for index in range(4)]
    return [(kind, start, count) for kind, start, count in table]


def _mbr(disk: Readable, entries: list[tuple[int, int, int]]) -> list[Partition]:
    found = []
    for kind, start, count in entries:
        if kind in _EXTENDED:
            found += list(_logical(disk, start))
        elif kind:
            found.append(Partition(start * SECTOR_BYTES, count * SECTOR_BYTES))
    return found


def _logical(disk: Readable, extended: int) -> Iterator[Partition]:
    """The chain of logical partitions; it is followed for a bounded number of links."""
    link = extended
    for _ in range(LARGEST_TABLE):
        if (link + 1) * SECTOR_BYTES > disk.size_bytes:
            return
        sector = disk.read(link * SECTOR_BYTES, SECTOR_BYTES)
        (kind, start, count), (next_kind, next_start, _), *_ = _entries(sector)
        if kind:
            yield Partition((link + start) * SECTOR_BYTES, count * SECTOR_BYTES)
        if not next_kind:
            return
        link = extended + next_start


def _gpt(disk: Readable) -> list[Partition]:
    """The table in sectors of either size; its header is in the second sector."""
    return _gpt_in(disk, SECTOR_BYTES) or _gpt_in(disk, _LARGE_SECTOR_BYTES)


def _gpt_in(disk: Readable, sector_bytes: int) -> list[Partition]:
    header = disk.read(sector_bytes, SECTOR_BYTES)
    if header[:8] != b"EFI PART" or len(header) < SECTOR_BYTES:
        return []
    table, count, size = struct.unpack_from("<QII", header, 72)
    count, size = min(count, LARGEST_TABLE), min(size, 4096)
    if table * sector_bytes + count * size > disk.size_bytes or size < SECTOR_BYTES // 4:
        return []
    raw = disk.read(table * sector_bytes, count * size)
    found = []
    for index in range(count):
        kind, first, last = struct.unpack_from("<16s16xQQ", raw, index * size)
        if any(kind):
            found.append(Partition(first * sector_bytes, (last - first + 1) * sector_bytes))
    return found
