"""Files of an ext2, ext3 or ext4 file system on any disk, read without mounting it (libfsext)."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from typing import Any

import pyfsext

from twinhull.blocks.disk import Disk
from twinhull.platforms.inspection.partitions import Partition

LARGEST_FILE_BYTES = 256 * 2**20
LARGEST_FOLDER = 4096
"""Entries of a folder that are looked at."""

_SUPERBLOCK = 1024
_MAGIC = b"\x53\xef"
_LINKS = 8
"""Symbolic links followed in one path, at most."""


class _Window(io.RawIOBase):
    """A partition as a Python file, for libfsext."""

    def __init__(self, disk: Disk, partition: Partition) -> None:
        super().__init__()
        self._disk = disk
        self._partition = partition
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._partition.length_bytes}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def get_size(self) -> int:
        return self._partition.length_bytes

    def read(self, size: int = -1) -> bytes:
        left = max(self._partition.length_bytes - self._position, 0)
        length = left if size < 0 else min(size, left)
        data = self._disk.read(self._partition.offset_bytes + self._position, length) if length else b""
        self._position += length
        return data


class ExtFiles:
    """An open ext file system. What is not there, or cannot be read, is None or empty: a look must not fail on it."""

    def __init__(self, disk: Disk, partition: Partition) -> None:
        superblock = disk.read(partition.offset_bytes + _SUPERBLOCK, 1024)
        self.incompatible, self.read_only_compatible = struct.unpack_from("<II", superblock, 0x60)
        self._volume = pyfsext.volume()
        self._volume.open_file_object(_Window(disk, partition))

    def close(self) -> None:
        """Close it."""
        self._volume.close()

    def _entry(self, path: str, links: int = _LINKS) -> Any | None:  # noqa: ANN401 - libfsext has no types
        try:
            entry = self._volume.get_file_entry_by_path(path)
        except OSError:
            return None
        target = entry.symbolic_link_target if entry is not None else None
        if not target:
            return entry
        if links == 0:
            return None
        return self._entry(target if target.startswith("/") else f"{path.rpartition('/')[0]}/{target}", links - 1)

    def read(self, path: str) -> bytes | None:
        """A file's content, or None; files beyond ``LARGEST_FILE_BYTES`` are not read."""
        entry = self._entry(path)
        if entry is None or entry.number_of_sub_file_entries or entry.size > LARGEST_FILE_BYTES:
            return None
        try:
            content: bytes = entry.read_buffer(entry.size) if entry.size else b""
        except OSError:
            return None
        return content

    def text(self, path: str) -> str:
        """A text file's content, empty where there is none."""
        return (self.read(path) or b"").decode(errors="replace")

    def names(self, path: str) -> list[str]:
        """The names in a folder, sorted; empty where there is none."""
        entry = self._entry(path)
        if entry is None:
            return []
        try:
            count = min(entry.number_of_sub_file_entries, LARGEST_FOLDER)
            return sorted(str(entry.get_sub_file_entry(index).name) for index in range(count))
        except OSError:
            return []


def is_ext(disk: Disk, partition: Partition) -> bool:
    """Whether an ext file system lies there."""
    if partition.length_bytes < 2 * _SUPERBLOCK:
        return False
    return disk.read(partition.offset_bytes + _SUPERBLOCK + 56, 2) == _MAGIC


def ext_partitions(disk: Disk, found: list[Partition]) -> Iterator[Partition]:
    """Those that hold ext file systems."""
    return (partition for partition in found if is_ext(disk, partition))
