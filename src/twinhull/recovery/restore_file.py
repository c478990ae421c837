"""Restoring one disk into an image file: written under a temporary name, which it loses when it is whole."""

from __future__ import annotations

import os
from pathlib import Path

from twinhull.blocks.nbd import NbdAddress, NbdDisk
from twinhull.blocks.servers import Image, serving
from twinhull.model.errors import AlreadyExists, DataError, SiteError, SiteFull, UsageError
from twinhull.model.steps import Facts
from twinhull.platforms.private_directory import private_directory
from twinhull.replication.applying import apply_disk
from twinhull.replication.context import Context
from twinhull.replication.known import Known
from twinhull.replication.requests import RestoreRequest
from twinhull.repository import PointDisk

FORMATS = ("raw", "qcow2", "vmdk", "vhdx")


def look(request: RestoreRequest, disk: PointDisk) -> Facts:
    """Is the format known, is the name free; raises UsageError, AlreadyExists."""
    if request.file_format not in FORMATS:
        raise UsageError(f"'{request.file_format}' is no image format here.", hint=f"Use one of {', '.join(FORMATS)}.")
    _require_free(request)
    return {"disk_key": disk.key, "size_bytes": disk.root.size_bytes}


def write(context: Context, request: RestoreRequest, disk: PointDisk) -> Facts:
    """Write the disk into a new image beside its final name; what an earlier try left there is replaced."""
    partial = _partial(request)
    partial.unlink(missing_ok=True)
    _create_image(context, request, disk.root.size_bytes)
    image = Image(str(partial), request.file_format, is_writable=True)
    with private_directory() as directory:
        start = lambda argv: context.ports.processes.start(argv, has_pipes=True)  # noqa: E731 - one argument more
        with serving(start, image, f"{directory}/disk.sock") as socket_path:
            opener = lambda: NbdDisk(NbdAddress(socket_path))  # noqa: E731 - a door in one line
            applied = apply_disk(context, opener, disk.key, disk.root, Known())
    return {"written_bytes": applied.written_bytes, "path": str(request.to_path)}


def hand_over(request: RestoreRequest) -> None:
    """Give the whole image its name; safe to repeat."""
    partial, final = _partial(request), Path(str(request.to_path))
    if not partial.exists():
        if final.exists():
            return
        raise DataError(f"The restored image {partial} has vanished.", hint="Restore once more.")
    with partial.open("rb") as image:
        os.fsync(image.fileno())
    if request.is_overwriting:
        partial.replace(final)
    else:
        _link(partial, final)


def take_away(request: RestoreRequest) -> None:
    """Remove what was half written; safe to repeat."""
    _partial(request).unlink(missing_ok=True)


def _link(partial: Path, final: Path) -> None:
    """Unlike a rename, a link never replaces what has come there meanwhile."""
    try:
        final.hardlink_to(partial)
    except FileExistsError:
        if not final.samefile(partial):
            raise _made_meanwhile(final) from None
    except OSError:  # this file system has no links (vfat, exFAT, some network shares)
        _rename(partial, final)
        return
    partial.unlink()


def _rename(partial: Path, final: Path) -> None:
    """The name is taken by an empty file first, which the image replaces."""
    try:
        final.touch(mode=0o600, exist_ok=False)
    except FileExistsError:
        raise _made_meanwhile(final) from None
    partial.replace(final)


def _made_meanwhile(final: Path) -> AlreadyExists:
    return AlreadyExists(f"{final} was made meanwhile; it was left as it is.")


def _partial(request: RestoreRequest) -> Path:
    final = Path(str(request.to_path))
    return final.with_name(f".{final.name}.twinhull-{request.run_id}")


def _require_free(request: RestoreRequest) -> None:
    final = Path(str(request.to_path))
    if not final.parent.is_dir():
        raise UsageError(f"There is no directory {final.parent}.", hint="Make it first.")
    if final.exists() and not request.is_overwriting:
        raise AlreadyExists(f"{final} exists; it was left as it is.", hint="Use --overwrite to replace it.")


def _create_image(context: Context, request: RestoreRequest, size_bytes: int) -> None:
    argv = ["qemu-img", "create", "-q", "-f", request.file_format, str(_partial(request)), str(size_bytes)]
    done = context.ports.processes.run(argv)
    if done.is_ok:
        return
    if "No space left" in done.complaint:
        raise SiteFull(f"There is no room for {request.to_path}: {done.complaint}", hint="Free space there.")
    raise SiteError(f"The image {request.to_path} could not be made: {done.complaint}")
