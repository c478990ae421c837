"""Where file systems may begin on a disk: MBR and GPT partitions, or the whole disk."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

Read = Callable[[int, int], bytes]
"""Bytes of a disk: offset and length in bytes."""

_SECTOR = 512
_MBR_ENTRY = struct.Struct("<B3xB3xII")
_GPT_ENTRY_COUNT_LIMIT = 256
_PROTECTIVE = 0xEE


def starts(read: Read) -> list[int]:
    """The byte offsets of all partitions; the whole disk where there is no partition table."""
    boot = read(0, _SECTOR)
    if boot[510:512] != b"\x55\xaa":
        return [0]
    entries = [_MBR_ENTRY.unpack_from(boot, 446 + 16 * number) for number in range(4)]
    if any(kind == _PROTECTIVE for _, kind, _, _ in entries):
        return list(_gpt(read))
    found = [first * _SECTOR for _, kind, first, count in entries if kind and count]
    return found or [0]


def _gpt(read: Read) -> Iterator[int]:
    header = read(_SECTOR, _SECTOR)
    if header[:8] != b"EFI PART":
        return
    table, count, size = struct.unpack_from("<QII", header, 72)
    for number in range(min(count, _GPT_ENTRY_COUNT_LIMIT)):
        entry = read(table * _SECTOR + number * size, 48)
        if any(entry[:16]):
            yield struct.unpack_from("<Q", entry, 32)[0] * _SECTOR
