"""What the inspector and its confined child say to one another, over the child's standard input and output.

Each message is a kind (one byte), a length (four bytes, little endian) and so many bytes. The child speaks first::

    child                              inspector
    R  ready: it is confined    ─────▶
                                ◀─────  Q  the disks' sizes and what is asked for (JSON)
    A  a part of a disk         ─────▶  (disk, offset, length)
                                ◀─────  D  its bytes, or E: it cannot be read
    F  a record (JSON)          ─────▶
    O  over, whole              ─────▶
    X  given up, and why        ─────▶

The child is not trusted: the inspector checks each message, and ends a child that breaks the rules.
"""

from __future__ import annotations

import struct
from enum import Enum

HEADER = struct.Struct("<cI")
RANGE = struct.Struct("<HQI")
"""The disk's place in the request, the offset and the length in bytes."""

LARGEST_READ_BYTES = 1 << 20
"""Of one part of a disk."""

LARGEST_RECORD_BYTES = 16 << 10
"""Of one record, as JSON; also of a question."""


class Kind(Enum):
    """The kinds of messages."""

    READY = b"R"
    QUESTION = b"Q"
    ASK = b"A"
    DATA = b"D"
    UNREADABLE = b"E"
    RECORD = b"F"
    OVER = b"O"
    GIVEN_UP = b"X"


def message(kind: Kind, payload: bytes = b"") -> bytes:
    """A message as bytes."""
    return HEADER.pack(kind.value, len(payload)) + payload
