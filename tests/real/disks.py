"""Copying and summing whole disks in tests, the plain way: the product's own ways are what is tested."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from twinhull.blocks.disk import Disk, DiskOpener
from twinhull.model.extents import Extent, pieces
from twinhull.model.units import MIB


def copy(source: DiskOpener, target: DiskOpener, places: Iterable[Extent] | None = None) -> None:
    """Write the source's places (all of it, where none are named) to the target."""
    reading, writing = source(), target()
    try:
        for place in pieces(_data(reading) if places is None else places, MIB):
            writing.write(place.offset_bytes, reading.read(place.offset_bytes, place.length_bytes))
        writing.flush()
    finally:
        reading.close()
        writing.close()


def checksum(opener: DiskOpener) -> str:
    """The SHA-256 of a whole disk."""
    disk, digest = opener(), hashlib.sha256()
    try:
        for place in pieces([Extent(0, disk.size_bytes)], MIB):
            digest.update(disk.read(place.offset_bytes, place.length_bytes))
    finally:
        disk.close()
    return digest.hexdigest()


def _data(disk: Disk) -> list[Extent]:
    return [extent for extent in disk.extents(0, disk.size_bytes) if not extent.is_zero]
