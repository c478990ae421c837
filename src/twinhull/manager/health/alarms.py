"""The rules for what is not well, one for each state of :mod:`twinhull.manager.health.health`."""

from __future__ import annotations

from collections.abc import Iterator

from twinhull.cluster.epochs import Deed, corrections, current_epoch, running_sides
from twinhull.cluster.situation import Side
from twinhull.manager.health.evidence import Evidence, clock_time
from twinhull.manager.health.health import Finding, Health
from twinhull.model.errors import DataError
from twinhull.model.lacks import Consequence, Lack, lacks_from_json
from twinhull.model.machine import PowerState, Role
from twinhull.model.units import format_duration
from twinhull.platforms.contract import Grade

RESUME = "twinhull runs resume"


def runs_twice(known: Evidence) -> Iterator[Finding]:
    """Two sides run; or one runs that may not, and no run of ours is just stopping it."""
    running = running_sides(known.situation)
    due = corrections(known.situation)
    if len(running) > 1:
        where = " and ".join(f"on {side.site} ({_rights(known, side)})" for side in running)
        yield Finding(Health.RUNS_TWICE, f"{known.name} RUNS TWICE, {where}. {_way_out(known)}", _stopping(known))
        return
    wrong = [item for item in due if item.deed is Deed.STOP]
    if wrong and not known.moving:
        command = RESUME if known.interrupted_move else _stopping(known)
        yield Finding(Health.RUNS_TWICE, f"{wrong[0].reason} {_way_out(known)}", command)


def _rights(known: Evidence, side: Side) -> str:
    if side.standing is None:
        return "no standing"
    if side.standing.role is Role.UNREADABLE:
        return "standing unreadable"
    epoch = current_epoch(known.situation)
    is_primary = side.standing.role is Role.PRIMARY
    word = ("current" if side.standing.epoch == epoch else "stale") if is_primary else side.standing.role.value
    return f"{word}, epoch {side.standing.epoch}"


def _way_out(known: Evidence) -> str:
    due = corrections(known.situation)
    stopped = [item.site for item in due if item.deed is Deed.STOP]
    if stopped:
        return f"'twinhull serve', or any run of the machine, switches it off on {' and '.join(stopped)}."
    return "The standings do not say which one is current: keep the one whose data you need, switch the other one off."


def _stopping(known: Evidence) -> str:
    return f"twinhull sync {known.word}" if any(item.is_automatic for item in corrections(known.situation)) else ""


def down(known: Evidence) -> Iterator[Finding]:
    """It runs nowhere, and should; not while a run of ours has stopped it."""
    if known.moving or running_sides(known.situation):
        return
    left, home = known.interrupted_move, known.home
    if home and not home.is_reachable:
        return
    if left:
        told = f"{known.name} is DOWN: {left.run_id} was interrupted, and the machine runs nowhere."
        yield Finding(Health.DOWN, f"{told} Finish it:", RESUME)
    elif home is None:
        told = f"{known.name} is DOWN: no side is its primary, so it may start nowhere."
        yield Finding(Health.DOWN, f"{told} {take_over_text(known)}", take_over(known))
    elif home.status is None:
        told = f"{known.name} is DOWN: {home.site} does not have the machine any more."
        yield Finding(Health.DOWN, f"{told} {take_over_text(known)}", take_over(known))
    elif home.power is PowerState.CRASHED:
        told = f"{known.name} is DOWN: it crashed on {home.site}. Start it there again, or take over."
        yield Finding(Health.DOWN, f"{told} {take_over_text(known)}", take_over(known))
    elif home.standing and home.standing.is_dirty:
        told = f"{known.name} is DOWN: its disks on {home.site} are between two points. Finish the rollback:"
        yield Finding(Health.DOWN, told, RESUME)


def take_over(known: Evidence) -> str:
    """The command that starts the replica, if there is one that could be started."""
    side = known.replica
    held = side.standing if side else None
    if side is None or not side.is_reachable or side.status is None or held is None or held.role is not Role.REPLICA:
        return ""
    kind = "failback" if side.site == known.plan.source else "failover"
    if not known.is_repository_away:
        return f"twinhull {kind} {known.word} --unplanned"
    return "" if held.is_dirty else f"twinhull {kind} {known.word} --unplanned --without-repository"


def take_over_text(known: Evidence) -> str:
    """What taking over would lose, or why there is nothing to take over with."""
    if not take_over(known):
        return "No replica that answers could take over."
    if not known.replica_time:
        return "Taking over starts the replica; how old it is is not known."
    return f"Taking over loses what {known.name} wrote after {clock_time(known.replica_time)}."


