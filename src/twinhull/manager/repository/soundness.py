"""What monitoring is told of the repository: damage, and that nothing has looked for damage lately."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from twinhull.manager.catalog.records import RunRecord, RunState
from twinhull.manager.record.history import RunHistory
from twinhull.manager.repository.verifying import VERIFY, Verified, VerifyRequest, latest_verified
from twinhull.model.units import format_duration
from twinhull.repository import Point
from twinhull.runs.subject import REPOSITORY

VERIFIED_EACH = timedelta(days=7)
"""``serve`` reads a part each day: after so long without, it does not run, or it fails."""
_LOOKED_BACK = 100
_COMMAND = "twinhull repository verify --read-data"


@dataclass(frozen=True, slots=True)
class Soundness:
    """``verified`` is what the latest verification found; ``failed`` is the latest try, if it failed.

    ``unverified_since`` is when the stored bytes were last looked at, or the oldest of them was stored; None where
    nothing is stored.
    """

    verified: Verified | None = None
    failed: RunRecord | None = None
    unverified_since: datetime | None = None

    @property
    def is_damaged(self) -> bool:
        """Whether the latest verification found damage."""
        return self.verified is not None and not self.verified.verdict.is_good

    def alarms(self, now: datetime) -> list[str]:
        """What is not well, each with the command that helps."""
        told = ["repository: DAMAGED"] if self.is_damaged else []
        if self.failed:
            error = " ".join(self.failed.error.split())
            told.append(f"repository: the latest verification failed: {error} [{_COMMAND}]")
        if self.unverified_since and not self.is_damaged and now - self.unverified_since > VERIFIED_EACH:
            age = format_duration((now - self.unverified_since).total_seconds())
            told.append(f"repository: not verified for {age} [{_COMMAND}]")
        return told


def soundness(history: RunHistory, repository_id: str, points: Iterable[Sequence[Point]]) -> Soundness:
    """What this manager's runs say of that repository, which holds these points of the planned machines."""
    verified = latest_verified(history, repository_id)
    stored = [point.captured_at for each in points for point in each]
    last = verified.run.ended_at if verified else min(stored, default=None)
    return Soundness(verified, _failed(history, repository_id), last)


def _failed(history: RunHistory, repository_id: str) -> RunRecord | None:
    """The latest verification that has ended, if it failed; one that was cancelled says nothing."""
    runs = history.runs(machine_id=REPOSITORY.key, last=_LOOKED_BACK)
    for run in runs:
        is_told = run.kind == VERIFY.kind and run.state in (RunState.DONE, RunState.FAILED)
        if is_told and VerifyRequest.of(run.request).repository_id == repository_id:
            return run if run.state is RunState.FAILED else None
    return None
