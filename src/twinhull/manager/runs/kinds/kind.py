"""A kind of run, as one record: its word, request, subject, steps, what it locks and brings, its preview, its texts.

Whatever treats kinds differently asks this record. Nothing else compares a kind's word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from twinhull.actions.context import Context
from twinhull.actions.requests import Request
from twinhull.manager.catalog.records import RunRecord
from twinhull.model.errors import UsageError
from twinhull.model.machine import SiteName
from twinhull.model.steps import Action, Facts
from twinhull.model.units import format_duration
from twinhull.runs.subject import Subject, SubjectKind

if TYPE_CHECKING:
    from twinhull.manager.runs.desk import Desk
    from twinhull.manager.runs.outlook import Outlook
    from twinhull.manager.runs.wants import Want

R = TypeVar("R", bound=Request)
Words = Mapping[str, str]
"""Options as a person types them, by name."""


def _takes_no_words(_: Desk, subject: Subject, __: Words) -> Want:
    raise UsageError(
        f"Runs of this kind cannot be started by name. Nothing was done with '{subject.name}'.",
        hint="'twinhull runs list' shows the runs that there are.",
    )


def _no_lines(_: Outlook, __: Any) -> list[str]:  # noqa: ANN401 - any request
    return []


def _nowhere(_: Any) -> None:  # noqa: ANN401 - any request
    return None


def _no_sites(_: Any) -> Sequence[SiteName]:  # noqa: ANN401 - any request
    return ()


def _needs_it(_: Any, __: Facts) -> bool:  # noqa: ANN401 - any request
    return False


def _nothing_wrong(_: RunRecord) -> Sequence[Mapping[str, str]]:
    return ()


def _said_plainly(run: RunRecord, seconds: float) -> str:
    return f"{run.kind} done in {format_duration(seconds)}."


@dataclass(frozen=True, slots=True)
class Kind(Generic[R]):
    """What Twinhull knows of one kind of run.

    ``action`` has its word and steps, ``request`` what its steps are asked for, ``about`` what it is about.
    ``want`` makes one from what a person typed (``twinhull runs start``), ``preview`` tells what it would do.

    ``is_reading``: it changes nothing of its subject, so it waits for no other run, and none waits for it.
    ``is_protecting``: it makes a point of a machine, and brings the replica. ``is_move``: it stops the machine on
    purpose. ``is_correction``: what it puts right must not wait for the repository. ``makes_machines``: it makes
    machines that have no standing yet, so what it leaves on a site is not cleaned up while it is unfinished.
    ``is_asked_about``: a person agrees before it begins.

    ``sites`` are those on which it works on a machine's sides. ``stays_on`` is the one on which it leaves the machine,
    if it leaves it where it is. ``brings`` is the site whose replica is at the run's point when it is done.
    ``is_without_repository``: whether the repository is not needed, by the request and what the steps have found.

    ``headline`` says in one sentence how it ended, with the seconds that it took; ``told`` are the facts worth a line,
    with their labels, in that order; ``problems`` are damages that it found, for ``serve`` to report.
    """

    action: Action[Context]
    request: type[R]
    about: SubjectKind
    want: Callable[[Desk, Subject, Words], Want] = _takes_no_words
    preview: Callable[[Outlook, R], list[str]] = _no_lines
    is_reading: bool = False
    is_protecting: bool = False
    is_move: bool = False
    is_correction: bool = False
    makes_machines: bool = False
    is_asked_about: bool = False
    sites: Callable[[R], Sequence[SiteName]] = _no_sites
    stays_on: Callable[[R], SiteName | None] = _nowhere
    brings: Callable[[R], SiteName | None] = _nowhere
    is_without_repository: Callable[[R, Facts], bool] = _needs_it
    headline: Callable[[RunRecord, float], str] = _said_plainly
    told: Mapping[str, str] = field(default_factory=dict)
    problems: Callable[[RunRecord], Sequence[Mapping[str, str]]] = _nothing_wrong

    @property
    def word(self) -> str:
        """What it is called: in records, on the command line, in texts."""
        return self.action.kind

    def ask(self, desk: Desk, subject: Subject, words: Words) -> Want:
        """A run of this kind, as a person asks for it; raises UsageError where it is about something else."""
        if subject.kind is not self.about:
            raise UsageError(
                f"'{self.word}' is about a {self.about.value}, and '{subject.name}' is a {subject.kind.value}.",
                hint=f"Name a {self.about.value}.",
            )
        return self.want(desk, subject, words)

    def request_of(self, run: RunRecord) -> R:
        """What the run was asked for; what other versions wrote beside it is ignored."""
        return self.request.of(run.request)
