"""What names the things in a repository."""

from __future__ import annotations

import re
from enum import IntEnum
from typing import NewType

from twinhull.model.errors import UsageError
from twinhull.model.machine import MachineId, PointId

ChunkId = NewType("ChunkId", bytes)
"""The keyed BLAKE3 of a chunk's plain content: 32 bytes."""

PackId = NewType("PackId", bytes)
"""The random name of a pack: 32 bytes."""

CHUNK_ID_BYTES = 32
PACK_ID_BYTES = 32
MAX_SEQUENCE = 99_999_999

_MACHINE = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_MACHINE_ID = re.compile(_MACHINE, re.ASCII)
_POINT_ID = re.compile(rf"({_MACHINE})/([0-9]{{8}})", re.ASCII)


class ChunkKind(IntEnum):
    """What a chunk holds: a piece of a disk, or a node of a disk's tree. The two never share an id or a pack."""

    DATA = 1
    NODE = 2


def checked_machine_id(text: str) -> MachineId:
    """``text`` as a machine id; raises UsageError where it is no lower-case UUID."""
    if not _MACHINE_ID.fullmatch(text):
        raise UsageError(f"'{text}' is not a machine id.", hint="A machine id is a UUID in lower case with dashes.")
    return MachineId(text)


def point_id(machine_id: MachineId, sequence: int) -> PointId:
    """The id of a machine's point: ``<machine id>/<sequence, eight digits>``."""
    return PointId(f"{machine_id}/{sequence:08d}")


def parse_point_id(text: str) -> tuple[MachineId, int]:
    """The machine id and the sequence number in a point id; raises UsageError where it is none."""
    match = _POINT_ID.fullmatch(text)
    if not match or int(match[2]) == 0:
        raise UsageError(f"'{text}' is not a point id.", hint="It looks like MACHINE-UUID/00000012.")
    return MachineId(match[1]), int(match[2])
