"""Carrying out what a command wants, for one machine or each of several, and telling how it ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from twinhull.cli.screen import shapes
from twinhull.cli.screen.previewing import previews, tell_dry_run, tell_previews
from twinhull.cli.screen.progress import watching
from twinhull.cli.screen.screen import Screen, Shape, Told, error_shape
from twinhull.model.errors import AlreadyThere, TwinhullError
from twinhull.model.units import format_bytes, format_duration
from twinhull.runs.subject import Subject

if TYPE_CHECKING:
    from twinhull.cli.door import Door
    from twinhull.manager.catalog.records import RunRecord
    from twinhull.manager.manager import Manager
    from twinhull.manager.runs.wants import Want


@dataclass
class Outcomes:
    """What happened to each machine. ``skipped`` are those of several that were there already."""

    runs: list[RunRecord] = field(default_factory=list)
    failures: list[tuple[Subject, TwinhullError]] = field(default_factory=list)
    skipped: list[tuple[Subject, AlreadyThere]] = field(default_factory=list)

    def tell(self, screen: Screen) -> None:
        """Print it; raises the first failure, so that the exit code is its."""
        if screen.is_json:
            if not self.runs and len(self.failures) == 1:
                raise self.failures[0][1]
            skipped = [_skipped(named, error) for named, error in self.skipped]
            runs = [shapes.run(run) for run in self.runs]
            screen.document({"runs": runs, "failures": self._failures(), "skipped": skipped})
            if self.failures:
                raise Told(self.failures[0][1])
            return
        for _, reason in self.skipped:
            screen.line(f"Skipped: {reason.message}")
        for run in self.runs:
            tell_run(screen, run)
        if len(self.runs) + len(self.failures) == 1 and self.failures:
            raise self.failures[0][1]
        for named, error in self.failures:
            screen.message(f"{named.name}:")
            screen.error(error)
        if self.failures:
            raise Told(self.failures[0][1])

    def _failures(self) -> list[Shape]:
        return [{**_shape(subject), "error": error_shape(error)} for subject, error in self.failures]


@dataclass(frozen=True, slots=True)
class Manner:
    """How runs are wanted: told only, after a question (with its answer, if it was given already), without waiting."""

    is_dry_run: bool = False
    is_no_wait: bool = False
    question: str = ""
    is_yes: bool = False


def carry_out(door: Door, manager: Manager, wants: Sequence[Want], manner: Manner) -> None:
    """Do what is wanted, one run after the other, and tell how each ended; raises Declined, and the first failure.

    Of several machines, those that are there already are skipped, and those that were refused in what was agreed to
    are not tried; the others go on.
    """
    if manner.is_dry_run:
        tell_dry_run(door.screen, previews(manager, wants))
        return
    refused = _ask(door, manager, wants, manner) if manner.question else {}

    def one(want: Want) -> RunRecord:
        if error := refused.get(want.subject):
            raise error
        with watching(door.screen, want.subject.name) as ears:
            return manager.dispatcher.carry_out(want, ears, is_waiting=not manner.is_no_wait)

    each([(want.subject, partial(one, want)) for want in wants]).tell(door.screen)


def each(runs: Sequence[tuple[Subject, Callable[[], RunRecord]]]) -> Outcomes:
    """One after the other; one that fails does not keep the others from being tried."""
    outcomes = Outcomes()
    for machine, run in runs:
        try:
            outcomes.runs.append(run())
        except AlreadyThere as error:
            outcomes.skipped.append((machine, error))
        except TwinhullError as error:
            outcomes.failures.append((machine, error))
    if len(outcomes.skipped) == len(runs):  # nothing was to be done, which is not what was asked for
        outcomes.failures, outcomes.skipped = [*outcomes.skipped], []
    return outcomes


def _ask(door: Door, manager: Manager, wants: Sequence[Want], manner: Manner) -> dict[Subject, TwinhullError]:
    """Show what would be done, and ask; returns the machines that would be refused."""
    from twinhull.manager.runs.unfinished import unfinished_before  # noqa: PLC0415 - loaded when called

    found = previews(manager, wants)
    if not door.screen.is_json:
        tell_previews(door.screen, found)
    first = [run.run_id for want in wants for run in unfinished_before(manager.history, want)]
    after = f", after {', '.join(first)}" if first else ""
    door.confirm(f"{manner.question}{after}?", is_yes=manner.is_yes)
    return {preview.want.subject: preview.refused for preview in found if preview.refused}


def _skipped(subject: Subject, error: AlreadyThere) -> Shape:
    return {**_shape(subject), "reason": error.message}


def _shape(subject: Subject) -> Shape:
    return {"subject": subject.shape(), "machine_id": subject.key, "machine_name": subject.name}


def tell_run(screen: Screen, run: RunRecord) -> None:
    """A run that is done, for people."""
    from twinhull.manager.runs.kinds.registry import KINDS  # noqa: PLC0415 - loaded when called

    seconds = (run.ended_at - run.started_at).total_seconds() if run.ended_at else 0.0
    screen.heading(f"{run.machine_name}: {run.kind} done in {format_duration(max(seconds, 0.0))}  ({run.run_id})")
    facts = [
        (label, value_in(run, name, run.result[name]))
        for name, label in KINDS.of(run).told.items()
        if run.result.get(name) not in (None, [])
    ]
    screen.facts([(f"  {label}", text) for label, text in facts])
    for reason in run.reasons:
        screen.line(f"  {reason}")


def value_in(run: RunRecord, name: str, fact: object) -> list[str] | str:
    """A fact of a run: a point by its machine's name and its number, the run's own with the time of its capture."""
    from twinhull.actions.telling import called_by_id  # noqa: PLC0415 - loaded when called

    if not name.endswith("point_id") or not isinstance(fact, str):
        return value(name, fact)
    captured_at = run.result.get("captured_at") if name == "point_id" else None
    time = f" ({datetime.fromisoformat(captured_at):%d %b %H:%M:%S} UTC)" if isinstance(captured_at, str) else ""
    return f"{called_by_id(run.machine_name, fact)}{time}"


def value(name: str, fact: object) -> str | list[str]:
    """A fact as people read it, by the unit at the end of its name; a list has a line for each item."""
    if isinstance(fact, int | float) and not isinstance(fact, bool):
        if name.endswith("_bytes"):
            return format_bytes(fact)
        if name.endswith("_seconds"):
            return format_duration(fact)
    if isinstance(fact, list | tuple):
        return [str(item) for item in fact]
    if isinstance(fact, dict):
        return [f"{key}={item}" for key, item in fact.items()]
    return "yes" if fact is True else str(fact)
