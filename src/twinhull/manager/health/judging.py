"""The verdict on one machine: every rule is asked, and the most alarming finding is its health."""

from __future__ import annotations

from collections.abc import Iterator

from twinhull.cluster.epochs import corrections, running_sides
from twinhull.manager.health import alarms
from twinhull.manager.health.alarms import take_over, take_over_text
from twinhull.manager.health.evidence import Evidence
from twinhull.manager.health.health import Finding, Health, Verdict
from twinhull.model.lacks import Consequence
from twinhull.model.machine import PowerState, Role
from twinhull.model.units import format_duration


def judge(known: Evidence) -> Verdict:
    """What the evidence says."""
    found = [finding for rule in _RULES for finding in rule(known)]
    return Verdict.of([*found, *(() if found else _well(known))])


def _unknown(known: Evidence) -> Iterator[Finding]:
    """Whether it runs, or how old its replica is, cannot be said."""
    home = known.home
    if home and not home.is_reachable:
        told = f"{known.silence(home)} Whether {known.name} runs there is unknown."
        yield Finding(Health.UNKNOWN, f"{told} {take_over_text(known)}", take_over(known))
        return
    if home and home.standing and home.standing.role is Role.UNREADABLE:
        told = f"What {home.site} holds about {known.name} cannot be read: {_damage(home.reason)}"
        yield Finding(Health.UNKNOWN, f"{told} {take_over_text(known)}", take_over(known))
    elif home and home.standing is None and not known.is_new:
        told = f"{home.site} has lost its standing of {known.name}; the next sync writes it again."
        yield Finding(Health.UNKNOWN, told, f"twinhull sync {known.word}")
    due = corrections(known.situation)
    if due and not known.moving and len(running_sides(known.situation)) <= 1:  # else that is said
        told = f"{due[0].reason} 'twinhull serve' corrects that, or the machine's next run."
        yield Finding(Health.UNKNOWN, told, f"twinhull sync {known.word}")
    yield from _unknown_age(known)


def _damage(reason: str) -> str:
    return reason or "it does not start there, and is not stopped."


def _unknown_age(known: Evidence) -> Iterator[Finding]:
    side = known.replica
    if (
        known.moving
        or side is None
        or not side.is_reachable
        or known.lag_seconds is not None
        or not known.replica_point
    ):
        return
    told = f"The replica of {known.name} on {side.site} is at {known.point(known.replica_point)}"
    if known.is_from_the_future:
        told += ", which is dated in the future: the clock was set back, and its age is not known."
    else:
        told += ", and when that was captured is not known."
    yield Finding(Health.UNKNOWN, f"{told} The next sync brings it to a new point.", f"twinhull sync {known.word}")


def _in_progress(known: Evidence) -> Iterator[Finding]:
    run = known.moving
    if run:
        told = f"A {run.kind} of {known.name} is running ({run.run_id}); until it ends, nothing protects the machine."
        yield Finding(Health.IN_PROGRESS, told, f"twinhull runs show {run.run_id}")
    elif known.syncing and known.lag_seconds is None:
        told = f"{known.syncing.run_id} is making a replica of {known.name} that can take over; there is none yet."
        yield Finding(Health.IN_PROGRESS, told, f"twinhull runs show {known.syncing.run_id}")


def _interrupted(known: Evidence) -> Iterator[Finding]:
    if known.left and not known.at_work:
        told = f"{known.left[0].run_id} was interrupted. 'twinhull serve' finishes it, or the machine's next run."
        yield Finding(Health.IN_PROGRESS, told, alarms.RESUME)


def _paused(known: Evidence) -> Iterator[Finding]:
    if known.plan.is_paused:
        age = f" The replica is {format_duration(known.lag_seconds)} old." if known.lag_seconds is not None else ""
        told = f"The plan {known.plan.name} is paused: nothing is synced.{age}"
        yield Finding(Health.PAUSED, told, f"twinhull plan resume {known.plan.name}")


def _off(known: Evidence) -> Iterator[Finding]:
    """Known to be off, and not known to have crashed: most probably its owner switched it off."""
    home = known.home
    if known.moving or home is None or home.power is not PowerState.OFF or known.interrupted_move:
        return
    if home.standing and home.standing.is_dirty:
        return
    told = f"{known.name} is switched off on {home.site}. If that is not on purpose, start it there, or take over."
    yield Finding(Health.OFF, f"{told} {take_over_text(known)}", take_over(known))


_RULES = (
    alarms.runs_twice,
    alarms.down,
    alarms.rpo_missed,
    alarms.cannot_take_over,
    alarms.unguarded,
    alarms.no_replica,
    _unknown,
    _in_progress,
    _interrupted,
    _paused,
    _off,
)


def _well(known: Evidence) -> Iterator[Finding]:
    """No rule found anything: the machine runs, and its replica is within the RPO."""
    if known.lag_seconds is None or known.replica is None:
        said = f"Whether a replica of {known.name} could take over is not known."
        yield Finding(Health.UNKNOWN, said, f"twinhull sync {known.word}")
        return
    told = f"The replica on {known.replica.site} is {format_duration(known.lag_seconds)} old."
    run = next(iter(known.at_work), None)
    if run:
        yield Finding(Health.SYNCING, f"{told} {run.run_id} is running.")
    else:
        yield Finding(Health.PROTECTED, told)
    for weakness in alarms.weakly_guarded(known):
        yield Finding(Health.PROTECTED, weakness)
    for lack in alarms.lacks(known):
        if lack.consequence is Consequence.BOOTS_WITHOUT:
            yield Finding(Health.PROTECTED, lack.reason, f"twinhull machine show {known.word}")
