"""The first step of a failover: who is primary, may the target take over, which epoch comes."""

from __future__ import annotations

from collections.abc import Sequence

from twinhull.actions.context import Context
from twinhull.actions.requests import FailoverRequest
from twinhull.cluster.epochs import current_claim, current_epoch, primary
from twinhull.cluster.permission import require_primary
from twinhull.cluster.situation import Side, Situation
from twinhull.model.errors import NotFound, ReplicaDirty, SafetyError, SiteUnreachable, UsageError
from twinhull.model.machine import MachineSpec, PointId, Role
from twinhull.model.steps import Facts
from twinhull.platforms.contract import ReplicaRequest, Site
from twinhull.recovery.before_stop import Asked, require_endable
from twinhull.recovery.starting import require_startable
from twinhull.replication.capture import require_whole
from twinhull.replication.standing import look_and_correct
from twinhull.replication.sync import boot_mode_of, require_answer, require_two_sites, with_reasons
from twinhull.repository import Point, latest_point, parse_point_id

_LEAP = 100
"""How far the epoch rises if the highest one cannot be known: the points, or the source's standing, are not read."""


def look_at_both(context: Context, facts: Facts) -> Facts:
    """Check that the failover makes sense, and choose the new epoch; changes nothing but a stale side."""
    request = FailoverRequest.of(facts)
    require_two_sites(request.source, request.target)
    situation, reasons = look_and_correct(context, request.machine_id, (request.source, request.target))
    require_answer(situation, request.target)
    require_possible(request, situation)
    wanted = None if request.is_without_repository else wanted_point(context, request, situation)
    source, target = situation.side(request.source), situation.side(request.target)
    status = source.status or target.status
    name = status.spec.name if status else str(wanted.document.spec["name"]) if wanted else request.machine_id
    if source.is_running and target.status and not request.is_planned:
        # It would be switched off at once, and started again for nothing.
        require_startable(name, request.target, context.site(request.target).power.obstacles(request.machine_id))
    if request.is_planned and source.status:
        sites = context.site(request.source), context.site(request.target)
        require_endable(asked_by_failover(request, source.status.spec, *sites))
    return {
        "epoch": next_epoch(request, situation),
        "claim": request.run_id,
        "past_claim": current_claim(situation),
        "machine_name": name,
        "was_running": source.is_running,
        "was_silent": not source.is_reachable,
        "wanted_point_id": wanted.id if wanted else request.to_point_id,
        "asked_at_seconds": context.ports.clock.monotonic(),
        "reasons": with_reasons(facts, *reasons),
    }


def asked_by_failover(request: FailoverRequest, spec: MachineSpec, source: Site, target: Site) -> Asked:
    """What is asked before a planned failover stops the machine of that spec."""
    return Asked(spec, source, target, ReplicaRequest(spec, request.networks, boot_mode_of(request.boot_mode)))


def next_epoch(request: FailoverRequest, situation: Situation) -> int:
    """The epoch that the failover raises the target to.

    Failovers that were undone have raised that of a source which may be silent now, or whose standing cannot be read.
    The points may know it.
    """
    is_blind = request.is_without_repository or is_unreadable(situation.side(request.source))
    return max(current_epoch(situation), 1) + (_LEAP if is_blind else 1)


def is_unreadable(side: Side) -> bool:
    """Whether the side holds a standing that cannot be read: for an unplanned failover it is past."""
    return side.standing is not None and side.standing.role is Role.UNREADABLE


def require_possible(request: FailoverRequest, situation: Situation) -> None:
    """Refuse what cannot be, or what has been already; raises UsageError, NotFound, and what keeps it from being."""
    source, holder = situation.side(request.source), primary(situation)
    if holder and holder.site == request.target:
        raise UsageError(
            f"{situation.name} is on {request.target} already (epoch {current_epoch(situation)}); nothing was done.",
            hint=f"To bring it home: twinhull failback {situation.name}",
        )
    if request.is_planned and not source.is_reachable:
        raise SiteUnreachable(
            f"The site {request.source} does not answer: {source.reason}. A planned failover needs it.",
            hint=f"If that site is lost, start the replica: twinhull failover {situation.name} --unplanned",
        )
    if request.is_planned and request.to_point_id:
        raise UsageError(
            "A planned failover loses nothing, so it starts from no earlier point.",
            hint="Leave out --point, or use --unplanned.",
        )
    if request.is_planned and source.status is None:
        raise NotFound(f"There is no machine {request.machine_id} on {request.source}.")
    if request.is_planned:
        require_whole(request.machine_id, request.source, source.standing)
    if request.is_without_repository and replica_point(situation.side(request.target)) != request.to_point_id:
        raise ReplicaDirty(
            f"The replica on {request.target} is not at {request.to_point_id}; nothing was done.",
            hint="Something else works on it: see 'twinhull status', then ask again.",
        )
    if request.is_without_repository and situation.side(request.target).status is None:
        raise NotFound(
            f"The machine {request.machine_id} is not on {request.target} any more; nothing was done.",
            hint="Only the repository could bring it there anew: see docs/repository.md.",
        )
    is_past = not request.is_planned and is_unreadable(source)
    if source.is_reachable and not is_past and not _is_resumable(situation, request.source):
        require_primary(situation, request.source)


def replica_point(side: Side) -> PointId | None:
    """The point that the side's replica is at, and could be started from as it is; None where there is none."""
    held = side.standing
    return held.point_id if held and held.role is Role.REPLICA and not held.is_dirty else None


def _is_resumable(situation: Situation, source: str) -> bool:
    """Whether an earlier failover has fenced the source at the current epoch and nobody took over."""
    standing = situation.side(source).standing
    is_last = standing is not None and standing.epoch == current_epoch(situation)
    is_fenced = is_last and standing is not None and standing.role is Role.FENCED
    return is_fenced and primary(situation) is None and all(side.is_reachable for side in situation.sides)


def wanted_point(context: Context, request: FailoverRequest, situation: Situation) -> Point | None:
    """The point from which an unplanned failover starts: the asked one, or the machine's latest. None where planned.

    Raises NotFound where there is none, UsageError where it is of another machine.
    """
    if request.is_planned:
        return None
    if request.to_point_id:
        point = context.repository.point(PointId(request.to_point_id))
        if point.machine_id != request.machine_id:
            raise UsageError(f"The point {point.id} is of another machine.")
        return point
    return latest_to_start(request.target, situation, context.points(request.machine_id))


def latest_to_start(target: str, situation: Situation, points: Sequence[Point]) -> Point:
    """The machine's latest point, from which an unplanned failover starts if no point was named; raises NotFound.

    Raises SafetyError if the replica is at a later one that the repository cannot give (its document is damaged, or it
    was removed): what is on the replica's disks is not given up for an older point without being asked.
    """
    latest, held = latest_point(points), replica_point(situation.side(target))
    if latest is None:
        raise NotFound(
            f"{situation.name} has no point to start from: it was never synced.",
            hint=f"When its site answers: twinhull sync {situation.name}",
        )
    if held and held not in {point.id for point in points} and parse_point_id(held)[1] > latest.sequence:
        failover = f"twinhull failover {situation.name} --unplanned"
        raise SafetyError(
            f"The replica on {target} is at {held}, which the repository cannot give; it can give {latest.id}, which "
            "is older. Nothing was done.",
            hint=f"To start the replica as it is: '{failover} --without-repository'. "
            f"To go back to the older point: '{failover} --point {latest.sequence}'.",
        )
    return latest
