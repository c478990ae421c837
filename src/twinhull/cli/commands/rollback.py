"""``twinhull rollback``: put a machine back to an earlier point, where it is."""

from __future__ import annotations

from typing import Annotated

import typer

from twinhull.cli.commands.outcomes import Manner, carry_out
from twinhull.cli.door import door_of
from twinhull.cli.options import DryRunFlag, JsonFlag, MachineArgument, NoWaitFlag, YesFlag, commands, examples

app = commands()
APPS = {"rollback": app}


@app.command(
    epilog=examples(
        "twinhull rollback web1 --to N-2",
        "twinhull rollback web1 --to 12 --no-start --yes",
        "twinhull rollback web1 --to '10m ago' --dry-run",
    )
)
def rollback(
    context: typer.Context,
    *,
    machine: MachineArgument,
    to: Annotated[
        str,
        typer.Option(
            "--to", metavar="POINT", help="N (the latest point), N-1 (the one before), 12, 20:15 (UTC), '10m ago'."
        ),
    ],
    is_starting: Annotated[
        bool | None, typer.Option("--start/--no-start", help="Start it afterwards (default: if it ran before).")
    ] = None,
    is_keeping_present: Annotated[
        bool,
        typer.Option(
            "--keep-present/--drop-present", help="Make a point of the present state before it is overwritten."
        ),
    ] = True,
    is_yes: YesFlag = False,
    is_dry_run: DryRunFlag = False,
    is_no_wait: NoWaitFlag = False,
    is_json: JsonFlag = False,
) -> None:
    """Put a machine back to an earlier point where it is.

    Its present state becomes a point first.
    """
    from twinhull.manager.runs.kinds.rollback import want_rollback  # noqa: PLC0415 - loaded when called

    door = door_of(context)
    with door.manager() as manager:
        named = manager.names.machine(machine)
        want = want_rollback(manager.desk, named, to, is_starting=is_starting, is_keeping_present=is_keeping_present)
        carry_out(door, manager, [want], Manner(is_dry_run, is_no_wait, f"Put {named.name} back to {to}", is_yes))
