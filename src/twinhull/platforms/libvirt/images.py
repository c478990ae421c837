"""Disk images on a site's host: made, grown, looked at; and the trackers in them while nothing runs.

A tracker is a dirty bitmap in a qcow2 image, called ``twinhull-CAPTURE``. Each function is one command on the host,
whatever the number of images: behind ssh it is the number of commands that costs.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from twinhull.model.errors import MachineBusy, SiteError
from twinhull.model.machine import DiskKey
from twinhull.platforms.hosts import Host, check, require_ok
from twinhull.platforms.libvirt.domains import Definition, ImageFile

PREFIX = "twinhull-"

INFO = """
info() {
  if [ ! -e "$2" ]; then printf '{"is-gone": true}'
  elif [ -b "$2" ]; then
    if size=$(blockdev --getsize64 "$2"); then printf '{"virtual-size": %s}' "$size"; else printf '{}'; fi
  else qemu-img info --force-share --output=json -f "$1" -- "$2" || printf '{}'; fi
  printf '\\0'
}
"""
"""The shell function ``info FORMAT PATH``: what is known of an image, as JSON, ended by a zero byte.

Nothing is known of one that cannot be looked at, such as a device of a dead multipath or of DRBD's other side.
"""

_INFO = INFO + 'while [ $# -gt 0 ]; do info "$1" "$2"; shift 2; done'

_TRACKERS = """
trackers() { qemu-img info --force-share -f qcow2 --output=json -- "$1" | sed -n 's/.*"name": "\\(twinhull-[a-z0-9-]*\\)".*/\\1/p'; }
"""  # noqa: E501 - one command

_ADD = (
    _TRACKERS
    + """
name=$1; shift
for image; do
  trackers "$image" | grep -qx -- "$name" || qemu-img bitmap --add -f qcow2 -- "$image" "$name" || exit 1
done
"""
)

_DROP = (
    _TRACKERS
    + """
which=$1 names=$2; shift 2
for image; do
  for name in $(trackers "$image"); do
    case " $names " in *" $name "*) it=these;; *) it=others;; esac
    [ "$it" != "$which" ] || qemu-img bitmap --remove -f qcow2 -- "$image" "$name" || exit 1
  done
done
"""
)

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
flock 9
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

    ``trackers`` are ours, each with whether it is whole and counting.
    """

    size_bytes: int | None
    trackers: Mapping[str, bool]
    is_gone: bool = False


def tracker_name(capture_id: str) -> str:
    """The name of the tracker that a capture leaves."""
    return PREFIX + capture_id


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
    return [_parse(json.loads(part or b"{}")) for part in answer.split(b"\0")[:-1]]


def _parse(info: Mapping[str, Any]) -> ImageInfo:
    size = info.get("virtual-size")
    bitmaps = info.get("format-specific", {}).get("data", {}).get("bitmaps", [])
    trackers = {
        entry["name"]: "auto" in entry["flags"] and "in-use" not in entry["flags"]
        for entry in bitmaps
        if entry["name"].startswith(PREFIX)
    }
    return ImageInfo(None if size is None else int(size), trackers, is_gone=bool(info.get("is-gone")))


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


def trackers_in(host: Host, images: Sequence[ImageFile]) -> set[str]:
    """The names of all trackers of ours in the images."""
    infos = look_into(host, [image for image in images if image.can_track])
    return {name for info in infos for name in info.trackers}


def add_tracker(host: Host, images: Sequence[ImageFile], name: str) -> None:
    """Leave a tracker in each image that can have one; safe to repeat."""
    paths = [image.path for image in images if image.can_track]
    if paths:
        check(host, ["sh", "-c", _ADD, "twinhull-track", name, *paths])


def drop_trackers(host: Host, images: Sequence[ImageFile], names: Collection[str]) -> None:
    """Take these trackers out of the images; safe to repeat."""
    if names:
        _drop(host, images, "these", names)


def drop_other_trackers(host: Host, images: Sequence[ImageFile], kept: str) -> None:
    """Take every tracker of ours but that one out of the images; safe to repeat."""
    _drop(host, images, "others", [kept])


def _drop(host: Host, images: Sequence[ImageFile], which: str, names: Collection[str]) -> None:
    paths = [image.path for image in images if image.can_track]
    if paths:
        check(host, ["sh", "-c", _DROP, "twinhull-untrack", which, " ".join(sorted(names)), *paths])


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
