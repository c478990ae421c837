"""``twinhull sync``: capture a machine, and bring its replica to that point."""

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
    commands,
    examples,
)

app = commands()
APPS = {"sync": app}


@app.command(
    epilog=examples(
        "twinhull sync web1",
        "twinhull sync shop --json",
        "twinhull sync web1 --full-compare --verify",
        "twinhull sync web1 --capture-only",
    )
)
def sync(
    context: typer.Context,
    *,
    word: MachineOrPlanArgument,
    is_freezing: Annotated[
        bool | None,
        typer.Option("--freeze/--no-freeze", help="Freeze the guest's file systems (default: as in the plan)."),
    ] = None,
    is_full_compare: Annotated[
        bool, typer.Option("--full-compare", help="Ignore change trackers: compare everything, send what differs.")
    ] = False,
    is_verifying: Annotated[
        bool, typer.Option("--verify", help="Afterwards read the whole replica, and compare it with the point.")
    ] = False,
    is_capture_only: Annotated[
        bool, typer.Option("--capture-only", help="Make the point only; do not update the replica.")
    ] = False,
    is_dropping_divergent: DropDivergentFlag = False,
    is_no_wait: NoWaitFlag = False,
    is_dry_run: DryRunFlag = False,
    is_json: JsonFlag = False,
) -> None:
    """Capture a machine where it runs, and bring its replica to that point.

    The first sync is full. An interrupted run of the machine is finished first. If another process works on the
    machine, this one waits for it, unless --no-wait is given.
    """
    from twinhull.manager.runs.kinds.sync import SyncOptions, want_sync  # noqa: PLC0415 - loaded when called

    door = door_of(context)
    options = SyncOptions(
        is_freezing=is_freezing,
        compare_reason="requested" if is_full_compare else "",
        is_verifying=is_verifying,
        is_capture_only=is_capture_only,
        is_dropping_divergent=is_dropping_divergent,
    )
    with door.manager() as manager:
        _, machines = manager.names.machines(word)
        wants = [want_sync(manager.desk, machine, options) for machine in machines]
        carry_out(door, manager, wants, Manner(is_dry_run, is_no_wait))
