"""What is due. Pure: from one immutable snapshot to one decision for each machine and one for the repository.

In the order in which they win, each with its reason::

    resume      a run was left unfinished: first things first
    reconcile   a side runs, or could start, that must not
    sync        the next point is due; everything is compared where trackers were trusted for long enough. While the
                target is silent only the point is made: the replica follows when the target answers
    collect     space of removed points is due to be given back
    verify      a share of what is stored is due to be read
    wait        nothing of that, and why

Ages come from the monotonic clock since the point was first seen (see :mod:`twinhull.manager.health.ages`), so a wall
clock that jumps makes nothing due, and keeps nothing from being due.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from twinhull.manager.serve.facts import Facts, Limits, MachineFacts, RepositoryFacts, Sites, Snapshot
from twinhull.model.units import format_bytes, format_duration
from twinhull.replication.bases import comparison_due
from twinhull.runs.subject import Subject

_MARGIN_SHARE = 0.2
"""A sync begins this part of the RPO early, so that the point is there in time."""
_COLLECT_SECONDS = 86_400.0
"""How long removed points and unused data wait between two collections, at the least."""
_SWEEP_SECONDS = 7 * _COLLECT_SECONDS
"""The same where nothing is known to wait: killed captures leave data that only a collection finds."""
_VERIFY_SECONDS = 86_400.0
"""How long after something stored was verified the next share of it is."""
_FIRST_BACKOFF_SECONDS = 15.0
_LONGEST_BACKOFF_SECONDS = 900.0
_LONGEST_BACKOFF_OF_CORRECTION_SECONDS = 60.0
"""A machine may run twice until that succeeds."""


class Act(StrEnum):
    """What a decision says."""

    RESUME = "resume"
    RECONCILE = "reconcile"
    SYNC = "sync"
    COLLECT = "collect"
    VERIFY = "verify"
    WAIT = "wait"


@dataclass(frozen=True, slots=True)
class Decision:
    """For one machine, or the repository. ``due_in_seconds`` is for those that wait for their time.

    ``compare_reason`` says why a sync compares everything; empty where it need not. ``is_capture_only``: a sync makes
    the point, and leaves the replica as it is.
    """

    subject: Subject
    plan: str
    act: Act
    reason: str
    due_in_seconds: float | None = None
    compare_reason: str = ""
    is_capture_only: bool = False


def decide(snapshot: Snapshot, limits: Limits) -> list[Decision]:
    """One decision for each machine, the most urgent first, and one for the repository."""
    wishes: list[tuple[Decision, Facts]] = [(_wish(facts, snapshot.sites), facts) for facts in snapshot.machines]
    if snapshot.repository:
        wishes.append((_wish_of_repository(snapshot.repository), snapshot.repository))
    wishes.sort(key=lambda pair: _urgency(*pair))
    room = _Room(limits, [facts for _, facts in wishes])
    return [room.admit(wish, facts) for wish, facts in wishes]


def _wish(facts: MachineFacts, sites: Sites) -> Decision:
    """What is due for the machine alone, as if there were room for everybody: the first rule that has a say."""
    verdicts = (rule(facts, sites) for rule in _RULES)
    return next(verdict for verdict in verdicts if verdict)


def _at_work(facts: Facts, _: Sites) -> Decision | None:
    return _wait(facts, f"{facts.at_work} is at work.") if facts.at_work else None


def _unfinished(facts: Facts, _: Sites) -> Decision | None:
    if not facts.unfinished:
        return None
    delay = _backoff(facts)
    if delay > 0:
        return _wait(facts, f"{facts.unfinished} stopped ({facts.failure}), and is tried again.", delay)
    return _do(facts, Act.RESUME, f"{facts.unfinished} was left unfinished.")


def _wrong(facts: MachineFacts, _: Sites) -> Decision | None:
    """A sync that failed holds up no correction."""
    if not facts.wrong:
        return None
    delay = _backoff(facts) if facts.is_correction_failing else 0.0
    if delay > 0:
        return _wait(facts, f"{facts.wrong} That failed ({facts.failure}), and is tried again.", delay)
    return _do(facts, Act.RECONCILE, facts.wrong)


def _undecided(facts: MachineFacts, _: Sites) -> Decision | None:
    """Two sides run, and no standing says which is past: nothing of ours works on either."""
    return _wait(facts, facts.undecided) if facts.undecided else None


def _paused(facts: MachineFacts, _: Sites) -> Decision | None:
    return _wait(facts, "The plan is paused.") if facts.is_paused else None


def _silent(facts: MachineFacts, sites: Sites) -> Decision | None:
    """A point needs the source alone, where it is known that the machine is not the silent target's by now."""
    needed = (facts.source,) if facts.is_source_known else facts.sites
    silent = next((site for site in needed if not sites[site].is_reachable), None)
    return _wait(facts, f"{silent} does not answer: {sites[silent].reason}") if silent else None


