"""``twinhull failover`` and ``failback``: start the replica in place of its machine, and bring the machine home."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from twinhull.cli.door import door_of
from twinhull.cli.options import DryRunFlag, JsonFlag, MachineOrPlanArgument, NoWaitFlag, YesFlag, examples
from twinhull.cli.outcomes import carry_out_each, previews, tell_previews
from twinhull.model.errors import UsageError
from twinhull.model.units import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable

    from twinhull.cli.door import Door
    from twinhull.manager.manager import Manager
    from twinhull.manager.names import Named
    from twinhull.manager.orders import FailoverOptions
    from twinhull.manager.wants import Want

failover_app = typer.Typer(rich_markup_mode=None)
failback_app = typer.Typer(rich_markup_mode=None)
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
    typer.Option("--point", metavar="N", help="Start from this point (N-1, 12) instead of the latest; unplanned only."),
]
GraceOption = Annotated[
    str, typer.Option("--grace", metavar="DURATION", help="How long the guest gets to shut down by itself.")
]
StartOption = Annotated[
    str, typer.Option("--start-timeout", metavar="DURATION", help="How long the other site gets to start it.")
]
VerifyFlag = Annotated[
    bool, typer.Option("--verify", help="Compare the whole replica with its point before it starts.")
]


@failover_app.command(
    epilog=examples(
        "twinhull failover web1 --planned",
        "twinhull failover shop --unplanned --yes",
        "twinhull failover web1 --unplanned --point N-1 --dry-run",
    )
)
def failover(
    context: typer.Context,
    *,
    word: MachineOrPlanArgument,
    is_planned: PlannedFlag = True,
    point: PointOption = None,
    grace: GraceOption = "2m",
    start_timeout: StartOption = "2m",
    is_verifying: VerifyFlag = False,
    is_yes: YesFlag = False,
    is_dry_run: DryRunFlag = False,
    is_no_wait: NoWaitFlag = False,
    is_json: JsonFlag = False,  # noqa: ARG001 - its callback has told the screen
) -> None:
    """Start the replica in place of its machine; tells the RPO and RTO that were reached."""
    door = door_of(context)
    options = _options(point, grace, start_timeout, is_planned=is_planned, is_verifying=is_verifying)
    kind = "Planned failover" if is_planned else "Unplanned failover"

    def want(manager: Manager, machine: Named) -> Want:
        return manager.desk.failover(machine, options)

    _move(door, word, f"{kind} of", want, is_yes=is_yes, is_dry_run=is_dry_run, is_waiting=not is_no_wait)


@failback_app.command(
    epilog=examples("twinhull failback web1", "twinhull failback shop --yes", "twinhull failback web1 --dry-run")
)
def failback(
    context: typer.Context,
    *,
    word: MachineOrPlanArgument,
    is_planned: PlannedFlag = True,
    point: PointOption = None,
    grace: GraceOption = "2m",
    start_timeout: StartOption = "2m",
    is_verifying: VerifyFlag = False,
    is_yes: YesFlag = False,
    is_dry_run: DryRunFlag = False,
    is_no_wait: NoWaitFlag = False,
    is_json: JsonFlag = False,  # noqa: ARG001 - its callback has told the screen
) -> None:
    """Bring a machine home: only what differs is sent. The same as a failover, in the other direction."""
    door = door_of(context)
    options = _options(point, grace, start_timeout, is_planned=is_planned, is_verifying=is_verifying)
    kind = "Planned failback" if is_planned else "Unplanned failback"

    def want(manager: Manager, machine: Named) -> Want:
        return manager.desk.failback(machine, options)

    _move(door, word, f"{kind} of", want, is_yes=is_yes, is_dry_run=is_dry_run, is_waiting=not is_no_wait)


def _options(
    point: str | None, grace: str, start_timeout: str, *, is_planned: bool, is_verifying: bool
) -> FailoverOptions:
    from twinhull.manager.orders import FailoverOptions  # noqa: PLC0415 - loaded when called

    if point and is_planned:
        raise UsageError(
            "A planned move loses nothing, so it starts from no earlier point.",
            hint="Use --point together with --unplanned.",
        )
    return FailoverOptions(
        is_planned=is_planned,
        point=point,
        grace_seconds=parse_duration(grace),
        start_timeout_seconds=parse_duration(start_timeout),
        is_verifying=is_verifying,
    )


def _move(
    door: Door,
    word: str,
    title: str,
    want: Callable[[Manager, Named], Want],
    *,
    is_yes: bool,
    is_dry_run: bool,
    is_waiting: bool,
) -> None:
    with door.manager() as manager:
        _, machines = manager.names.machines(word)
        # What was left unfinished is finished first, and may be the very thing that is asked for: no preview of it.
        unfinished = [run for machine in machines for run in manager.catalog.unfinished_runs(machine.machine_id)]
        if unfinished and not is_dry_run:
            told = ", ".join(run.run_id for run in unfinished)
            door.confirm(f"{title} {word}, after going on with {told}?", is_yes=is_yes)
        else:
            found = previews(manager, [want(manager, machine) for machine in machines])
            if is_dry_run or not door.screen.is_json:
                tell_previews(door.screen, found)
            if is_dry_run:
                return
            door.confirm(f"{title} {word}?", is_yes=is_yes)
        outcomes = carry_out_each(
            manager, door.screen, machines, lambda machine: want(manager, machine), is_waiting=is_waiting
        )
    outcomes.tell(door.screen)
