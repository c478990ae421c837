"""The restore point's document: what a point says of itself, and nothing else is needed to restore it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from twinhull.model.errors import UsageError
from twinhull.model.machine import Consistency, DiskKey, MachineId, PointId, SiteName
from twinhull.model.names import (
    checked_disk_bytes,
    checked_disk_key,
    checked_disk_keys,
    checked_epoch,
    checked_site_name,
)
from twinhull.repository.errors import RepositoryDamaged
from twinhull.repository.format.ids import CHUNK_ID_BYTES, ChunkId, checked_machine_id, point_id

Json = Any
"""What ``json`` can write: kept as it is, never looked into by the repository."""


@dataclass(frozen=True, slots=True)
class DiskRoot:
    """The content of one disk: its size, and the root of its tree. ``node`` is None where the whole disk is zeros."""

    size_bytes: int
    node: ChunkId | None


@dataclass(frozen=True, slots=True)
class PointDisk:
    """One disk of a point. ``tracker`` is the platform's own note on where its change tracking stood."""

    key: DiskKey
    root: DiskRoot
    tracker: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PointDocument:
    """What a capture knows when it is done; publishing gives it its sequence number.

    ``captured_at`` is the wall clock in UTC and informational only: order comes from the sequence number. ``spec`` is
    the machine's description as JSON, opaque to the repository; ``notes`` are the reasons that the capture gave.
    ``is_divergent``: what a site had written after it lost the machine to another one; see :func:`current_points`.
    """

    machine_id: MachineId
    captured_at: datetime
    consistency: Consistency
    source_site: SiteName
    epoch: int
    spec: Mapping[str, Json]
    disks: tuple[PointDisk, ...]
    notes: tuple[str, ...] = ()
    is_divergent: bool = False


@dataclass(frozen=True, slots=True)
class Point:
    """A published restore point."""

    sequence: int
    document: PointDocument

    @property
    def id(self) -> PointId:
        """``<machine id>/<sequence>``."""
        return point_id(self.document.machine_id, self.sequence)

    @property
    def machine_id(self) -> MachineId:
        """Whose point it is."""
        return self.document.machine_id

    @property
    def captured_at(self) -> datetime:
        """The wall clock of the capture, in UTC; informational."""
        return self.document.captured_at

    def disk(self, key: DiskKey) -> PointDisk | None:
        """The disk of that key, if there is one."""
        return next((disk for disk in self.document.disks if disk.key == key), None)


def current_points(points: Sequence[Point]) -> list[Point]:
    """The points that are states of the machine itself, in their order: the latest of them is the machine's latest.

    The others are divergent: nothing goes on from them, or counts back over them, unless they are named.
    """
    return [point for point in points if not point.document.is_divergent]


def latest_point(points: Sequence[Point]) -> Point | None:
    """The latest of the machine's own points, which are in order; None where there is none."""
    return next(reversed(current_points(points)), None)


def encode_point(point: Point) -> bytes:
    """The point as JSON, for sealing."""
    document = point.document
    return json.dumps(
        {
            "machine_id": document.machine_id,
            "sequence": point.sequence,
            "captured_at": document.captured_at.astimezone(UTC).isoformat(),
            "consistency": document.consistency.value,
            "source_site": document.source_site,
            "epoch": document.epoch,
            "notes": list(document.notes),
            "spec": dict(document.spec),
            "disks": [_encode_disk(disk) for disk in document.disks],
            **({"is_divergent": True} if document.is_divergent else {}),
        },
        sort_keys=True,
        ensure_ascii=False,
    ).encode()


def decode_point(data: bytes, name: str) -> Point:
    """The point in a document; ``name`` is its object's, for the error. Raises RepositoryDamaged."""
    try:
        raw = json.loads(data)
        disks = tuple(_decode_disk(disk) for disk in raw["disks"])
        checked_disk_keys(disk.key for disk in disks)
        return Point(
            sequence=int(raw["sequence"]),
            document=PointDocument(
                machine_id=checked_machine_id(raw["machine_id"]),
                captured_at=datetime.fromisoformat(raw["captured_at"]).astimezone(UTC),
                consistency=Consistency(raw["consistency"]),
                source_site=checked_site_name(raw["source_site"]),
                epoch=checked_epoch(raw["epoch"]),
                notes=tuple(str(note) for note in raw["notes"]),
                spec=dict(raw["spec"]),
                disks=disks,
                is_divergent=raw.get("is_divergent") is True,
            ),
        )
    except (ValueError, KeyError, TypeError, RecursionError, UsageError) as error:
        raise RepositoryDamaged(f"The object '{name}' holds no restore point: {error!r}.") from error


def _encode_disk(disk: PointDisk) -> dict[str, Json]:
    node = disk.root.node.hex() if disk.root.node else None
    return {"key": disk.key, "size_bytes": disk.root.size_bytes, "root": node, "tracker": dict(disk.tracker)}


def _decode_disk(raw: Mapping[str, Json]) -> PointDisk:
    node = bytes.fromhex(raw["root"]) if raw["root"] is not None else None
    if node is not None and len(node) != CHUNK_ID_BYTES:
        raise ValueError(f"the root of disk {raw['key']!r} is not a chunk id")
    root = DiskRoot(checked_disk_bytes(raw["size_bytes"]), ChunkId(node) if node else None)
    return PointDisk(checked_disk_key(raw["key"]), root, dict(raw["tracker"]))
