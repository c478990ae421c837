"""Carrying out an action in this process: the plain form of what durable runs do with a database.

It keeps the same rules (see :mod:`twinhull.model.steps`), so that steps can be tried without an engine; the journal
outlives a killed process as long as its owner keeps it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from twinhull.model.steps import Action, Context, Facts, JsonValue, Step


@dataclass(slots=True)
class Journal:
    """What a run has begun, done and undone. ``failure`` says why it is being taken back."""

    begun: list[str] = field(default_factory=list)
    done: dict[str, Facts] = field(default_factory=dict)
    undone: list[str] = field(default_factory=list)
    failure: Exception | None = None
    is_forward_only: bool = False


def perform(action: Action[Context], context: Context, facts: Facts, journal: Journal) -> dict[str, JsonValue]:
    """Do the steps that the journal does not have yet; returns all facts.

    Where a step fails before the point of no return, what was done is taken back in reverse order, and the failure is
    raised. Behind it the failure is raised as it is, and performing again goes on with the failed step. An error of an
    undo is raised, and performing again goes on undoing.
    """
    known = dict(facts)
    for step in action.steps:
        if step.name in journal.done:
            known.update(journal.done[step.name])
        elif journal.failure is None:
            _do(action, step, context, known, journal)
    if journal.failure is not None:
        _take_back(action, context, known, journal)
        raise journal.failure
    return known


def _do(
    action: Action[Context], step: Step[Context], context: Context, known: dict[str, JsonValue], journal: Journal
) -> None:
    journal.begun.append(step.name)
    journal.is_forward_only = journal.is_forward_only or step.is_point_of_no_return
    try:
        found = dict(step.do(context, dict(known)))
    except Exception as error:
        if journal.is_forward_only:
            raise
        journal.failure = error
        _take_back(action, context, known, journal)
        raise
    journal.done[step.name] = found
    known.update(found)


def _take_back(action: Action[Context], context: Context, known: Facts, journal: Journal) -> None:
    for step in reversed(action.steps):
        if step.name in journal.begun and step.name not in journal.undone:
            if step.undo:
                step.undo(context, known)
            journal.undone.append(step.name)
