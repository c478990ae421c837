"""Restoring one disk onto a block device of this machine, in place: a device is written, never replaced."""

from __future__ import annotations

from pathlib import Path

from twinhull.actions.context import Context
from twinhull.actions.requests import RestoreRequest
from twinhull.blocks.device import BlockDevice, exclusively
from twinhull.model.errors import AlreadyExists, TargetTooSmall, UsageError
from twinhull.model.steps import Facts
from twinhull.model.units import format_bytes
from twinhull.recovery.restore.target import path_of
from twinhull.replication.applying import apply_disk
from twinhull.replication.known import Known
from twinhull.repository import PointDisk


def look(request: RestoreRequest, disk: PointDisk) -> Facts:
    """Is it free and large enough; raises UsageError, AlreadyExists, MachineBusy, TargetTooSmall, SiteError."""
    path = path_of(request)
    if request.file_format != "raw":
        raise UsageError(f"{path} is a block device: it takes raw data.", hint="Use --format raw.")
    if not request.is_overwriting:
        raise AlreadyExists(
            f"{path} is a block device; it was left as it is.", hint="Use --overwrite to replace what it holds."
        )
    with exclusively(path) as device:
        _require_room(path, device, disk)
    return {"disk_key": disk.key, "size_bytes": disk.root.size_bytes}


def write(context: Context, request: RestoreRequest, disk: PointDisk) -> Facts:
    """Bring the device to the point; only what differs is written, and what lies behind the disk's end stays."""
    path = path_of(request)
    with exclusively(path) as device:
        _require_room(path, device, disk)
        known = Known(reason=f"What {path} holds is not known.")
        applied = apply_disk(context, lambda: device, disk.key, disk.root, known)
    return {
        "written_bytes": applied.written_bytes,
        "read_bytes": applied.read_bytes,
        "path": str(path),
        "reasons": [*_behind(path, device.size_bytes - disk.root.size_bytes)],
    }


def take_away(context: Context, request: RestoreRequest) -> None:
    """What was there before is gone: a device cannot be put back."""
    context.on_reason(f"{path_of(request)} may hold a part of the point only: restore onto it once more.")


def _require_room(path: Path, device: BlockDevice, disk: PointDisk) -> None:
    if device.size_bytes < disk.root.size_bytes:
        raise TargetTooSmall(
            f"{path} has {format_bytes(device.size_bytes)} and disk {disk.key} {format_bytes(disk.root.size_bytes)}; "
            "nothing was written.",
            hint="Name a larger device.",
        )


def _behind(path: Path, spare_bytes: int) -> list[str]:
    if not spare_bytes:
        return []
    return [f"{path} is larger than the disk: its last {format_bytes(spare_bytes)} were left as they are."]