def rpo_missed(known: Evidence) -> Iterator[Finding]:
    """The replica is too old. A paused plan misses nothing, and a move ends in a new replica."""
    if known.plan.is_paused or known.moving or not known.is_late or known.lag_seconds is None or not known.replica:
        return
    lag, rpo = format_duration(known.lag_seconds), format_duration(known.plan.rpo_seconds)
    told = f"The replica on {known.replica.site} is {lag} old (RPO: {rpo})."
    silent = known.home if known.home and not known.home.is_reachable else None
    if silent:
        yield Finding(Health.RPO_MISSED, told, take_over(known))
    else:
        running = f" {known.syncing.run_id} is running." if known.syncing else ""
        yield Finding(Health.RPO_MISSED, told + running, f"twinhull sync {known.word}")


def cannot_take_over(known: Evidence) -> Iterator[Finding]:
    """There is a replica, and it could not be started."""
    side = known.replica
    if side is None or known.moving:
        return
    told = f"The replica of {known.name} on {side.site}"
    if not side.is_reachable:
        if known.home and known.home.is_reachable:
            said = f"{known.silence(side)} No replica there can take over."
            yield Finding(Health.CANNOT_TAKE_OVER, said, f"twinhull site check {side.site}")
        return
    if side.standing and side.standing.role is Role.UNREADABLE:
        said = f"What {side.site} holds about {known.name} cannot be read: the replica is not started there."
        yield Finding(Health.CANNOT_TAKE_OVER, said, f"twinhull sync {known.word}")
    elif side.standing and side.standing.role is Role.REPLICA:
        yield from _unfit(known, side, told)


def _unfit(known: Evidence, side: Side, told: str) -> Iterator[Finding]:
    again = f"twinhull sync {known.word}"
    if side.status is None:
        yield Finding(Health.CANNOT_TAKE_OVER, f"{told} is gone; the next sync makes it anew.", again)
    elif side.standing and side.standing.is_dirty and not known.syncing:
        said = f"{told} is between two points, and nothing is writing it; the next sync finishes it."
        yield Finding(Health.CANNOT_TAKE_OVER, said, RESUME if known.left else again)
    show = f"twinhull machine show {known.word}"
    for obstacle in _obstacles(known):
        yield Finding(Health.CANNOT_TAKE_OVER, f"{told} would not start: {obstacle}", show)
    for lack in lacks(known):
        if lack.consequence is Consequence.WILL_NOT_BOOT:
            yield Finding(Health.CANNOT_TAKE_OVER, lack.reason, show)


def _obstacles(known: Evidence) -> list[str]:
    """What the latest sync to it found that would keep it from starting."""
    found = known.sync_to_replica.result.get("obstacles") if known.sync_to_replica else None
    return [str(obstacle) for obstacle in found] if isinstance(found, list) else []


def lacks(known: Evidence) -> list[Lack]:
    """What the replica lacks of the machine, as the latest sync to it found."""
    found = known.sync_to_replica.result.get("lacks") if known.sync_to_replica else None
    try:
        return list(lacks_from_json(found))
    except DataError as error:
        return [Lack(f"something that cannot be read ({error.message})", Consequence.WILL_NOT_BOOT)]


def unguarded(known: Evidence) -> Iterator[Finding]:
    """A site that holds no standings: nothing there tells which side may run."""
    for side in known.situation.sides:
        if side.guard and side.guard.grade is Grade.NONE:
            told = f"{side.site} cannot hold standings, so {known.name} cannot be protected there. {side.guard.reason}"
            yield Finding(Health.CANNOT_TAKE_OVER, told, f"twinhull site check {side.site} --look-only")


def weakly_guarded(known: Evidence) -> Iterator[str]:
    """A site whose host starts the machine for anyone who asks, whatever its standing says."""
    for side in known.situation.sides:
        if side.guard and side.guard.grade is Grade.NOTICES:
            yield f"{side.site} does not refuse to start {known.name} for others, only notices it: {side.guard.reason}"


def no_replica(known: Evidence) -> Iterator[Finding]:
    """There is nothing that could ever take over."""
    side = known.replica
    if known.moving or known.syncing or (side and not side.is_reachable) or len(running_sides(known.situation)) > 1:
        return
    held = side.standing if side else None
    has_replica = held is not None and held.role in (Role.REPLICA, Role.UNREADABLE)
    is_at_no_point = has_replica and held is not None and not held.is_dirty and held.role is Role.REPLICA
    if side and has_replica and not (is_at_no_point and held and held.point_id is None):
        return
    why = "" if known.latest else " It has no restore point yet."
    where = f" on {side.site}" if side else ""
    told = f"{known.name} has no replica{where}.{why} The next sync makes it."
    yield Finding(Health.NO_REPLICA, told, f"twinhull sync {known.word}")
