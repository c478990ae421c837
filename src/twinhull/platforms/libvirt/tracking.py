"""Trackers: their names, their proof, and the dirty bitmaps in images while nothing runs.

A tracker is a dirty bitmap in one qcow2 image. Its name says which capture left it and for which disk::

    twinhull-CAPTURE-KEY            the bitmap, in the image
    twinhull-CAPTURE-KEY.LINEAGE    the tracker's id, which the point (or the standing) keeps

A bitmap counts what is written to its own image through QEMU, and travels with a copy of it. So it says nothing of
another disk (hence the key), of another file, nor of what lies below the image (hence the lineage, see
:class:`~twinhull.platforms.libvirt.images.ImageInfo`). A tracker whose image cannot prove all of this is not believed:
its disk is compared in full (ADR 19).

Source: QEMU, docs/interop/bitmaps.rst and docs/interop/qcow2.rst (*Bitmaps extension*).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from twinhull.hosts.host import Host, check
from twinhull.model.machine import DiskKey
from twinhull.platforms.libvirt.definition.domains import ImageFile
from twinhull.platforms.libvirt.images import PREFIX, ImageInfo, look_into
from twinhull.platforms.libvirt.opened import CANNOT_TRACK, NO_TRACKER_YET, TrackerAnswer

Disks = Sequence[tuple[ImageFile, ImageInfo]]

_NAMES = """
trackers() {
  qemu-img info --force-share -f qcow2 --output=json -- "$1" |
    sed -n 's/.*"name": "\\(twinhull-[A-Za-z0-9_-]*\\)".*/\\1/p'
}
"""

_ADD = (
    _NAMES
    + """
while [ $# -gt 0 ]; do
  trackers "$2" | grep -qxF -- "$1" || qemu-img bitmap --add -f qcow2 -- "$2" "$1" 2>&1
  printf '\\0'
  shift 2
done
exit 0
"""
)

_DROP = (
    _NAMES
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

_SNAPSHOTS = "Its image has snapshots in it, to which QEMU would not revert while it holds a tracker."
_SHARED = "Its image belongs to another disk of the machine, too, and no tracker counts what both of them write."
_UNPROVABLE = "Nothing on the host tells its image, or one below it, from another: no tracker in it could be believed."


def tracker_name(capture_id: str, key: DiskKey) -> str:
    """The name of the tracker that a capture leaves for a disk."""
    return f"{PREFIX}{capture_id}-{key}"


def tracker_id(name: str, lineage: str) -> str:
    """What a point keeps of a tracker: its name, and by which image it can be believed."""
    return f"{name}.{lineage}"


def name_of(tracker: str) -> str:
    """The tracker's name; those of older versions have no lineage."""
    return tracker.partition(".")[0]


def hindrances(disks: Disks, *, is_guarded: bool = False) -> dict[DiskKey, str]:
    """Why a disk's image can have no tracker that could be believed, one sentence; disks that can are absent.

    ``is_guarded``: the guard takes trackers out of the machine's images before it is reverted to a snapshot.
    """
    uses = Counter(file for _, info in disks for file in set(info.files))
    found = {image.key: _hindrance(info, uses, is_guarded=is_guarded) for image, info in disks}
    return {key: reason for key, reason in found.items() if reason}


def _hindrance(info: ImageInfo, uses: Mapping[str, int], *, is_guarded: bool) -> str:
    if info.flaw:
        return info.flaw
    if info.has_snapshots and not is_guarded:
        return _SNAPSHOTS
    if info.files and uses[info.files[0]] > 1:
        return _SHARED
    return "" if info.lineage else _UNPROVABLE


def proven(info: ImageInfo, hindrance: str, since: str | None) -> TrackerAnswer:
    """Whether a tracker would be of this very disk's history; that its bitmap is there and whole is asked besides."""
    if hindrance:
        return TrackerAnswer(reason=hindrance)
    if not since:
        return TrackerAnswer(reason=NO_TRACKER_YET)
    name, _, lineage = since.partition(".")
    if not lineage:
        return TrackerAnswer(reason=f"The tracker {name} is of an older version and cannot prove whose changes it has.")
    if lineage != info.lineage:
        return TrackerAnswer(
            reason=f"The tracker {name} was left in another image, or an image below this one has changed."
        )
    return TrackerAnswer(bitmap=name)


def answer_of(image: ImageFile, info: ImageInfo, hindrance: str, since: str | None) -> TrackerAnswer:
    """The same of a disk that nobody has open, with its bitmap asked for."""
    if not image.can_track:
        return TrackerAnswer(reason=CANNOT_TRACK)
    answer = proven(info, hindrance, since)
    if answer.bitmap and not info.trackers.get(answer.bitmap):
        return TrackerAnswer(reason=lost(answer.bitmap))
    return answer


def lost(name: str) -> str:
    """The reason of a tracker that was there once."""
    return f"The tracker {name} is missing or broken (its QEMU was killed, or the image was replaced)."


def not_left(key: DiskKey, complaint: str) -> str:
    """The reason of a disk in which no new tracker could be left."""
    return f"Disk {key} got no tracker ({complaint}): the next capture compares it in full."


def trackers_in(host: Host, images: Sequence[ImageFile]) -> set[str]:
    """The names of all trackers of ours in the images."""
    infos = look_into(host, [image for image in images if image.can_track])
    return {name for info in infos for name in info.trackers}


def add_trackers(host: Host, disks: Disks, capture_id: str) -> tuple[dict[DiskKey, str], list[str]]:
    """Leave a tracker in each image that can have one; safe to repeat.

    Returns the trackers' ids, and a reason for each that could not be left: that costs a comparison, no point.
    """
    hindered = hindrances(disks)
    wanted = [(image, info) for image, info in disks if image.can_track and image.key not in hindered]
    if not wanted:
        return {}, []
    names = {image.key: tracker_name(capture_id, image.key) for image, _ in wanted}
    words = [word for image, _ in wanted for word in (names[image.key], image.path)]
    complaints = check(host, ["sh", "-c", _ADD, "twinhull-track", *words]).decode().split("\0")[:-1]
    left, reasons = {}, []
    for (image, info), complaint in zip(wanted, complaints, strict=True):
        if complaint.strip():
            reasons.append(not_left(image.key, " ".join(complaint.split())))
        else:
            left[image.key] = tracker_id(names[image.key], info.lineage)
    return left, reasons


def drop_trackers(host: Host, images: Sequence[ImageFile], names: Collection[str]) -> None:
    """Take these trackers out of the images; safe to repeat."""
    if names:
        _drop(host, images, "these", names)


def drop_other_trackers(host: Host, images: Sequence[ImageFile], kept: Collection[str]) -> None:
    """Take every tracker of ours but these out of the images; safe to repeat."""
    _drop(host, images, "others", kept)


def _drop(host: Host, images: Sequence[ImageFile], which: str, names: Collection[str]) -> None:
    paths = [image.path for image in images if image.can_track]
    if paths:
        check(host, ["sh", "-c", _DROP, "twinhull-untrack", which, " ".join(sorted(names)), *paths])
