"""``twinhull failover`` and ``failback``: start the replica in place of its machine, and bring the machine home."""

from __future__ import annotations

from typing import Annotated

import typer

from twinhull.cli.commands.outcomes import Manner, carry_out
from twinhull.cli.door import door_of
from twinhull.cli.options import (
    DropDivergentFlag,
    DryRunFlag,
    JsonFlag,
    MachineOrPlanArgument,
    NoWaitFlag,
    YesFlag,
    commands,
    examples,
)
from twinhull.model.errors import UsageError
from twinhull.model.units import parse_duration

failover_app = commands()
failback_app = commands()
APPS = {"failover": failover_app, "failback": failback_app}

PlannedFlag = Annotated[
    bool,
    typer.Option(
        "--planned/--unplanned",
        help="Planned: sync once more, lose nothing; the source must answer. Unplanned: start the replica as it "
        "is, even if the source is silent.",
    ),
]
PointOption = Annotated[
    str | None,
    typer.Option(
        "--point",
        metavar="N",
        help="Start from this point (N-1, 12, 20:15, '10m ago') instead of the latest (unplanned only).",
    ),
]
GraceOption = Annotated[
    str, typer.Option("--grace", metavar="DURATION", help="Time the guest gets to shut down before it is switched off.")
]
StartOption = Annotated[
    str, typer.Option("--start-timeout", metavar="DURATION", help="Time the target site gets to start it.")
]
WithoutFlag = Annotated[
    bool,
    typer.Option(
        "--without-repository",
        help="Start the replica at its current point without asking the repository (unplanned only).",
    ),
]
VerifyFlag = Annotated[
    bool,
    typer.Option("--verify", help="Compare the whole replica with its point before the machine is stopped."),
]


@failover_app.command(
    help="Start the replica in place of its machine, and report RPO and RTO.",
    epilog=examples(
        "twinhull failover web1 --planned",
        "twinhull failover shop --unplanned --yes",
        "twinhull failover web1 --unplanned --point N-1 --dry-run",
        "twinhull failover web1 --unplanned --without-repository",
    ),
)
@failback_app.command(
    help="Bring a machine home: a failover back that sends only what differs.",
    epilog=examples("twinhull failback web1", "twinhull failback shop --yes", "twinhull failback web1 --dry-run"),
)
def _move(
    context: typer.Context,
    *,
    word: MachineOrPlanArgument,
    is_planned: PlannedFlag = True,
    point: PointOption = None,
    grace: GraceOption = "2m",
    start_timeout: StartOption = "2m",
    is_verifying: VerifyFlag = False,
    is_without_repository: WithoutFlag = False,
    is_dropping_divergent: DropDivergentFlag = False,
    is_yes: YesFlag = False,
    is_dry_run: DryRunFlag = False,
    is_no_wait: NoWaitFlag = False,
    is_json: JsonFlag = False,
) -> None:
    from twinhull.manager.runs.kinds.move import FailoverOptions, want_failback, want_failover  # noqa: PLC0415 - loaded when called

    door, kind = door_of(context), context.command.name
    if point and is_planned:
        raise UsageError(
            "A planned failover loses nothing, so it cannot start from an earlier point.",
            hint="Add --unplanned to start from an earlier point.",
        )
    if is_without_repository and (is_planned or point or is_verifying):
        raise UsageError(
            "Without the repository a replica can only be started as it is; that is not a planned failover.",
            hint="Use --without-repository with --unplanned, and without --point and --verify.",
        )
    options = FailoverOptions(
        is_planned,
        point,
        parse_duration(grace),
        parse_duration(start_timeout),
        is_verifying,
        is_without_repository,
        is_dropping_divergent,
    )
    question = f"{'Planned' if is_planned else 'Unplanned'} {kind} of {word}"
    with door.manager() as manager:
        _, machines = manager.names.machines(word)
        move = want_failback if kind == "failback" else want_failover
        wants = [move(manager.desk, machine, options) for machine in machines]
        carry_out(door, manager, wants, Manner(is_dry_run, is_no_wait, question, is_yes))
