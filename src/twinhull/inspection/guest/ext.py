"""Files of an ext2, ext3 or ext4 file system on any disk, read without mounting it (libfsext).

Sizes and counts come from the guest: whatever is read is bounded here, and the process that reads is bounded as well.

Source: Linux, Documentation/filesystems/ext4 (*The Super Block*).
"""

from __future__ import annotations

import io
import stat
import struct
from collections.abc import Iterator
from posixpath import dirname, join, normpath
from typing import Any

import pyfsext

from twinhull.inspection.guest.partitions import Partition, Readable

LARGEST_TEXT_BYTES = 1 << 20
"""Of a configuration file; a larger one is none."""
LARGEST_FOLDER = 1024
"""Entries of a folder that are looked at."""

_PIECE_BYTES = 1 << 20
_SUPERBLOCK = 1024
_MAGIC = b"\x53\xef"
_LINKS = 8
"""Symbolic links followed in one path, at most."""
_LONGEST_PATH = 4096


class _Window(io.RawIOBase):
    """A partition as a Python file, for libfsext."""

    def __init__(self, disk: Readable, partition: Partition) -> None:
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
    """An open ext file system. What is not there, or cannot be read, is empty: a look must not fail on it.

    ``is_damaged`` says whether something could not be read. Raises OSError if the file system cannot be opened at all.
    """

    def __init__(self, disk: Readable, partition: Partition) -> None:
        self.is_damaged = False
        superblock = disk.read(partition.offset_bytes + _SUPERBLOCK, 1024)
        self.incompatible, self.read_only_compatible = struct.unpack_from("<II", superblock, 0x60)
        self._volume = pyfsext.volume()
        self._volume.open_file_object(_Window(disk, partition))

    def _entry(self, path: str, links: int = _LINKS) -> Any | None:  # noqa: ANN401 - libfsext has no types
        try:
            entry = self._volume.get_file_entry_by_path(path)
            target = entry.symbolic_link_target if entry is not None else None
        except (OSError, ValueError, OverflowError):
            self.is_damaged = True
            return None
        if not target:
            return entry
        if links == 0 or len(target) > _LONGEST_PATH:
            return None
        return self._entry(normpath(join(dirname(path), target)), links - 1)

    def pieces(self, path: str) -> Iterator[bytes]:
        """A file's content, a piece at a time, as far as it can be read."""
        entry = self._entry(path)
        if entry is None or not stat.S_ISREG(entry.file_mode):
            return
        left = entry.size
        while left > 0:
            try:
                piece: bytes = entry.read_buffer(min(left, _PIECE_BYTES))
            except OSError:
                self.is_damaged = True
                return
            if not piece:
                return
            left -= len(piece)
            yield piece

    def text(self, path: str) -> str:
        """A text file's content; empty if there is none, or if it is too large for one."""
        entry = self._entry(path)
        if entry is None or entry.size > LARGEST_TEXT_BYTES:
            return ""
        return b"".join(self.pieces(path)).decode(errors="replace")

    def names(self, path: str) -> list[str]:
        """The names in a folder, sorted; empty if there is none."""
        entry = self._entry(path)
        if entry is None or not stat.S_ISDIR(entry.file_mode):
            return []
        try:
            count = min(entry.number_of_sub_file_entries, LARGEST_FOLDER)
            return sorted(str(entry.get_sub_file_entry(index).name) for index in range(count))
        except OSError:
            self.is_damaged = True
            return []


def is_ext(disk: Readable, partition: Partition) -> bool:
    """Whether an ext file system may lie there."""
    if partition.length_bytes < 2 * _SUPERBLOCK:
        return False
    return disk.read(partition.offset_bytes + _SUPERBLOCK + 56, 2) == _MAGIC
