"""What a restore's path names: a file or a free name, a block device, or something that no disk is written to."""

from __future__ import annotations

import stat
from os import stat_result
from pathlib import Path

from twinhull.actions.requests import RestoreRequest
from twinhull.model.errors import UsageError

_NO_TARGETS = {
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
}


def path_of(request: RestoreRequest) -> Path:
    """Where to, as it was asked for."""
    return Path(str(request.to_path))


def is_device(path: Path) -> bool:
    """Whether the path is a block device, or a link to one, as LVM's names are.

    False for a regular file and a free name; raises UsageError for everything else.
    """
    status = _status(path)
    if status is None:
        return False
    kind = stat.S_IFMT(status.st_mode)
    if kind == stat.S_IFLNK:
        if path.is_block_device():
            return True
        raise UsageError(
            f"{path} is a link to {path.readlink()}; a restore does not follow it, and nothing was written.",
            hint="Name the file itself.",
        )
    if kind in _NO_TARGETS:
        raise UsageError(f"{path} is {_NO_TARGETS[kind]}, not a file; nothing was written.", hint=_instead(path, kind))
    return kind == stat.S_IFBLK


def _status(path: Path) -> stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UsageError(f"{path} cannot be looked at: {error.strerror}.") from error


def _instead(path: Path, kind: int) -> str:
    if kind == stat.S_IFDIR:
        return f"Name a file in it: --to {path}/disk.qcow2"
    return "Name a file, a block device, a site (site:NAME) or an NBD export (nbd+unix:///?socket=PATH)."
