"""``twinhull machine unprotect``: take off a machine what Twinhull left on it."""

from __future__ import annotations

from typing import Annotated

import typer

from twinhull.cli.door import door_of
from twinhull.cli.options import DryRunFlag, JsonFlag, MachineArgument, YesFlag, examples
from twinhull.model.errors import SiteError

UNPROTECT_EXAMPLES = examples(
    "twinhull machine unprotect db1 --dry-run",
    "twinhull machine unprotect db1 --remove-replica --yes",
)


def unprotect(
    context: typer.Context,
    *,
    machine: MachineArgument,
    is_removing_replica: Annotated[
        bool, typer.Option("--remove-replica", help="Remove its replica and the replica's disks, too.")
    ] = False,
    is_dry_run: DryRunFlag = False,
    is_yes: YesFlag = False,
    is_json: JsonFlag = False,
) -> None:
    """Remove a machine from its plan, and Twinhull's traces from it.

    Change trackers and checkpoints are removed on every site that answers. With --remove-replica its replica and its
    standings are removed, too. Restore points stay. The exit code is 10 if something was left.
    """
    door = door_of(context)
    with door.manager() as manager:
        named = manager.names.machine(machine)
        plan = manager.catalog.plan_of(named.machine_id)
        if not is_dry_run:
            what = ", remove its replica" if is_removing_replica else ""
            out_of = f" and remove it from the plan '{plan.name}'" if plan else ""
            door.confirm(f"Remove all change trackers of {named.name}{what}{out_of}? Points stay.", is_yes=is_yes)
        found = manager.unprotect(named, is_removing_replica=is_removing_replica, is_dry=is_dry_run)
    failed = None
    if found.left:
        again = " --remove-replica" if is_removing_replica else ""
        failed = SiteError(
            f"Not everything of {named.name} was removed: {len(found.left)} of {len(found.done) + len(found.left)}.",
            hint=f"Repeat it when the site answers: twinhull machine unprotect {named.name}{again}",
        )
    facts = {"machine": named.name, "is_dry_run": is_dry_run, "removed": found.done, "left": found.left}
    verb = "would remove" if is_dry_run else "removed"
    lines = [*(f"{verb}  {line}" for line in found.done), *(f"left  {line}" for line in found.left)]
    door.screen.judge(facts, lines or [f"Twinhull left nothing on {named.name}."], failed)
