"""What somebody wants to run, and who listens while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from twinhull.actions.requests import Request
from twinhull.manager.catalog.records import RunRecord
from twinhull.model.machine import RunId
from twinhull.model.progress import OnProgress, nobody_listens
from twinhull.runs.codec import decode
from twinhull.runs.subject import Subject


def _ignore_text(_: str) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class Ears:
    """Who listens to a run: sentences for people, steps, reasons and progress. Called from any thread."""

    on_message: Callable[[str], None] = _ignore_text
    on_step: Callable[[str], None] = _ignore_text
    on_reason: Callable[[str], None] = _ignore_text
    on_progress: OnProgress = nobody_listens


@dataclass(frozen=True, slots=True)
class Want:
    """A run that somebody wants. ``make`` builds its request from the situation at the moment when it may begin.

    ``is_same`` says whether an unfinished run that was finished first has done what is wanted.
    ``is_without_repository``: it begins where the repository is away, too; its request says whether that is asked.
    ``is_ahead``: it does not wait for what was left unfinished on the machine.
    """

    kind: str
    subject: Subject
    make: Callable[[RunId], Request]
    is_same: Callable[[RunRecord], bool] = lambda _: False
    is_without_repository: bool = False
    is_ahead: bool = False


def same_request(run: RunRecord, request: Request) -> bool:
    """Whether the run was asked for the same, whoever asked."""
    return replace(request, run_id=run.run_id) == decode(type(request), run.request)
