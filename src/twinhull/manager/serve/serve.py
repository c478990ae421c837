"""The loop that keeps every plan within its RPO: look, decide (purely), and let durable runs do it.

::

    each site, in a thread of its own ──▶ views ─┐
    points as they are made ──────────▶ ages ────┼──▶ planner ──▶ decisions ──▶ runs, in threads
    runs that were left unfinished ──────────────┘                   └──▶ told, each with its reason
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from threading import Event, Thread

from twinhull.manager import clockwatch
from twinhull.manager.catalog.locks import Lock
from twinhull.manager.catalog.records import LatestPoint, RunRecord, RunState
from twinhull.manager.clockwatch import Reading
from twinhull.manager.manager import Manager
from twinhull.manager.repository.vault import require_there
from twinhull.manager.repository.verifying import DAILY_SHARE
from twinhull.manager.runs.kinds.collect import want_collect
from twinhull.manager.runs.kinds.reconcile import want_reconcile
from twinhull.manager.runs.kinds.registry import KINDS
from twinhull.manager.runs.kinds.sync import SyncOptions, want_sync
from twinhull.manager.runs.kinds.verify import want_verify
from twinhull.manager.runs.wants import Ears
from twinhull.manager.serve.alerts import Alerts
from twinhull.manager.serve.facts import Limits, RepositoryFacts, Snapshot
from twinhull.manager.serve.known import Known
from twinhull.manager.serve.patient_reads import PatientReads, StillAsking
from twinhull.manager.serve.planner import Act, Decision, decide
from twinhull.manager.serve.tending import Tending
from twinhull.manager.serve.watching import SiteWatch
from twinhull.manager.serve.welcoming import Tell, Welcome
from twinhull.manager.sites.names import Named
from twinhull.model.errors import AlreadyServing, MachineBusy, RunUnfinished, TwinhullError
from twinhull.model.machine import MachineId, PointId, RunId, SiteName
from twinhull.model.units import format_duration
from twinhull.repository import Point, RepositoryMissing, StoreError, current_points
from twinhull.runs import failures
from twinhull.runs.subject import REPOSITORY

_RUNS_LOOKED_AT = 8
_LOOK_FOR_REPOSITORY_SECONDS = 60.0
_CAUTION_SECONDS = 3600.0
"""After the clock jumped, no point is removed for so long."""


@dataclass
class Server:
    """One per state directory.

    ``stop`` ends it: runs that can be undone are, the others get ``grace_seconds`` to come to their end; what is left
    then is gone on with at the next start.
    """

    manager: Manager
    limits: Limits
    tell: Tell
    stop: Event = field(init=False)
    cycle_seconds: float = 1.0
    look_seconds: float = 15.0
    grace_seconds: float = 60.0
    _known: Known = field(init=False)
    _tending: Tending = field(init=False)
    _alerts: Alerts = field(init=False)
    _watch: SiteWatch = field(init=False)
    _welcome: Welcome = field(init=False)
    _told: dict[MachineId, tuple[Act, str]] = field(default_factory=dict)
    _told_damages: set[PointId] = field(default_factory=set)
    _threads: dict[MachineId, Thread] = field(default_factory=dict)
    _stale_sites: set[SiteName] = field(default_factory=set)
    _reads: PatientReads = field(default_factory=PatientReads)
    _has_repository: bool = False
    _look_at: float = 0.0
    _jumped_at: float | None = None
    _trouble: str = ""

    def __post_init__(self) -> None:
        """Nothing is looked at yet."""
        manager = self.manager
        self.stop = manager.stopping
        self._welcome = Welcome(manager, self.tell, lambda: self._known.ages)
        self._watch = SiteWatch(manager.catalog, manager.lookout, manager.ports.clock, self.look_seconds, self._welcome)
        self._known = Known(manager, self._is_busy, self._watch.seen_at, lambda: self._has_repository, self._reads)
        self._tending = Tending(manager, self._known)
        self._alerts = Alerts(self._known, self.tell, manager.is_at_work)

    def serve(self) -> None:
        """Until ``stop``; raises AlreadyServing, what keeps the repository from being opened, and RunUnfinished.

        A repository that is away is waited for: what the sites' standings alone say is put right meanwhile.
        """
        with self._alone():
            self._find_repository_first()
            self.tell("serving", {"reason": f"keeping the plans of {self.manager.state.path}"})
            reading = clockwatch.read(self.manager.ports.clock)
            try:
                while not self.stop.wait(self.cycle_seconds):
                    reading = self._try_cycle(reading)
            finally:
                self._end()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        lock = Lock(self.manager.state.lock("serve"))
        if not lock.try_take(f"process {os.getpid()}"):
            raise AlreadyServing(
                f"Another serve works on {self.manager.state.path}: {lock.holder()}.",
                hint="One is enough: it keeps every plan of that state directory.",
            )
        with lock:
            yield

    def _find_repository_first(self) -> None:
        """At the start an error of ours ends serving; one that nobody foresaw is reported, and met again in a cycle."""
        try:
            self._find_repository()
        except TwinhullError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the repository holds, serving begins
            self._tell_unforeseen(error)

    def _find_repository(self) -> bool:
        """Whether it was ever there; one that is away is looked for once a minute."""
        clock = self.manager.ports.clock
        if not self._has_repository and clock.monotonic() >= self._look_at:
            try:
                self._reads.ask("all points", self._learn_points)
            except (RepositoryMissing, StoreError) as error:
                is_pending = isinstance(error, StillAsking)
                self._look_at = clock.monotonic() + (0 if is_pending else _LOOK_FOR_REPOSITORY_SECONDS)
                self._tell_away(error)
            else:
                self._has_repository = True
        return self._has_repository

    def _tell_away(self, error: TwinhullError) -> None:
        self._tell_trouble(f"{error.message} Only what the sites' standings say is put right until it is there.")

    def _learn_points(self) -> None:
        """What other processes, or an earlier catalog, have made: the repository knows best."""
        latest = {point.machine_id: point for point in self._points()}
        for machine_id, point in latest.items():
            self.manager.catalog.see_point(LatestPoint(machine_id, point.id, point.captured_at))

    def _points(self) -> list[Point]:
        return current_points(self.manager.repository.points(on_damage=self.manager.damages.note))

    def _try_cycle(self, before: Reading) -> Reading:
        """Report what fails for a while, or what nobody foresaw, and try again; the clocks as they are now."""
        now = before
        try:
            now = self._mind_the_clock(before)
            has_repository = self._cycle(now)
        except TwinhullError as error:
            self._tell_trouble(f"{error.message} Nothing new begins until that is over.")
        except Exception as error:  # noqa: BLE001 - memory that runs out included: the other machines need the loop
            self._tell_unforeseen(error)
        else:
            self._trouble = "" if has_repository else self._trouble
        return now

    def _tell_unforeseen(self, error: Exception) -> None:
        what = str(failures.encode(error)["message"])
        self._tell_trouble(
            f"Twinhull met an error that it does not know: {what}. Nothing new begins until that is over."
        )

    def _tell_trouble(self, trouble: str) -> None:
        """Once, as long as it lasts."""
        if trouble != self._trouble:
            self.tell("trouble", {"reason": trouble})
        self._trouble = trouble

    def _cycle(self, now: Reading) -> bool:
        """One look at everything, and what follows from it; whether the repository answered.

        A repository that is away, or hangs, keeps no side from being corrected.
        """
        is_there = self._find_repository()
        overview = self._watch.glance(wanted=self._take_stale)
        left = [run for run in self.manager.history.unfinished_runs() if self._is_left(run)]
        unfinished = {run.machine_id: run for run in reversed(left)} if is_there else {}
        machines = tuple(
            facts
            for facts in self._known.machines(overview, unfinished, now)
            if {facts.source, facts.target} <= self._watch.facts().keys()
        )
        self._alerts.note(overview, self._watch.facts(), now)
        repository = self._repository_facts(unfinished.get(REPOSITORY.key), now) if is_there else None
        unread = set(self._known.unread) if repository else {facts.subject.key for facts in machines}
        self._tell_damages()
        for decision in decide(Snapshot(machines, self._watch.facts(), repository), self.limits):
            if decision.subject.key in unread and decision.act is not Act.RECONCILE:
                continue
            self._tell_decision(decision)
            if decision.act is not Act.WAIT:
                self._begin(decision, unfinished.get(decision.subject.key))
        return repository is not None

    def _repository_facts(self, unfinished: RunRecord | None, now: Reading) -> RepositoryFacts | None:
        """None if the repository went away, or hangs."""
        try:
            return self._tending.facts(unfinished, now)
        except (RepositoryMissing, StoreError) as error:
            self._tell_away(error)
            return None

    def _is_left(self, run: RunRecord) -> bool:
        """Whether it is ours to resume: what only reads a machine's points and stopped must not hold up its syncs."""
        is_persons = KINDS.of(run).is_reading and run.state is RunState.STOPPED
        return not is_persons and not self.manager.is_at_work(run)

    def _take_stale(self, site: SiteName) -> bool:
        """Whether a run has changed the site since it was looked at."""
        is_stale = site in self._stale_sites
        self._stale_sites.discard(site)
        return is_stale

    def _tell_decision(self, decision: Decision) -> None:
        """Every act, and each new reason to wait; not the same waiting again with another age in it."""
        machine_id = decision.subject.key
        sign = (decision.act, "" if decision.due_in_seconds is not None else decision.reason)
        if decision.act is not Act.WAIT or self._told.get(machine_id) != sign:
            facts: dict[str, object] = {
                "machine": decision.subject.name,
                "plan": decision.plan,
                "reason": decision.reason,
            }
            self.tell(decision.act.value, facts)
        self._told[machine_id] = sign

    def _tell_damages(self) -> None:
        """Each damaged point once."""
        for point_id, reason in list(self.manager.damages.found.items()):
            if point_id not in self._told_damages:
                self._told_damages.add(point_id)
                self.tell("damaged", {"point": point_id, "reason": reason})

    def _tell_verdict(self, run: RunRecord) -> None:
        """What the run found, if that is damage."""
        for problem in KINDS.of(run).problems(run):
            self.tell("damaged", dict(problem))

    def _is_busy(self, machine_id: MachineId) -> bool:
        thread = self._threads.get(machine_id)
        return bool(thread and thread.is_alive())

    def _begin(self, decision: Decision, unfinished: RunRecord | None) -> None:
        name = f"{decision.act} of {decision.subject.name}"
        thread = Thread(target=self._try_to_carry_out, args=(decision, unfinished), name=name, daemon=True)
        self._threads[decision.subject.key] = thread
        thread.start()

    def _try_to_carry_out(self, decision: Decision, unfinished: RunRecord | None) -> None:
        """Report also what fails around a run, so that no thread ends without a word."""
        try:
            self._carry_out(decision, unfinished)
        except Exception as error:  # noqa: BLE001 - it ends the thread, and the next cycle begins anew
            facts = {"machine": decision.subject.name, "act": decision.act.value}
            self.tell("failed", {**facts, "reason": str(failures.encode(error)["message"])})

    def _carry_out(self, decision: Decision, unfinished: RunRecord | None) -> None:
        subject = decision.subject
        clock = self.manager.ports.clock
        began, met_before = clock.monotonic(), self._met_busy(subject.key)
        try:
            run = self._run(decision, unfinished)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told, and not tried again at once
            if isinstance(error, MachineBusy) and self._met_busy(subject.key) == met_before:
                # Somebody else was quicker, and no run was begun; the next cycle sees what came of it.
                return
            reason = str(failures.encode(error)["message"])
            is_correction = decision.act is Act.RECONCILE
            self._known.failed(subject.key, reason, clock.monotonic(), is_correction=is_correction)
            self.tell("failed", {"machine": subject.name, "act": decision.act.value, "reason": reason})
            return
        finally:
            plan = self.manager.catalog.plan_of(subject.key)
            self._stale_sites.update((plan.source, plan.target) if plan else ())
        now = clock.monotonic()
        self._known.went_well(subject.key, now - began, now, is_sync=KINDS.of(run).is_protecting)
        self._tending.note(run)
        self._tell_verdict(run)
        facts = {
            "machine": subject.name,
            "run": run.run_id,
            "state": run.state.value,
            "point": run.result.get("point_id"),
            "seconds": now - began,
        }
        self.tell("done", {**facts, "reason": " ".join([KINDS.of(run).headline(run, now - began), *run.reasons])})

    def _met_busy(self, machine_id: MachineId) -> set[tuple[RunId, datetime | None]]:
        """The machine's latest runs that found it held on its host, by another manager."""
        runs = self.manager.history.runs(machine_id=machine_id, last=_RUNS_LOOKED_AT)
        return {(run.run_id, run.ended_at) for run in runs if run.error_kind == MachineBusy.__name__}

    def _run(self, decision: Decision, unfinished: RunRecord | None) -> RunRecord:
        dispatcher, desk = self.manager.dispatcher, self.manager.desk
        if decision.act is Act.RESUME and unfinished:
            return dispatcher.resume(unfinished, Ears(), is_waiting=False)
        if decision.act is Act.RECONCILE:
            want = want_reconcile(desk, Named.of(decision.subject), is_repository_hanging=self._is_repository_hanging())
            return dispatcher.carry_out(want, Ears(), is_waiting=False)
        if decision.act is Act.COLLECT:
            return dispatcher.carry_out(want_collect(), Ears(), is_waiting=False)
        if decision.act is Act.VERIFY:
            want = want_verify(desk, is_reading=True, sample=DAILY_SHARE)
            return dispatcher.carry_out(want, Ears(), is_waiting=False)
        options = SyncOptions(compare_reason=decision.compare_reason, is_capture_only=decision.is_capture_only)
        return dispatcher.carry_out(want_sync(desk, Named.of(decision.subject), options), Ears(), is_waiting=False)

    def _is_repository_hanging(self) -> bool:
        """Whether it does not answer a small question soon; one that is away says so at once."""
        try:
            self._reads.ask("config", lambda: require_there(self.manager.repository))
        except StillAsking:
            return True
        except TwinhullError:
            return False
        return False

    def _mind_the_clock(self, before: Reading) -> Reading:
        now = clockwatch.read(self.manager.ports.clock)
        jump = clockwatch.tell(clockwatch.jump_seconds(before, now))
        if jump:
            self._jumped_at = now.monotonic
            self.manager.dispatcher.caution.text = jump
            self.tell("clock", {"reason": f"{jump} Ages go by the monotonic clock; no point is removed for an hour."})
        elif self._jumped_at is not None and now.monotonic - self._jumped_at > _CAUTION_SECONDS:
            self._jumped_at = None
            self.manager.dispatcher.caution.text = ""
        return now

    def _end(self) -> None:
        """Nothing new begins; what is at work is undone, or goes on to its end, but not for ever."""
        self._watch.close()
        left = self._wait_for_runs()
        if left:
            raise RunUnfinished(
                f"Stopped after {format_duration(self.grace_seconds)} with work left in the middle: {left}.",
                hint="The next 'twinhull serve' goes on with it, or 'twinhull runs resume'; nothing is done twice.",
            )
        self._welcome.close()
        self.tell("stopped", {"reason": "asked to"})

    def _wait_for_runs(self) -> str:
        """Until all have ended or the grace is over; the names of those that have not."""
        busy = [thread for thread in self._threads.values() if thread.is_alive()]
        if busy:
            grace = format_duration(self.grace_seconds)
            reason = f"waiting for {_names(busy)}, at most {grace}: what can be undone is undone"
            self.tell("stopping", {"reason": reason})
            self.manager.dispatcher.cancel_all()
        deadline = self.manager.ports.clock.monotonic() + self.grace_seconds
        for thread in busy:
            thread.join(max(deadline - self.manager.ports.clock.monotonic(), 0.0))
        return _names([thread for thread in busy if thread.is_alive()])


def _names(threads: Sequence[Thread]) -> str:
    return ", ".join(thread.name for thread in threads)
