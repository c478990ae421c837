"""What a capture says of a machine and its disks: the reasons that end in the point and the run."""

from __future__ import annotations

from collections.abc import Iterator

from twinhull.model.codec import spec_from_json
from twinhull.model.units import format_bytes
from twinhull.platforms.contract import Capture, CapturedDisk
from twinhull.replication.reading import DiskRead
from twinhull.repository import DiskRoot, Point


def before_reading(disk: CapturedDisk, base: DiskRoot | None, compare_reason: str) -> Iterator[str]:
    """Why more of a disk is read than changed, if so."""
    if base is None:
        yield f"Disk {disk.key} is new: all of it is read."
    elif not disk.is_tracked:
        yield f"{disk.tracker_reason} Disk {disk.key} is compared in full; only what differs is stored."
    elif compare_reason:
        yield f"Disk {disk.key} is compared in full, its tracker not trusted: {compare_reason}."


def after_reading(read: DiskRead) -> Iterator[str]:
    """What was found out about the disk, its tracker and its earlier points."""
    if read.is_cut:
        yield (
            f"Disk {read.key} has lost what its tracker calls unchanged, as a disk does that was made smaller and"
            " larger again: it is compared in full."
        )
    elif read.missed_bytes:
        yield (
            f"The tracker of disk {read.key} had missed {format_bytes(read.missed_bytes)} of changes: earlier "
            "points since the last full comparison may hold old data there; this point is right."
        )
    if read.is_base_lost:
        yield (
            f"Part of disk {read.key} in the latest point is lost in the repository, so nothing was built on it: "
            "all of the disk is in this point anew."
        )
    if read.mended_bytes:
        yield (
            f"{format_bytes(read.mended_bytes)} of disk {read.key} were damaged in the repository and are stored "
            "anew: this point is whole, and so is each earlier one that lacked just that."
        )


def drift(last: Point | None, capture: Capture) -> list[str]:
    """What is said of a machine that is not as it was at its last point."""
    if last is None:
        return []
    old, new = spec_from_json(last.document.spec), capture.spec
    said = []
    if old.name != new.name:
        said.append(f"The machine was renamed from {old.name} to {new.name}: its replica follows.")
    for disk in old.disks:
        now = new.disk(disk.key)
        if now is None:
            said.append(f"Disk {disk.key} is gone: the replica follows, earlier points keep it.")
        elif now.size_bytes != disk.size_bytes:
            was, size = format_bytes(disk.size_bytes), format_bytes(now.size_bytes)
            said.append(f"Disk {disk.key} was {was} and is {size} now: the replica follows.")
    return said
