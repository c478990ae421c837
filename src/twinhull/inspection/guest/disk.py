"""A disk as the confined child has it: its bytes come over a pipe, a block at a time, and are kept for a while."""

from __future__ import annotations

import os
from collections import OrderedDict

from twinhull.inspection.wire import HEADER, RANGE, Kind, message

BLOCK_BYTES = 64 << 10
_AHEAD = 16
"""Blocks asked for at once by one that reads on: a message carries no more than a mebibyte."""
_KEPT_BLOCKS = 512


class DiskUnreadable(OSError):
    """A part of a disk cannot be read on its site."""


class Line:
    """Messages over two descriptors. The inspector is trusted, so what it sends is taken as it is."""

    def __init__(self, input_descriptor: int, output_descriptor: int) -> None:
        self._input = input_descriptor
        self._output = output_descriptor

    def send(self, kind: Kind, payload: bytes = b"") -> None:
        """Send a message."""
        left = memoryview(message(kind, payload))
        while left:
            left = left[os.write(self._output, left) :]

    def receive(self, *wanted: Kind) -> bytes:
        """The payload of the next message; raises DiskUnreadable where it says so."""
        word, length = HEADER.unpack(self._read(HEADER.size))
        payload = self._read(length)
        if Kind(word) not in wanted:
            raise DiskUnreadable("a part of the disk cannot be read")
        return payload

    def _read(self, length: int) -> bytes:
        pieces = []
        while length:
            piece = os.read(self._input, min(length, 1 << 20))
            if not piece:
                raise EOFError("the inspector is gone")
            pieces.append(piece)
            length -= len(piece)
        return b"".join(pieces)


class PipedDisk:
    """One disk of the request."""

    def __init__(self, line: Line, index: int, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self._line = line
        self._index = index
        self._blocks: OrderedDict[int, bytes] = OrderedDict()

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        """The bytes of the range, as far as the disk has them; raises DiskUnreadable."""
        end = min(offset_bytes + length_bytes, self.size_bytes)
        if not 0 <= offset_bytes < end:
            return b""
        first, last = offset_bytes // BLOCK_BYTES, (end - 1) // BLOCK_BYTES
        data = b"".join(self._block(number) for number in range(first, last + 1))
        skip = offset_bytes - first * BLOCK_BYTES
        return data[skip : skip + end - offset_bytes]

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            self._fetch(number, _AHEAD if number - 1 in self._blocks else 1)
        self._blocks.move_to_end(number)
        return self._blocks[number]

    def _fetch(self, number: int, count: int) -> None:
        start = number * BLOCK_BYTES
        length = min(count * BLOCK_BYTES, self.size_bytes - start)
        self._line.send(Kind.ASK, RANGE.pack(self._index, start, length))
        data = self._line.receive(Kind.DATA)
        for place in range(0, length, BLOCK_BYTES):
            self._blocks[number + place // BLOCK_BYTES] = data[place : place + BLOCK_BYTES]
        while len(self._blocks) > _KEPT_BLOCKS:
            self._blocks.popitem(last=False)
