"""Small files and directories of an ext4 file system, read-only and from outside.

Extents only (what mkfs.ext4 has made for fifteen years); every number that comes from the disk is bounded before use.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from twinhull.manager.inside.partitions import Read

_MAGIC = 0xEF53
_ROOT_INODE = 2
_HAS_64BIT = 0x80
_META_GROUPS = 0x10
_USES_EXTENTS = 0x80000
_EXTENT_MAGIC = 0xF30A
_MOST_BYTES = 16 * 1024 * 1024
_MOST_LINKS = 8
_DEEPEST = 5
_MOST_NODES = 10_000
"""So many extent nodes are read at most: a damaged tree may lead in circles."""


class NotReadable(Exception):
    """There is no ext4 file system here, or one that this reader does not understand."""


@dataclass(frozen=True, slots=True)
class Inode:
    """A file, directory or symbolic link."""

    mode: int
    size_bytes: int
    flags: int
    block: bytes


class Ext4:
    """One file system that begins at ``offset_bytes`` of a disk; raises NotReadable where there is none."""

    def __init__(self, read: Read, offset_bytes: int) -> None:
        self._read_disk = read
        self._offset = offset_bytes
        head = self._read(1024, 1024)
        if struct.unpack_from("<H", head, 56)[0] != _MAGIC:
            raise NotReadable("There is no ext4 file system.")
        self._first_block, log_size = struct.unpack_from("<II", head, 20)
        self._per_group = struct.unpack_from("<I", head, 40)[0]
        self._inode_bytes = struct.unpack_from("<H", head, 88)[0]
        features = struct.unpack_from("<I", head, 96)[0]
        if features & _META_GROUPS or log_size > 6 or not self._per_group or self._inode_bytes < 128:  # noqa: PLR2004
            raise NotReadable("The ext4 file system is laid out in a way that is not understood here.")
        self._block_bytes = 1024 << log_size
        self._group_bytes = struct.unpack_from("<H", head, 254)[0] if features & _HAS_64BIT else 32
        if self._group_bytes < 32:  # noqa: PLR2004 - the short form
            raise NotReadable("The ext4 file system's group descriptors are damaged.")
        self._nodes_left = _MOST_NODES

    def text(self, path: str) -> str | None:
        """A small text file, symbolic links followed; None where there is none."""
        inode = self._find(path)
        if not inode or not stat.S_ISREG(inode.mode):
            return None
        return self._content(inode).decode(errors="replace")

    def names(self, path: str) -> list[str]:
        """The names in a directory; empty where there is none."""
        inode = self._find(path)
        if not inode or not stat.S_ISDIR(inode.mode):
            return []
        return sorted(name for name, _ in self._entries(inode) if name not in (".", ".."))

    def _find(self, path: str, links_left: int = _MOST_LINKS) -> Inode | None:
        inode = self._inode(_ROOT_INODE)
        parts = [part for part in path.split("/") if part]
        for index, part in enumerate(parts):
            if not stat.S_ISDIR(inode.mode):
                return None
            number = dict(self._entries(inode)).get(part)
            if not number:
                return None
            inode = self._inode(number)
            if stat.S_ISLNK(inode.mode):
                if not links_left:
                    return None
                target = self._link(inode)
                base = "" if target.startswith("/") else "/".join(parts[:index])
                return self._find("/".join([base, target, *parts[index + 1 :]]), links_left - 1)
        return inode

    def _link(self, inode: Inode) -> str:
        if inode.size_bytes < len(inode.block):
            return inode.block[: inode.size_bytes].decode(errors="replace")
        return self._content(inode).decode(errors="replace")

    def _entries(self, inode: Inode) -> Iterator[tuple[str, int]]:
        content = self._content(inode)
        position = 0
        while position + 8 <= len(content):
            number, length, name_length = struct.unpack_from("<IHB", content, position)
            if length < 8:  # noqa: PLR2004 - no entry is shorter than its head
                raise NotReadable("A directory of the ext4 file system is damaged.")
            if number:
                yield content[position + 8 : position + 8 + name_length].decode(errors="replace"), number
            position += length

    def _inode(self, number: int) -> Inode:
        group, index = divmod(number - 1, self._per_group)
        entry = self._read((self._first_block + 1) * self._block_bytes + group * self._group_bytes, self._group_bytes)
        table = struct.unpack_from("<I", entry, 8)[0]
        if self._group_bytes >= 64:  # noqa: PLR2004 - the upper half is there only in the long form
            table |= struct.unpack_from("<I", entry, 40)[0] << 32
        raw = self._read(table * self._block_bytes + index * self._inode_bytes, 128)
        mode, _, low = struct.unpack_from("<HHI", raw, 0)
        high = struct.unpack_from("<I", raw, 108)[0]
        return Inode(mode, low | high << 32, struct.unpack_from("<I", raw, 32)[0], raw[40:100])

    def _content(self, inode: Inode) -> bytes:
        if not inode.flags & _USES_EXTENTS or inode.size_bytes > _MOST_BYTES:
            raise NotReadable("A file of the ext4 file system is stored in a way that is not understood here.")
        content = bytearray(inode.size_bytes)
        for first, count, start in self._extents(inode.block, _DEEPEST):
            offset = first * self._block_bytes
            length = min(count * self._block_bytes, len(content) - offset)
            if length > 0:
                content[offset : offset + length] = self._read(start * self._block_bytes, length)
        return bytes(content)

    def _extents(self, node: bytes, levels_left: int) -> Iterator[tuple[int, int, int]]:
        self._nodes_left -= 1
        magic, count, _, depth = struct.unpack_from("<HHHH", node, 0)
        if magic != _EXTENT_MAGIC or levels_left < 0 or self._nodes_left < 0 or 12 + 12 * count > len(node):
            raise NotReadable("The extents of a file of the ext4 file system are damaged.")
        for index in range(count):
            if depth:
                _, low, high = struct.unpack_from("<IIH", node, 12 + 12 * index)
                child = self._read((low | high << 32) * self._block_bytes, self._block_bytes)
                yield from self._extents(child, levels_left - 1)
            else:
                first, length, high, low = struct.unpack_from("<IHHI", node, 12 + 12 * index)
                # Longer than 32768 means: reserved, and reads as zeros.
                if length <= 32768:  # noqa: PLR2004
                    yield first, length, low | high << 32

    def _read(self, offset_bytes: int, length_bytes: int) -> bytes:
        return self._read_disk(self._offset + offset_bytes, length_bytes)
