"""What ``serve`` knows of the repository's space between two cycles, for the planner's decision to collect."""

from __future__ import annotations

from dataclasses import dataclass

from twinhull.manager.clockwatch import Reading
from twinhull.manager.collecting import COLLECT
from twinhull.manager.facts import RepositoryFacts
from twinhull.manager.known import Known
from twinhull.manager.manager import Manager
from twinhull.manager.names import REPOSITORY
from twinhull.manager.records import RunRecord, RunState

_LOOKED_BACK = 20
"""So many collections are looked through for one that ended well."""


@dataclass
class Space:
    """The wall clock is asked once for each collection, when it is first seen; from then on time is monotonic."""

    manager: Manager
    known: Known
    seen: str | None = None
    collected_at: float = 0.0
    removed_count: int = 0
    waiting_bytes: int = 0

    def facts(self, unfinished: RunRecord | None, now: Reading) -> RepositoryFacts:
        """All that the planner needs; ``unfinished`` is a collection that nobody works on."""
        self._observe(now)
        machine_id = REPOSITORY.machine_id
        trouble = self.known.troubles.get(machine_id)
        return RepositoryFacts(
            since_collect_seconds=now.monotonic - self.collected_at,
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
        latest = self._latest()
        run_id = latest.run_id if latest else ""
        if run_id == self.seen:
            return
        self.seen = run_id
        age = (now.wall - latest.ended_at).total_seconds() if latest and latest.ended_at else 0.0
        self.collected_at = now.monotonic - max(age, 0.0)
        waiting = latest.result.get("waiting_bytes") if latest else 0
        self.waiting_bytes = waiting if isinstance(waiting, int) else 0
        self.removed_count = len(self.manager.repository.removed_points())

    def _latest(self) -> RunRecord | None:
        """The latest collection that ended well, of whatever process."""
        runs = self.manager.catalog.runs(machine_id=REPOSITORY.machine_id, last=_LOOKED_BACK)
        return next((run for run in runs if (run.kind, run.state) == (COLLECT.kind, RunState.DONE)), None)
