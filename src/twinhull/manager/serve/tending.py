"""What ``serve`` knows of the repository between two cycles, for the decisions to collect and to verify it."""

from __future__ import annotations

from dataclasses import dataclass, field

from twinhull.manager.catalog.records import RunRecord
from twinhull.manager.clockwatch import Reading
from twinhull.manager.manager import Manager
from twinhull.manager.repository.collecting import COLLECT
from twinhull.manager.repository.verifying import VERIFY, latest_verified
from twinhull.manager.serve.facts import RepositoryFacts
from twinhull.manager.serve.known import Known
from twinhull.runs.subject import REPOSITORY

_AGE_OF_NEVER_SECONDS = 23 * 3600.0
"""What was never verified is due after an hour: a ``serve`` that is started anew each day would wait for ever."""


@dataclass
class _Since:
    """When something was last done. The wall clock is asked once for each time; from then on time is monotonic."""

    run_id: str | None = None
    at_monotonic: float = 0.0

    def is_news(self, run: RunRecord | None, now: Reading, *, age_of_none: float = 0.0) -> bool:
        """Take the latest run; whether it was not known yet. Where there is none, it counts as done so long ago."""
        run_id = run.run_id if run else ""
        if run_id == self.run_id:
            return False
        age = (now.wall - run.ended_at).total_seconds() if run and run.ended_at else age_of_none
        self.run_id, self.at_monotonic = run_id, now.monotonic - max(age, 0.0)
        return True


@dataclass
class Tending:
    """How much waits to be given back, and how long ago the repository was collected and verified."""

    manager: Manager
    known: Known
    removed_count: int = 0
    waiting_bytes: int = 0
    _collected: _Since = field(default_factory=_Since)
    _verified: _Since = field(default_factory=_Since)
    _seen_verification: str | None = None
    _is_count_due: bool = False

    def facts(self, unfinished: RunRecord | None, now: Reading) -> RepositoryFacts:
        """All that the planner needs; ``unfinished`` is a run of the repository that nobody works on."""
        self._observe(now)
        machine_id = REPOSITORY.key
        trouble = self.known.troubles.get(machine_id)
        return RepositoryFacts(
            since_collect_seconds=now.monotonic - self._collected.at_monotonic,
            since_verify_seconds=now.monotonic - self._verified.at_monotonic,
            removed_count=self.removed_count,
            waiting_bytes=self.waiting_bytes,
            jump=self.manager.dispatcher.caution.text,
            failure_count=trouble.count if trouble else 0,
            since_failure_seconds=now.monotonic - trouble.at_monotonic if trouble else 0.0,
            failure=trouble.reason if trouble else "",
            unfinished=unfinished.run_id if unfinished else "",
            at_work=self.known.at_work(machine_id),
        )

    def note(self, run: RunRecord) -> None:
        """A run has ended: what its retention removed waits from here on."""
        removed = run.result.get("removed_points")
        self.removed_count += len(removed) if isinstance(removed, list) else 0

    def _observe(self, now: Reading) -> None:
        history, repository = self.manager.history, self.manager.repository
        newest = history.latest_done(REPOSITORY.key, VERIFY.kind)
        newest_id = newest.run_id if newest else ""
        if newest_id != self._seen_verification:  # the others are read only then
            verified = latest_verified(history, repository.id)
            self._verified.is_news(verified.run if verified else None, now, age_of_none=_AGE_OF_NEVER_SECONDS)
            self._seen_verification = newest_id
        collected = history.latest_done(REPOSITORY.key, COLLECT.kind)
        if self._collected.is_news(collected, now):
            waiting = collected.result.get("waiting_bytes") if collected else 0
            self.waiting_bytes = waiting if isinstance(waiting, int) else 0
            self._is_count_due = True
        if self._is_count_due:
            self.removed_count = len(self.known.reads.ask("removed points", repository.removed_points))
            self._is_count_due = False
