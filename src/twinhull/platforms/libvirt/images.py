"""Disk images on a site's host: made, grown, looked at.

Each function is one command on the host, whatever the number of images: behind ssh it is the number of commands that
costs. The trackers in the images are in :mod:`twinhull.platforms.libvirt.tracking`.

Source: QEMU, docs/interop/qcow2.rst (*Header*, *Bitmaps extension*); qemu-img(1).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from twinhull.hosts.host import Host, check, require_ok
from twinhull.model.errors import MachineBusy, SiteError
from twinhull.model.machine import DiskKey
from twinhull.platforms.libvirt.definition.domains import Definition, ImageFile

PREFIX = "twinhull-"

INFO = """
# What tells a file from every other one: its place, when it was born, its size, when it was written to last.
facts() { stat -L -c '%d:%i:%t:%T %i %.9W %s %.9Y' -- "$1" 2>/dev/null || echo unknown; }
look() { qemu-img info --force-share --output=json "$@"; }
info() {
  if [ ! -e "$2" ]; then told='{"is-gone": true}'
  elif [ "$1" = raw ] && [ -b "$2" ]; then
    if size=$(blockdev --getsize64 "$2"); then told='{"virtual-size": '$size'}'; else told='{}'; fi
  else told=$(look --backing-chain -f "$1" -- "$2" 2>/dev/null || look -f "$1" -- "$2") || told='{}'
  fi
  printf '%s\\0' "$told"
  facts "$2"
  printf '%s\\n' "$told" | sed -n 's/^ *"full-backing-filename": "\\(.*\\)",*$/\\1/p' |
    while IFS= read -r file; do facts "$file"; done
  printf '\\0'
}
"""
"""The shell function ``info FORMAT PATH``: what is known of an image and of those below it.

It prints JSON and, line by line, the facts of each file; both end with a zero byte. Nothing is known of an image that
cannot be looked at, such as a device of a dead multipath or of DRBD's other side.
"""

_INFO = INFO + 'while [ $# -gt 0 ]; do info "$1" "$2"; shift 2; done'

_SEE = """
see() { stat -c '%i %y' -- "$1" 2>/dev/null || echo nothing; }
"""
"""The shell function ``see PATH``: which file lies there."""

_SEE_ALL = _SEE + 'for image; do see "$image"; done'

_IN_USE = 49

_CREATE = (
    _SEE
    + f"""
set -e
umask 022
owner=$1; shift
directory=$(dirname -- "$1")
mkdir -p -m 0711 -- "$directory"
exec 9<"$directory"
flock -w 30 9 || {{ echo "another program holds $directory" >&2; exit 1; }}
trap 'rm -f -- "$new"' EXIT
while [ $# -gt 0 ]; do
  # Of whoever was killed here: who lives holds the lock.
  rm -f -- "$1".new "$1".new.??????
  new=$(mktemp -- "$1.new.XXXXXX")
  qemu-img create -q -f qcow2 -- "$new" "$2"
  chmod 0600 "$new"
  [ -z "$owner" ] || chown "$owner" "$new"
  sync "$new"
  [ "$(see "$1")" = "$3" ] || {{ echo "$1"; exit {_IN_USE}; }}
  mv -- "$new" "$1"
  sync "$directory"
  shift 3
done
"""
)


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What is in an image's file. ``size_bytes`` is None where it cannot be looked at, or is no more (``is_gone``).

    ``trackers`` are ours, each with whether it is whole and counting. ``files`` are the image's file and those of the
    images below it, by device and inode. ``lineage`` is a digest of what tells this image, and what lies below it, from
    any other; empty when that cannot be known. ``flaw`` says why QEMU can keep no tracker in it; empty when it can.
    """

    size_bytes: int | None
    trackers: Mapping[str, bool] = field(default_factory=dict)
    is_gone: bool = False
    is_device: bool = False
    files: tuple[str, ...] = ()
    lineage: str = ""
    flaw: str = ""
    has_snapshots: bool = False


def look_into(host: Host, images: Sequence[ImageFile]) -> list[ImageInfo]:
    """What is in each of the images."""
    if not images:
        return []
    return parse_infos(check(host, ["sh", "-c", _INFO, "twinhull-info", *info_arguments(images)]))


def info_arguments(images: Sequence[ImageFile]) -> list[str]:
    """Format and path of each image, for ``info``."""
    return [word for image in images for word in (image.format, image.path)]


def parse_infos(answer: bytes) -> list[ImageInfo]:
    """What ``info`` printed."""
    parts = answer.split(b"\0")[:-1]
    return [_parse(told, facts.decode()) for told, facts in zip(parts[::2], parts[1::2], strict=True)]


def _parse(told: bytes, facts: str) -> ImageInfo:
    chain = json.loads(told or b"{}")
    chain = chain if isinstance(chain, list) else [chain]
    top, files = chain[0], [line.split() for line in facts.splitlines()]
    size = top.get("virtual-size")
    details = top.get("format-specific", {}).get("data", {})
    return ImageInfo(
        size_bytes=None if size is None else int(size),
        trackers={entry["name"]: _is_whole(entry) for entry in details.get("bitmaps", []) if _is_ours(entry)},
        is_gone=bool(top.get("is-gone")),
        is_device=bool(files) and len(files[0]) > 1 and _is_device(files[0]),
        files=tuple(file[0] for file in files if len(file) > 1),
        lineage=_lineage(files, len(chain)),
        flaw=_flaw(details),
        has_snapshots=bool(top.get("snapshots")),
    )


def _is_ours(bitmap: Mapping[str, Any]) -> bool:
    return str(bitmap["name"]).startswith(PREFIX)


def _is_whole(bitmap: Mapping[str, Any]) -> bool:
    return "auto" in bitmap["flags"] and "in-use" not in bitmap["flags"]


def _lineage(files: Sequence[Sequence[str]], chain_count: int) -> str:
    """Digest the image's inode and birth, and of each file below it also its size and when it was written to last.

    QEMU writes to the image alone; a file below that was written to, or is another one, changes the disk without a
    write. A device has no birth, and nothing tells that one below was written to.
    """
    if any(len(file) == 1 for file in files) or len(files) != chain_count:
        return ""
    top, *below = files
    if any(_is_device(file) for file in below):
        return ""
    known = ["a device" if _is_device(top) else " ".join(top[1:3]), *(" ".join(file[1:]) for file in below)]
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:16]


