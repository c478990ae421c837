"""``twinhull runs``: what was done, step by step, with times and reasons."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from twinhull.cli import completing
from twinhull.cli.commands.outcomes import Manner, Outcomes, carry_out, each, value_in
from twinhull.cli.door import Door, door_of
from twinhull.cli.options import (
    DryRunFlag,
    JsonFlag,
    NoWaitFlag,
    OnlyMachineArgument,
    RunArgument,
    YesFlag,
    commands,
    examples,
)
from twinhull.cli.screen import shapes
from twinhull.cli.screen.progress import watching
from twinhull.model.errors import UsageError
from twinhull.model.units import format_duration

if TYPE_CHECKING:
    from twinhull.manager.catalog.records import RunRecord, StepRecord
    from twinhull.manager.manager import Manager
    from twinhull.model.steps import Facts

app = commands()
APPS = {"runs": app}


@app.command("list", epilog=examples("twinhull runs list", "twinhull runs list web1 --last 50 --json"))
def list_(
    context: typer.Context,
    *,
    machine: OnlyMachineArgument = None,
    last: Annotated[int, typer.Option(min=1, metavar="N", help="Number of runs, the latest first.")] = 20,
    is_unfinished: Annotated[bool, typer.Option("--unfinished", help="Show only unfinished runs.")] = False,
    is_json: JsonFlag = False,
) -> None:
    """List runs, the latest first.

    A run's id contains the time when it began, in UTC. Collections are listed under the name 'repository'.
    """
    door = door_of(context)
    with door.manager() as manager:
        machine_id = manager.names.subject(machine).key if machine else None
        if is_unfinished:
            runs = manager.history.unfinished_runs(machine_id)
        else:
            runs = manager.history.runs(machine_id=machine_id, last=last)
        at_work = {run.run_id: manager.is_at_work(run) for run in runs}
    if is_json:
        door.screen.document({"runs": [shapes.run(run, is_at_work=at_work[run.run_id]) for run in runs]})
        return
    door.screen.table(
        ["run", "machine", "took", "state", "by", "why"],
        [
            [
                run.run_id,
                run.machine_name,
                _took(run),
                _state(run, is_at_work=at_work[run.run_id]),
                run.origin,
                run.error,
            ]
            for run in runs
        ],
        empty="There is no run yet." if not is_unfinished else "No run is unfinished.",
    )


@app.command(epilog=examples("twinhull runs show sync-20261121-1105", "twinhull runs show sync-20261121-1105 --json"))
def show(context: typer.Context, *, name: RunArgument, is_json: JsonFlag = False) -> None:
    """Show a run: its steps with times, its results and reasons."""
    door = door_of(context)
    with door.manager() as manager:
        run = manager.history.run(name)
        steps = manager.history.steps(run.run_id)
        is_at_work = manager.is_at_work(run)
    if is_json:
        document = {**shapes.run(run, is_at_work=is_at_work), "steps": [shapes.step(step) for step in steps]}
        door.screen.document(document)
        return
    door.screen.heading(f"{run.run_id}: {run.kind} of {run.machine_name}, {_state(run, is_at_work=is_at_work)}")
    door.screen.facts(
        [
            ("machine", run.machine_id),
            ("started", f"{run.started_at:%Y-%m-%d %H:%M:%S} UTC, by {run.origin}"),
            ("took", _took(run)),
            *_told(run, run.request),
        ]
    )
    door.screen.line()
    door.screen.table(
        ["step", "state", "took", "attempts", "why"], [_step_row(step) for step in steps], empty="No step has started."
    )
    facts = _told(run, shapes.found_facts(run))
    if facts:
        door.screen.line()
        door.screen.facts(facts)
    for reason in run.reasons:
        door.screen.line(f"Reason: {reason}")
    if run.error:
        door.screen.line(f"Error: {run.error}")
        door.screen.line(f"Hint: {run.hint}" if run.hint else "")


@app.command(
    epilog=examples(
        "twinhull runs start sync web1 is_verifying=yes",
        "twinhull runs start rollback web1 to=N-2 --dry-run",
        "twinhull runs start collect repository",
    )
)
def start(
    context: typer.Context,
    *,
    word: Annotated[str, typer.Argument(metavar="KIND", help="A kind of run.", autocompletion=completing.kinds)],
    subject: Annotated[
        str, typer.Argument(metavar="SUBJECT", help="A machine, a plan for each of its machines, or 'repository'.")
    ],
    said: Annotated[list[str] | None, typer.Argument(metavar="NAME=VALUE", help="Options of that kind.")] = None,
    is_yes: YesFlag = False,
    is_dry_run: DryRunFlag = False,
    is_no_wait: NoWaitFlag = False,
    is_json: JsonFlag = False,
) -> None:
    """Start a run of any kind. Most kinds have a command of their own, which explains its options."""
    from twinhull.manager.runs.kinds.registry import KINDS  # noqa: PLC0415 - loaded when called

    door, kind = door_of(context), KINDS.named(word)
    words = _options(said or [])
    question = f"Start {kind.word} of {subject}" if kind.is_asked_about else ""
    with door.manager() as manager:
        wants = [kind.ask(manager.desk, found, words) for found in manager.names.subjects(subject)]
        carry_out(door, manager, wants, Manner(is_dry_run, is_no_wait, question, is_yes))


def _options(said: list[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in said]
    wrong = next((name for name, sign, _ in pairs if not sign), None)
    if wrong is not None:
        raise UsageError(f"'{wrong}' is no option.", hint="Write NAME=VALUE.")
    return {name: value for name, _, value in pairs}


@app.command(epilog=examples("twinhull runs resume", "twinhull runs resume failover-20261121-110512-9a3f"))
def resume(
    context: typer.Context,
    *,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]", help="The run to resume (default: all unfinished runs).", autocompletion=completing.runs
        ),
    ] = None,
    is_no_wait: NoWaitFlag = False,
    is_json: JsonFlag = False,
) -> None:
    """Resume runs that were killed or stopped. Finished steps are skipped."""
    door = door_of(context)
    with door.manager() as manager:
        outcomes = _resume(manager, door, _chosen(manager, name), is_waiting=not is_no_wait)
    if not outcomes.runs and not outcomes.failures:
        door.screen.answer({"runs": [], "failures": []}, "No run is unfinished.")
        return
    outcomes.tell(door.screen)


@app.command(epilog=examples("twinhull runs abandon failover-20261121-110512-9a3f --yes"))
def abandon(context: typer.Context, *, name: RunArgument, is_yes: YesFlag = False, is_json: JsonFlag = False) -> None:
    """Abandon an interrupted run: nothing is undone, nothing is continued."""
    door = door_of(context)
    with door.manager() as manager:
        run = manager.history.run(name)
        if not run.state.is_unfinished:
            raise UsageError(f"The run {run.run_id} is {run.state.value}; there is nothing to abandon.")
        door.confirm(f"Abandon {run.run_id} ({run.kind} of {run.machine_name}) as it is?", is_yes=is_yes)
        abandoned = manager.abandon(run)
    door.screen.answer(
        shapes.run(abandoned), f"Abandoned {run.run_id}. Check {run.machine_name} with 'twinhull status'."
    )


_NO_WORDS = {"run_id", "machine_id", "machine_name", "reasons", "claim", "past_claim", "capture", "armed_trackers"}
"""What is said elsewhere, or to nobody: the ids and marks by which steps find one another."""


def _told(run: RunRecord, facts: Facts) -> list[tuple[str, str | list[str]]]:
    """Facts in words: no clock readings of the process, and nothing that is empty or off."""
    from twinhull.manager.runs.kinds.registry import KINDS  # noqa: PLC0415 - loaded when called

    labels = KINDS.of(run).told
    return [
        (labels.get(name) or _words(name), value_in(run, name, fact))
        for name, fact in facts.items()
        if name not in _NO_WORDS and not name.endswith(("_at_seconds", "since_seconds")) and _is_worth_it(fact)
    ]


def _is_worth_it(fact: object) -> bool:
    return fact is not False and fact not in (None, {}, [], "")


def _words(name: str) -> str:
    return name.removeprefix("is_").removesuffix("_bytes").removesuffix("_seconds").replace("_", " ")


def _chosen(manager: Manager, name: str | None) -> list[RunRecord]:
    if name is None:
        return list(manager.history.unfinished_runs())
    run = manager.history.run(name)
    if not run.state.is_unfinished:
        raise UsageError(f"The run {run.run_id} is {run.state.value}; there is nothing to resume.")
    return [run]


def _resume(manager: Manager, door: Door, runs: list[RunRecord], *, is_waiting: bool) -> Outcomes:
    def one(run: RunRecord) -> RunRecord:
        with watching(door.screen, run.machine_name) as ears:
            return manager.dispatcher.resume(run, ears, is_waiting=is_waiting)

    return each([(run.subject, partial(one, run)) for run in runs])


def _took(run: RunRecord) -> str:
    if not run.ended_at:
        return ""
    return format_duration(max((run.ended_at - run.started_at).total_seconds(), 0.0))


def _state(run: RunRecord, *, is_at_work: bool) -> str:
    if run.state.is_unfinished and not is_at_work:
        return "unfinished"
    return run.state.value


def _step_row(step: StepRecord) -> list[str]:
    took = format_duration(step.seconds) if step.seconds is not None else ""
    name = f"undo {step.name}" if step.is_undo else step.name
    return [name, step.state.value, took, str(step.attempt_count), step.error]
