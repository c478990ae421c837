"""Bytes that come in pieces, read from the front: each byte is copied and looked at a bounded number of times."""

from __future__ import annotations

import re
from collections.abc import Iterable

_NOT_ZERO = re.compile(rb"[^\0]")


class Stream:
    """Whatever is asked for beyond the end is missing: ``take`` and ``skip`` raise EOFError, ``peek`` gives less."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = (piece for piece in pieces if piece)
        self._buffer = b""
        self._at = 0

    def peek(self, length: int) -> bytes:
        """The next bytes, without taking them."""
        if len(self._buffer) - self._at < length:
            parts = [self._buffer[self._at :]]
            missing = length - len(parts[0])
            while missing > 0 and (piece := next(self._pieces, b"")):
                parts.append(piece)
                missing -= len(piece)
            self._buffer, self._at = b"".join(parts), 0
        return self._buffer[self._at : self._at + length]

    def take(self, length: int) -> bytes:
        """The next bytes; raises EOFError if there are fewer."""
        data = self.peek(length)
        if len(data) < length:
            raise EOFError("the data ends too early")
        self._at += length
        return data

    def take_some(self, length: int) -> bytes:
        """At least one of the next bytes, at most ``length``; nothing at the end."""
        data = self._buffer[self._at : self._at + length] if self.peek(1) else b""
        self._at += len(data)
        return data

    def untake(self, length: int) -> None:
        """Let the last bytes of the latest ``take_some`` come once more."""
        self._at -= length

    def skip(self, length: int) -> None:
        """Pass over bytes; raises EOFError if there are fewer."""
        while length > len(self._buffer) - self._at:
            length -= len(self._buffer) - self._at
            if not self._next_piece():
                raise EOFError("the data ends too early")
        self._at += length

    def skip_zeros(self) -> bool:
        """Pass over zeros; whether anything is left."""
        while not (found := _NOT_ZERO.search(self._buffer, self._at)):
            if not self._next_piece():
                return False
        self._at = found.start()
        return True

    def _next_piece(self) -> bool:
        """Go on with one more piece; False at the end."""
        self._buffer, self._at = next(self._pieces, b""), 0
        return bool(self._buffer)
