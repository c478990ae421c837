"""What a run would do, in lines, before anybody is asked to agree to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twinhull.actions.requests import (
    Request,
)
from twinhull.manager.catalog.records import RunRecord
from twinhull.manager.runs.desk import Desk
from twinhull.manager.runs.kinds.registry import KINDS
from twinhull.manager.runs.outlook import Outlook
from twinhull.manager.runs.unfinished import unfinished_before
from twinhull.manager.runs.wants import Want
from twinhull.manager.sites.pool import SitePool
from twinhull.model.errors import TwinhullError
from twinhull.model.machine import RunId
from twinhull.model.ports import Clock
from twinhull.model.steps import Facts
from twinhull.repository import Repository

_NOBODY = RunId("preview")


@dataclass(frozen=True, slots=True)
class Preview:
    """What a run would do, in lines, and what it would be asked for; None where that depends on another run's end."""

    lines: list[str]
    request: Facts | None = None


@dataclass(frozen=True, slots=True)
class Previewer:
    """Looks at the situation as the run would, and changes nothing."""

    desk: Desk
    pool: SitePool
    clock: Clock
    repository: Callable[[], Repository]
    is_at_work: Callable[[RunRecord], bool]

    def preview(self, want: Want) -> Preview:
        """What it would do, in order; raises what would keep the run from beginning, unless another one is first."""
        unfinished = unfinished_before(self.desk.history, want)
        lines = [self._first(run) for run in unfinished]
        if any(want.is_same(run) for run in unfinished):
            return Preview(lines)  # its end is what is wanted, however far it has come
        if not all(map(self.is_at_work, unfinished)):
            return Preview([*lines, f"Then the {want.kind}, which depends on how that ends: ask again after it."])
        facts: Facts | None = None
        try:
            request = want.make(_NOBODY)
            planned, facts = self._planned(want, request), request.facts()
        except TwinhullError as error:
            if not unfinished:
                raise
            planned = [f"As things are before that, the {want.kind} would be refused: {error.message}"]
        asked = {name: fact for name, fact in facts.items() if name != "run_id"} if facts else None
        return Preview([*lines, *self.desk.damages.of(want.subject.key), *planned], asked)

    def _first(self, run: RunRecord) -> str:
        if self.is_at_work(run):
            return f"Wait for {run.run_id}, which {run.origin} has running."
        return f"First finish {run.run_id}, which was interrupted: twinhull runs resume"

    def _planned(self, want: Want, request: Request) -> list[str]:
        look = Outlook(want, self.desk, self.pool, self.repository)
        lines: list[str] = KINDS.named(want.kind).preview(look, request)
        return lines
