"""What a run would do, as lines for a question or ``--dry-run``: pure, from what was looked at.

``look`` (of :mod:`twinhull.replication.standing`) gives the situation, the repository the points; nothing is changed
by either.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from twinhull.actions.requests import FailoverRequest, RestoreRequest, RollbackRequest, SyncRequest
from twinhull.actions.telling import called, called_by_id, lost, told
from twinhull.cluster.epochs import corrections
from twinhull.cluster.situation import Side, Situation
from twinhull.model.machine import Standing
from twinhull.model.units import format_bytes, format_duration
from twinhull.recovery.failover.looking import latest_to_start, next_epoch, require_possible
from twinhull.recovery.restore.target import is_device, path_of
from twinhull.recovery.unfenced import until_it_is_fenced
from twinhull.replication.bases import choose_base
from twinhull.replication.divergent import is_unkept
from twinhull.repository import Point, latest_point


def plan_sync(request: SyncRequest, situation: Situation, points: Sequence[Point]) -> list[str]:
    """What a sync would do."""
    source = situation.side(request.source)
    base = choose_base(points, request.source, source.standing)
    lines = _due(situation)
    if base.point is None:
        lines.append(f"Capture {_name(source, request.machine_id)} on {request.source} in full: it has no point yet.")
    elif request.compare_reason or not base.trackers:
        why = f": {request.compare_reason}" if request.compare_reason else ""
        name = _name(source, request.machine_id)
        lines.append(f"Capture {name} on {request.source}, comparing all of its disks{why}.")
    else:
        lines.append(f"Capture what changed on {request.source} since {called(base.point)}.")
    if request.target:
        lines += _keeping(situation.side(request.target), points, is_dropping=request.is_dropping_divergent)
        lines.append(
            f"Bring the replica on {request.target} from {_at(situation.side(request.target))} to the new point."
        )
    if request.is_verifying:
        lines.append("Verify the whole replica by hashes.")
    return lines


def plan_failover(
    request: FailoverRequest,
    situation: Situation,
    points: Sequence[Point],
    now: datetime,
    obstacles: Sequence[str] = (),
    *,
    word: str = "failover",
) -> list[str]:
    """What a failover or failback (its ``word``) would do; raises what it would refuse.

    ``obstacles`` are what the target says of the replica as it is now.
    """
    require_possible(request, situation)
    epoch = next_epoch(request, situation)
    source, target = situation.side(request.source), situation.side(request.target)
    lines = _due(situation)
    if not request.is_planned and not request.to_point_id and latest_point(points):
        latest_to_start(request.target, situation, points)
    if request.is_planned:
        lines += _planned(request, source, epoch)
    else:
        lines += _unplanned(request, situation, points, now, word)
    if not request.is_without_repository:
        lines += _keeping(target, points, is_dropping=request.is_dropping_divergent)
        lines.append(f"Bring the replica on {request.target} from {_at(target)} to that point.")
    lines += [
        *(f"As the replica is now, this will be refused: {obstacle}" for obstacle in obstacles),
        f"Make {request.target} the primary in epoch {epoch}: from here on there is no way back but failback.",
        f"Start {_name(target, _name(source, request.machine_id))} on {request.target} and wait until it runs.",
    ]
    if request.is_planned:
        lines.append(f"Keep {request.source} as the replica, at the last point.")
    return lines


def plan_rollback(
    request: RollbackRequest,
    situation: Situation,
    points: Sequence[Point],
    now: datetime,
    obstacles: Sequence[str] = (),
) -> list[str]:
    """What a rollback would do; ``obstacles`` are what the machine's site says of it as it is now."""
    side = situation.side(request.site)
    wanted = next((point for point in points if point.id == request.to_point_id), None)
    to = told(wanted, now) if wanted else called_by_id(situation.name, request.to_point_id)
    lines = _due(situation)
    if side.is_running:
        lines.append(f"Stop {_name(side, request.machine_id)} on {request.site}.")
    if request.is_keeping_present:
        lines.append("Capture what is there now as a point, so that nothing is lost.")
    lines.append(f"Put its disks back to {to}; only what differs is written.")
    is_starting = side.is_running if request.is_starting is None else request.is_starting
    lines.append("Start it again." if is_starting else "Leave it off.")
    if is_starting:
        lines += [f"As the machine is now, it would not start: {obstacle}" for obstacle in obstacles]
    return lines


