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
        help="Planned: a last sync, nothing is lost; the other side must answer. Unplanned: start the replica as it "
        "is, whether the other side answers or not.",
    ),
]
PointOption = Annotated[
    str | None,
    typer.Option(
        "--point",
        metavar="N",
        help="Start from this point (N-1, 12, 20:15, '10m ago') instead of the latest; unplanned only.",
    ),
]
GraceOption = Annotated[
    str, typer.Option("--grace", metavar="DURATION", help="How long the guest gets to shut down by itself.")
]
StartOption = Annotated[
    str, typer.Option("--start-timeout", metavar="DURATION", help="How long the other site gets to start it.")
]
WithoutFlag = Annotated[
    bool,
    typer.Option(
        "--without-repository",
        help="Start the replica at the point that it is at, where the repository cannot be reached; unplanned only.",
    ),
]
VerifyFlag = Annotated[
    bool,
    typer.Option("--verify", help="Compare the whole replica with its point, before anything is stopped."),
]


@failover_app.command(
    help="Start the replica in place of its machine; tells the RPO and RTO that were reached.",
    epilog=examples(
        "twinhull failover web1 --planned",
        "twinhull failover shop --unplanned --yes",
        "twinhull failover web1 --unplanned --point N-1 --dry-run",
        "twinhull failover web1 --unplanned --without-repository",
    ),
)
@failback_app.command(
    help="Bring a machine home: only what differs is sent. The same as a failover, in the other direction.",
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
            "A planned move loses nothing, so it starts from no earlier point.",
            hint="Use --point together with --unplanned.",
        )
    if is_without_repository and (is_planned or point or is_verifying):
        raise UsageError(
            "Without the repository a replica can only be started as it is, which is not planned.",
            hint="Use --without-repository together with --unplanned, and without --point and --verify.",
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
