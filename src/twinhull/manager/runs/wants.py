"""What somebody wants to run, and who listens while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from twinhull.actions.requests import Request
from twinhull.manager.catalog.catalog import Catalog
from twinhull.manager.catalog.records import RunRecord
from twinhull.manager.catalog.state import READING_KINDS
from twinhull.manager.sites.names import Named
from twinhull.model.machine import RunId
from twinhull.model.progress import OnProgress, nobody_listens
from twinhull.model.steps import JsonValue


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
    machine: Named
    make: Callable[[RunId], Request]
    is_same: Callable[[RunRecord], bool] = lambda _: False
    is_without_repository: bool = False
    is_ahead: bool = False


def unfinished_before(catalog: Catalog, want: Want) -> list[RunRecord]:
    """The unfinished runs that are gone on with before what is wanted, the earliest first; none if it only reads."""
    if want.is_ahead or want.kind in READING_KINDS:
        return []
    return [run for run in catalog.unfinished_runs(want.machine.machine_id) if run.kind not in READING_KINDS]


def same_request(run: RunRecord, request: Request) -> bool:
    """Whether the run was asked for the same, whoever asked."""
    wanted: Mapping[str, JsonValue] = {**request.facts(), "run_id": run.run_id}
    return dict(wanted) == dict(run.request)
