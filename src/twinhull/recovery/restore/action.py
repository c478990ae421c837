"""The action ``restore``: a point is brought to a new machine on a site, an NBD export, a block device or a file.

====  ==========  ===========================================================  =====================================
step  name        do                                                           undo
====  ==========  ===========================================================  =====================================
1     look        does the point exist, is the place free, what is it called   nothing was changed
2     write       write the point's content there, whole                       take away what was made (an NBD export
                                                                               that was given to us stays as it is)
3     hand over   to a site: the new machine starts freely. To a file: it      nothing
                  gets its name
====  ==========  ===========================================================  =====================================

Nothing that exists is overwritten unless that was asked for, and a machine never. A block device is written in place; a
link, a directory or another node that is no file is refused, and never replaced.
"""

from __future__ import annotations

from twinhull.actions.context import Context
from twinhull.actions.requests import RestoreRequest
from twinhull.model.errors import UsageError
from twinhull.model.machine import DiskKey, PointId
from twinhull.model.steps import Action, Facts, Step
from twinhull.recovery.restore import to_device as restore_device
from twinhull.recovery.restore import to_file as restore_file
from twinhull.recovery.restore import to_nbd as restore_nbd
from twinhull.recovery.restore import to_site as restore_site
from twinhull.recovery.restore.target import is_device, path_of
from twinhull.repository import Point, PointDisk


def _look(context: Context, facts: Facts) -> Facts:
    request = RestoreRequest.of(facts)
    point = point_of(context, request)
    if request.to_site:
        return restore_site.look(context, request, point)
    if request.to_path and is_device(path_of(request)):
        return {**restore_device.look(request, disk_of(request, point)), "is_device": True}
    if request.to_path:
        return restore_file.look(request, disk_of(request, point))
    return restore_nbd.look(request, disk_of(request, point))


def _write(context: Context, facts: Facts) -> Facts:
    request = RestoreRequest.of(facts)
    point = point_of(context, request)
    if request.to_site:
        return restore_site.write(context, request, point, facts)
    if facts.get("is_device"):
        return restore_device.write(context, request, disk_of(request, point))
    if request.to_path:
        return restore_file.write(context, request, disk_of(request, point))
    return restore_nbd.write(context, request, disk_of(request, point))


def _take_away(context: Context, facts: Facts) -> None:
    request = RestoreRequest.of(facts)
    if request.to_site:
        restore_site.take_away(context, request, facts)
    elif facts.get("is_device"):
        restore_device.take_away(context, request)
    elif request.to_path:
        restore_file.take_away(request)


def _hand_over(context: Context, facts: Facts) -> Facts:
    request = RestoreRequest.of(facts)
    if request.to_site:
        restore_site.hand_over(context, request, facts)
    elif request.to_path and not facts.get("is_device"):
        restore_file.hand_over(request)
    return {}


def point_of(context: Context, request: RestoreRequest) -> Point:
    """The point to be restored; raises NotFound, and UsageError where the request names no or several places."""
    if sum(place is not None for place in (request.to_site, request.to_nbd_uri, request.to_path)) != 1:
        raise UsageError("A restore goes to one place.", hint="Name a site, an NBD URI or a file.")
    return context.repository.point(PointId(request.point_id))


def disk_of(request: RestoreRequest, point: Point) -> PointDisk:
    """The one disk that is restored; raises UsageError where it must be named, or is not there."""
    keys = ", ".join(disk.key for disk in point.document.disks)
    if request.disk_key is None:
        if len(point.document.disks) == 1:
            return point.document.disks[0]
        raise UsageError(f"The point {point.id} has several disks: {keys}.", hint="Name one with --disk.")
    disk = point.disk(DiskKey(request.disk_key))
    if disk is None:
        raise UsageError(f"The point {point.id} has no disk {request.disk_key}; it has {keys}.")
    return disk


RESTORE: Action[Context] = Action(
    "restore",
    (
        Step("look", _look),
        Step("write", _write, _take_away),
        Step("hand over", _hand_over),
    ),
)
