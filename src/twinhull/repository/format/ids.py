"""What names the things in a repository."""

from __future__ import annotations

from enum import IntEnum
from typing import NewType

from twinhull.model import names
from twinhull.model.errors import UsageError
from twinhull.model.machine import MachineId, PointId

ChunkId = NewType("ChunkId", bytes)
"""The keyed BLAKE3 of a chunk's plain content: 32 bytes."""

PackId = NewType("PackId", bytes)
"""The random name of a pack: 32 bytes."""

CHUNK_ID_BYTES = 32
PACK_ID_BYTES = 32
MAX_SEQUENCE = names.MAX_SEQUENCE


class ChunkKind(IntEnum):
    """What a chunk holds: a piece of a disk, or a node of a disk's tree. The two never share an id or a pack."""

    DATA = 1
    NODE = 2


def checked_machine_id(text: str) -> MachineId:
    """``text`` as a machine id; raises UsageError where it is no lower-case UUID."""
    try:
        return names.checked_machine_id(text)
    except ValueError as error:
        raise UsageError(str(error), hint="Write a machine id as a UUID in lower case with dashes.") from error


def point_id(machine_id: MachineId, sequence: int) -> PointId:
    """The id of a machine's point: ``<machine id>/<sequence, eight digits>``."""
    return PointId(f"{machine_id}/{sequence:08d}")


def parse_point_id(text: str) -> tuple[MachineId, int]:
    """The machine id and the sequence number in a point id; raises UsageError where it is none."""
    try:
        return names.point_parts(text)
    except ValueError as error:
        raise UsageError(str(error), hint="Write it as MACHINE-UUID/00000012.") from error