def plan_reconcile(situation: Situation) -> list[str]:
    """What a reconciliation would do, on the sites that answer."""
    return [correction.reason for correction in corrections(situation)]


def plan_restore(request: RestoreRequest, point: Point, now: datetime) -> list[str]:
    """What a restore would do."""
    disks = [disk for disk in point.document.disks if request.disk_key in (None, disk.key)]
    size = format_bytes(sum(disk.root.size_bytes for disk in disks))
    what = f"{', '.join(disk.key for disk in disks)} ({size}) of {told(point, now)}"
    if request.to_site:
        name = request.new_name or f"{point.document.spec['name']}-restored"
        return [f"Make a new machine {name} on {request.to_site}, powered off, from {what}."]
    if request.to_path:
        if is_device(path_of(request)):
            return [f"Write {what} onto the block device {request.to_path}; what it holds now is replaced."]
        return [f"Write {what} to {request.to_path} as {request.file_format}{_replacing(request)}."]
    return [f"Write {what} to {request.to_nbd_uri}; what it holds now is replaced."]


def _planned(request: FailoverRequest, source: Side, epoch: int) -> list[str]:
    name = _name(source, request.machine_id)
    lines = []
    if source.is_running:
        lines.append(f"Sync {name} from {request.source} to {request.target} while it runs.")
    lines.append(f"Fence {request.source} at epoch {epoch}, so that nothing starts the machine there.")
    if source.is_running:
        grace = format_duration(request.grace_seconds)
        lines.append(f"Shut {name} down on {request.source} (at most {grace}, then switch it off).")
    return [*lines, "Capture the last changes of the stopped machine: nothing is lost."]


def _unplanned(
    request: FailoverRequest, situation: Situation, points: Sequence[Point], now: datetime, word: str
) -> list[str]:
    first = _take_down(request, situation, points, word)
    if request.is_without_repository:
        return [*first, *_as_it_is(request, situation.name, now)]
    wanted = next((point for point in points if point.id == request.to_point_id), latest_point(points))
    if not wanted:
        return [*first, "There is no point to start from: this will be refused."]
    return [*first, f"Start from {told(wanted, now)}.", lost(situation.name, wanted.captured_at, now)]


def _take_down(request: FailoverRequest, situation: Situation, points: Sequence[Point], word: str) -> list[str]:
    """What is done about the source; a healthy one that answers need not be taken by force."""
    source, epoch = situation.side(request.source), next_epoch(request, situation)
    if not source.is_reachable:
        skipped = f"Stop the machine on {source.site}: skipped, it does not answer, so it is not fenced."
        return [f"{skipped} {until_it_is_fenced(situation.name, source.site)}"]
    fence = f"Fence {request.source} at epoch {epoch} and switch the machine off there."
    if not source.is_running or is_unkept(source.standing, {point.id: point for point in points}):
        return [fence]
    better = f"'twinhull {word} {situation.name} --planned' would lose nothing."
    return [f"{request.source} answers and runs {situation.name}: {better}", fence]


def _as_it_is(request: FailoverRequest, name: str, now: datetime) -> list[str]:
    captured_at = datetime.fromisoformat(request.captured_at) if request.captured_at else None
    at = called_by_id(name, str(request.to_point_id))
    return [f"Start from the replica as it is, at {at}; the repository is not asked.", lost(name, captured_at, now)]


def _keeping(side: Side, points: Sequence[Point], *, is_dropping: bool) -> list[str]:
    """What happens to what the side had written after it lost the machine."""
    if side.status is None or not is_unkept(side.standing, {point.id: point for point in points}):
        return []
    what = f"what was written on {side.site} after it had lost the machine"
    return [f"Overwrite {what}, without keeping it." if is_dropping else f"Keep {what} as a divergent point."]


def _due(situation: Situation) -> list[str]:
    return [f"First put right: {correction.reason}" for correction in corrections(situation)]


def _name(side: Side, otherwise: str) -> str:
    return side.status.spec.name if side.status else otherwise


def _at(side: Side) -> str:
    standing: Standing | None = side.standing
    if standing is None or side.status is None:
        return "nothing"
    if standing.is_dirty:
        return "half-way between two points"
    return called_by_id(_name(side, "point"), standing.point_id) if standing.point_id else "an unknown state"


def _replacing(request: RestoreRequest) -> str:
    return ", replacing what is there" if request.is_overwriting else ""