def _unguarded(facts: MachineFacts, sites: Sites) -> Decision | None:
    """Without standings on both sides nothing tells which one may run: no sync begins what a failover could not end."""
    site = next((site for site in facts.sites if sites[site].holds_nothing), None)
    return _wait(facts, f"{site} cannot hold standings. {sites[site].holds_nothing}") if site else None


def _failed(facts: Facts, _: Sites) -> Decision | None:
    delay = _backoff(facts)
    if delay <= 0:
        return None
    return _wait(facts, f"The latest run failed ({facts.failure_count} in a row): {facts.failure}", delay)


def _again(facts: MachineFacts, sites: Sites) -> Decision | None:
    """A young point is no comfort while the replica is not at it, and could be."""
    if facts.failure_count:
        return _sync(facts, sites, f"The latest run failed: {facts.failure} It is time to try again.")
    is_due = facts.behind and sites[facts.target].is_reachable
    return _sync(facts, sites, facts.behind) if is_due else None


def _sync_or_wait(facts: MachineFacts, sites: Sites) -> Decision | None:
    if facts.age_seconds is None:
        return _sync(facts, sites, "There is no point yet.")
    due_in = due_seconds(facts.rpo_seconds, facts.typical_seconds) - facts.age_seconds
    age, rpo = format_duration(facts.age_seconds), format_duration(facts.rpo_seconds)
    if due_in <= 0:
        return _sync(facts, sites, f"The latest point is {age} old, and the RPO is {rpo}.")
    told = f"The latest point is {age} old; within the RPO of {rpo}."
    return _wait(facts, " ".join([told, *_falling_behind(facts, sites)]), due_in)


_RULES = (_at_work, _unfinished, _wrong, _undecided, _paused, _silent, _unguarded, _failed, _again, _sync_or_wait)


def _wish_of_repository(facts: RepositoryFacts) -> Decision:
    """As ``_wish``: what a machine and the repository have in common comes first."""
    common = (rule(facts, {}) for rule in (_at_work, _unfinished, _failed))
    return next((verdict for verdict in common if verdict), None) or _tend(facts)


def _tend(facts: RepositoryFacts) -> Decision:
    """Space first: a store that is full takes no point."""
    has_waiting = bool(facts.removed_count or facts.waiting_bytes)
    collect_in = (_COLLECT_SECONDS if has_waiting else _SWEEP_SECONDS) - facts.since_collect_seconds
    verify_in = _VERIFY_SECONDS - facts.since_verify_seconds
    if collect_in <= 0 and not facts.jump:
        since = format_duration(facts.since_collect_seconds)
        return _do(facts, Act.COLLECT, f"{_waiting(facts)}; it was not looked at for {since}.")
    if verify_in <= 0:
        since = format_duration(facts.since_verify_seconds)
        return _do(facts, Act.VERIFY, f"Nothing of what is stored was verified for {since}.")
    if facts.jump:
        return _wait(facts, f"Nothing is collected for now: {facts.jump}")
    told = f"{_waiting(facts)}; it is looked at in {format_duration(collect_in)}."
    return _wait(facts, told, min(collect_in, verify_in))