def _is_device(file: Sequence[str]) -> bool:
    """By the numbers of a device's driver, which are 0:0 for a file."""
    return not file[0].endswith(":0:0")


def _flaw(details: Mapping[str, Any]) -> str:
    """Why a qcow2 image can keep no tracker, or none that counts every change."""
    if details.get("compat") == "0.10":
        return "Its image has qcow2's old version 2 (compat=0.10), in which QEMU keeps no tracker."
    if details.get("data-file"):
        return "Its image keeps its data in another file, which can change without the tracker."
    return ""


def exact_sizes(host: Host, definition: Definition, infos: Sequence[ImageInfo]) -> dict[DiskKey, int]:
    """The sizes of all of a machine's disks, from a look into their images.

    Raises:
        SiteError: one cannot be looked at: going on would look as if the machine had lost that disk.
    """
    sizes = {}
    for image, info in zip(definition.disks, infos, strict=True):
        if info.size_bytes is None:
            raise SiteError(
                f"Disk {image.key} of machine '{definition.name}' on {host.name} cannot be looked at"
                f" ({image.path or 'it is no file'}); nothing was begun.",
                hint="Make that disk readable there, or take it out of the machine.",
            )
        sizes[image.key] = info.size_bytes
    return sizes


def create(host: Host, sizes: Mapping[str, int], owner: str) -> None:
    """Make empty qcow2 images of these sizes, in one directory; one that lies there is replaced.

    What was not there when it was asked for is never replaced: on a host that hung, the work of a caller who gave up is
    done late, when the images may be another one's and in use. ``owner`` is the ``UID:GID`` that they belong to, empty
    for whoever makes them.

    Raises:
        MachineBusy: somebody else made one of them meanwhile; it is left as it is.
    """
    if not sizes:
        return
    seen = check(host, ["sh", "-c", _SEE_ALL, "twinhull-see", *sizes]).decode().splitlines()
    wanted = zip(sizes.items(), seen, strict=True)
    arguments = [word for (path, size), there in wanted for word in (path, str(size), there)]
    command = ["sh", "-c", _CREATE, "twinhull-create", owner, *arguments]
    done = host.run(command)
    if done.exit_status == _IN_USE:
        raise MachineBusy(
            f"Somebody else made the image {done.stdout.decode().strip()} on {host.name} meanwhile; it was left as it"
            " is.",
            hint="Repeat the run when nothing else works on the machine: twinhull runs list.",
        )
    require_ok(host, command, done)


def grow(host: Host, image: ImageFile, size_bytes: int) -> None:
    """Make a stopped machine's image larger."""
    check(host, ["qemu-img", "resize", "-q", "-f", image.format, "--", image.path, str(size_bytes)])
