"""Restoring one disk into an image file: written under a temporary name, which it loses when it is whole.

It is what a disk holds, so only its owner may read it (mode 0600), from its first byte on.
"""

from __future__ import annotations

import os
from pathlib import Path

from twinhull.actions.context import Context
from twinhull.actions.requests import RestoreRequest
from twinhull.blocks.disk import DiskOpener
from twinhull.blocks.nbd import NbdAddress, NbdDisk
from twinhull.blocks.servers import Image, serving
from twinhull.hosts.private_directory import private_directory
from twinhull.model.errors import AlreadyExists, DataError, SiteError, SiteFull, UsageError
from twinhull.model.steps import Facts
from twinhull.recovery.restore.target import is_device, path_of
from twinhull.replication.applying import Applied, apply_disk
from twinhull.replication.known import Known
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
            applied = _apply(context, opener, disk, request)
    return {"written_bytes": applied.written_bytes, "path": str(request.to_path)}


def _apply(context: Context, opener: DiskOpener, disk: PointDisk, request: RestoreRequest) -> Applied:
    try:
        return apply_disk(context, opener, disk.key, disk.root, Known())
    except SiteFull as error:
        raise _no_room(request) from error


def _no_room(request: RestoreRequest) -> SiteFull:
    path = path_of(request)
    return SiteFull(
        f"There is no room for {path} on its file system; what was written of it is deleted.",
        hint=f"Free space in {path.parent}, or restore to another place.",
    )


def hand_over(request: RestoreRequest) -> None:
    """Give the whole image its name; safe to repeat."""
    partial, final = _partial(request), path_of(request)
    if not partial.exists():
        if final.exists():
            return
        raise DataError(f"The restored image {partial} has vanished.", hint="Restore once more.")
    with partial.open("rb") as image:
        os.fsync(image.fileno())
    if is_device(final):
        raise _made_meanwhile(final)
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
    final = path_of(request)
    return final.with_name(f".{final.name}.twinhull-{request.run_id}")


def _require_free(request: RestoreRequest) -> None:
    final = path_of(request)
    if not final.parent.is_dir():
        raise UsageError(f"There is no directory {final.parent}.", hint="Make it first.")
    if final.exists() and not request.is_overwriting:
        raise AlreadyExists(f"{final} exists; it was left as it is.", hint="Use --overwrite to replace it.")


def _create_image(context: Context, request: RestoreRequest, size_bytes: int) -> None:
    """An image of zeros, in a file that was made for its owner alone before qemu-img sees it."""
    partial = _partial(request)
    try:
        os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise SiteError(f"No file can be made in {partial.parent}: {error.strerror}.") from error
    argv = ["qemu-img", "create", "-q", "-f", request.file_format, str(partial), str(size_bytes)]
    done = context.ports.processes.run(argv)
    if done.is_ok:
        return
    if "No space left" in done.complaint:
        raise _no_room(request)
    raise SiteError(f"The image {request.to_path} could not be made: {done.complaint}")