def _waiting(facts: RepositoryFacts) -> str:
    if facts.removed_count or facts.waiting_bytes:
        return f"{facts.removed_count} removed points and {format_bytes(facts.waiting_bytes)} wait to be given back"
    return "Nothing is known to wait but what killed captures may have left"


def due_seconds(rpo_seconds: float, typical_seconds: float) -> float:
    """At which age of the latest point the next sync begins: early enough to end within the RPO."""
    early = max(rpo_seconds * _MARGIN_SHARE, typical_seconds * 1.5)
    return max(rpo_seconds - early, 0.0)


def backoff_seconds(failure_count: int) -> float:
    """How long to wait after so many failures in a row."""
    if not failure_count:
        return 0.0
    return min(_FIRST_BACKOFF_SECONDS * 2.0 ** min(failure_count - 1, 16), _LONGEST_BACKOFF_SECONDS)


def _backoff(facts: Facts) -> float:
    delay = backoff_seconds(facts.failure_count)
    if isinstance(facts, MachineFacts) and facts.is_correction_failing:
        delay = min(delay, _LONGEST_BACKOFF_OF_CORRECTION_SECONDS)
    return max(delay - facts.since_failure_seconds, 0.0)


def _sync(facts: MachineFacts, sites: Sites, reason: str) -> Decision:
    due = comparison_due(facts.uncompared_seconds, facts.full_compare_seconds)
    behind = _falling_behind(facts, sites)
    told = " ".join([reason, *([f"Everything is compared this time: {due}."] if due else []), *behind])
    return Decision(facts.subject, facts.plan, Act.SYNC, told, compare_reason=due, is_capture_only=bool(behind))


def _falling_behind(facts: MachineFacts, sites: Sites) -> list[str]:
    """Why only points are made, if so."""
    target = sites[facts.target]
    if target.is_reachable:
        return []
    return [f"Only points are made, and the replica falls behind: {facts.target} does not answer: {target.reason}"]


def _do(facts: Facts, act: Act, reason: str) -> Decision:
    return Decision(facts.subject, facts.plan, act, reason)


def _wait(facts: Facts, reason: str, due_in: float | None = None) -> Decision:
    return Decision(facts.subject, facts.plan, Act.WAIT, reason, due_in)


_ORDER = {act: number for number, act in enumerate(Act)}


class _Room:
    """Who still fits under the limits. Reconciling and resuming come first in the order, and count like all others.

    The repository's own run (there is one at most) takes no machine's place: a verification may read for hours.
    """

    def __init__(self, limits: Limits, all_facts: Iterable[Facts]) -> None:
        self._limits = limits
        busy = [facts for facts in all_facts if facts.at_work and not isinstance(facts, RepositoryFacts)]
        self._run_count = len(busy)
        self._per_site = Counter(site for facts in busy for site in facts.sites)

    def admit(self, wish: Decision, facts: Facts) -> Decision:
        if wish.act is Act.WAIT or isinstance(facts, RepositoryFacts):
            return wish
        if self._run_count >= self._limits.run_count:
            return _wait(facts, f"Due for {wish.act}, and {self._run_count} runs are at work: no more at once.")
        full = next((site for site in facts.sites if self._per_site[site] >= self._limits.run_count_per_site), None)
        if full:
            return _wait(facts, f"Due for {wish.act}, and {self._per_site[full]} runs are at work on {full} already.")
        self._run_count += 1
        self._per_site.update(facts.sites)
        return wish


def _urgency(wish: Decision, facts: Facts) -> tuple[int, float, str]:
    """First what comes first, then who is furthest in its RPO."""
    return _ORDER[wish.act], -_share_of_rpo(facts), wish.subject.key


def _share_of_rpo(facts: Facts) -> float:
    if isinstance(facts, RepositoryFacts):
        return 0.0
    return float("inf") if facts.age_seconds is None else facts.age_seconds / facts.rpo_seconds
