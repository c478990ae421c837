"""What a side wrote after it had lost the machine to another one: kept as a point before anything overwrites it.

::

    unplanned failover ──▶ the old side goes on, unseen ──▶ it comes back: fenced, stopped ──▶ it becomes the replica
                                                                                            └─▶ first, this

Such a point is *divergent*: the machine's own points go on from another one, so none is counted back over it, none goes
on from it by default, and retention leaves it alone because it is held (ADR 16). The standing then names it, so that a
killed run keeps nothing twice, and the replica is brought from it by what differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from twinhull.actions.context import Context
from twinhull.model.errors import TwinhullError
from twinhull.model.machine import MachineId, PointId, Role, SiteName, Standing
from twinhull.replication.bases import capture_of, is_of
from twinhull.replication.capture import CaptureOrder, capture_divergent
from twinhull.repository import Point

_LABEL = "divergent"


def is_kept(standing: Standing, points: Mapping[PointId, Point]) -> bool:
    """Whether a fenced side's disks are at a divergent point of that site, which nothing has changed since."""
    point = points.get(standing.point_id) if standing.point_id else None
    return point is not None and point.document.is_divergent and is_of(point, standing)


def is_unkept(standing: Standing | None, points: Mapping[PointId, Point]) -> bool:
    """Whether a side's disks may hold what no point holds: it was primary and lost that, or its replica was started."""
    if standing is None:
        return False
    was_started = standing.role is Role.REPLICA and standing.is_dirty and standing.applying_point_id is None
    return was_started or (standing.role is Role.FENCED and not is_kept(standing, points))


def keep_divergent(context: Context, machine_id: MachineId, name: SiteName, standing: Standing) -> Point | None:
    """Make a point of the stopped machine's disks, hold it, and let the standing name it; None if nothing differs.

    Raises what a capture raises, with the way to do without; nothing was overwritten then.
    """
    try:
        point = capture_divergent(context, CaptureOrder(_LABEL, machine_id, name, is_freezing=False), standing)
    except TwinhullError as error:
        raise type(error)(
            f"What was written on {name} after it had lost the machine could not be kept as a point, so its disks were "
            f"left as they are: {error.message}",
            hint=f"{error.hint} To overwrite it all the same, add --drop-divergent to the command.".strip(),
        ) from error
    if point is None:
        return None
    context.repository.hold_point(point.id, f"what {name} had written after it lost the machine")
    at_point = replace(standing, role=Role.FENCED, point_id=point.id, is_dirty=False, capture=capture_of(point))
    context.site(name).standings.write(at_point)
    return point


def told(point: Point) -> str:
    """The reason that says what was kept, and how to see it and to let it go."""
    name, site = f"{point.document.spec['name']}:{point.sequence}", point.document.source_site
    return (
        f"What was written on {site} after it had lost the machine is kept as the divergent point {name}, and held. "
        f"To see it: 'twinhull points show {name}'. When nobody needs it: 'twinhull points release {name}'."
    )
