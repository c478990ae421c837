"""The kernel modules in an initramfs, read from its first byte to its last, once.

An initramfs is a row of cpio archives, plain or compressed, with zeros between them (Linux,
Documentation/driver-api/early-userspace/buffer-format.rst; cpio's form: ``newc``). Nothing is searched for: what stands
at the beginning of an archive says what it is, so the time is linear in what is read and in what it unpacks to.
"""

from __future__ import annotations

import lzma
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import zstandard

from twinhull.inspection.guest.stream import Stream

LARGEST_IMAGE_BYTES = 256 << 20
LARGEST_UNPACKED_BYTES = 512 << 20
"""How far an initramfs is unpacked."""
LARGEST_COUNT = 200_000
"""Files of an initramfs that are looked at."""

_XZ_MEMORY_BYTES = _ZSTD_WINDOW_BYTES = 128 << 20
_STEP_BYTES = 1 << 10
"""Compressed bytes unpacked at once: of the formats below, none makes more than 32 MiB of them."""

_HEADER_BYTES = 110
_SIZE, _NAME_SIZE = slice(54, 62), slice(94, 102)
_LONGEST_NAME = 4096
_TRAILER = b"TRAILER!!!"
_HEX = re.compile(rb"[0-9A-Fa-f]{8}")
_MODULE = re.compile(rb"([A-Za-z0-9_-]{1,64})\.ko(\.(gz|xz|zst))?")
_BUILT_IN = b"modules.builtin"
_LARGEST_LIST_BYTES = 1 << 20


class NotUnderstood(Exception):
    """An initramfs that cannot be looked into; the text says why, as half a sentence."""


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


_FORMATS: tuple[tuple[bytes, Callable[[], _Decompressor]], ...] = (
    (b"\x28\xb5\x2f\xfd", lambda: zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES).decompressobj()),
    (b"\x1f\x8b", lambda: zlib.decompressobj(31)),
    (b"\xfd7zXZ\0", lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY_BYTES)),
)
_OTHER_FORMATS = (
    (b"\x02\x21\x4c\x18", "lz4"),
    (b"\x04\x22\x4d\x18", "lz4"),
    (b"BZh", "bzip2"),
    (b"\x5d\0\0", "lzma"),
    (b"\x89LZO", "lzo"),
)


def modules_in(pieces: Iterable[bytes], unpacked_bytes: int = LARGEST_UNPACKED_BYTES) -> set[str]:
    """The modules in an initramfs, built-in ones that it lists included, with underscores. Raises NotUnderstood."""
    reader = _Reader(unpacked_bytes)
    try:
        reader.read_image(Stream(_bounded(pieces)))
    except (zlib.error, lzma.LZMAError, zstandard.ZstdError, EOFError):
        raise NotUnderstood("it is damaged") from None
    return reader.found


def _bounded(pieces: Iterable[bytes]) -> Iterator[bytes]:
    left = LARGEST_IMAGE_BYTES
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            raise NotUnderstood(f"it is larger than {LARGEST_IMAGE_BYTES >> 20} MiB")
        yield piece


@dataclass(slots=True)
class _Reader:
    """Reads an image; what it may cost is counted over all of its archives."""

    bytes_left: int
    found: set[str] = field(default_factory=set)
    _files_left: int = LARGEST_COUNT

    def read_image(self, stream: Stream) -> None:
        while stream.skip_zeros():
            self._count_file()
            unpack = next((make for magic, make in _FORMATS if stream.peek(len(magic)) == magic), None)
            if unpack:
                self._read_archives(Stream(self._unpacked(stream, unpack())))
            else:
                self._read_archive(stream)

    def _unpacked(self, stream: Stream, decompressor: _Decompressor) -> Iterator[bytes]:
        """What a compressed archive unpacks to; what follows it stays in the stream."""
        while not decompressor.eof and (data := stream.take_some(_STEP_BYTES)):
            piece = decompressor.decompress(data)
            self.bytes_left -= len(piece)
            if self.bytes_left < 0:
                raise NotUnderstood("it unpacks to too much")
            yield piece
        if not decompressor.eof:
            raise EOFError("the archive ends too early")
        stream.untake(len(decompressor.unused_data))

    def _read_archives(self, stream: Stream) -> None:
        while stream.skip_zeros():
            self._read_archive(stream)

    def _read_archive(self, stream: Stream) -> None:
        """One cpio archive, to its trailer."""
        while True:
            self._count_file()
            header = stream.take(_HEADER_BYTES)
            if header[:6] not in (b"070701", b"070702"):
                raise NotUnderstood(_other_format(header))
            size, name_size = _number(header[_SIZE]), _number(header[_NAME_SIZE])
            if name_size > _LONGEST_NAME:
                raise NotUnderstood("it is damaged")
            name = stream.take(name_size + -(_HEADER_BYTES + name_size) % 4)[:name_size].rstrip(b"\0")
            if name == _TRAILER:
                return
            self._note(name.rpartition(b"/")[2], stream, size)
            stream.skip(-size % 4)

    def _note(self, name: bytes, stream: Stream, size: int) -> None:
        """Keep a module's name, or the names in a list of built-in modules; the stream goes on behind the content."""
        names = [name]
        if name == _BUILT_IN and size <= _LARGEST_LIST_BYTES:
            names = [line.rpartition(b"/")[2] for line in stream.take(size).split(b"\n")]
        else:
            stream.skip(size)
        self.found.update(match[1].decode().replace("-", "_") for name in names if (match := _MODULE.fullmatch(name)))

    def _count_file(self) -> None:
        self._files_left -= 1
        if self._files_left < 0:
            raise NotUnderstood(f"it has more than {LARGEST_COUNT} files")


def _number(digits: bytes) -> int:
    if not _HEX.fullmatch(digits):
        raise NotUnderstood("it is damaged")
    return int(digits, 16)


def _other_format(begin: bytes) -> str:
    known = next((name for magic, name in _OTHER_FORMATS if begin.startswith(magic)), "")
    return f"it is compressed by {known}" if known else "it is not a known archive"
