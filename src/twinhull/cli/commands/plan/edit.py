"""``twinhull plan edit``: change a plan; what is not said stays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from twinhull.cli import completing
from twinhull.cli.commands import keeping
from twinhull.cli.commands.keeping import KeepForOption
from twinhull.cli.door import door_of
from twinhull.cli.options import DryRunFlag, JsonFlag, NetworkOption, PlanArgument, examples, pairs
from twinhull.cli.screen import shapes
from twinhull.model.machine import BootMode
from twinhull.model.units import format_duration, parse_duration

if TYPE_CHECKING:
    from twinhull.manager.manager import Manager
    from twinhull.repository import RetentionRules

EXAMPLES = examples(
    "twinhull plan edit shop --rpo 5m --dry-run",
    "twinhull plan edit shop --add web2 --remove web1",
    "twinhull plan edit shop --keep-hourly 24 --keep-daily 14",
    "twinhull plan edit shop --network bridge:br0=bridge:xenbr1",
)

AddOption = Annotated[
    list[str] | None,
    typer.Option(
        "--add", metavar="MACHINE", help="Add a machine, last in boot order.", autocompletion=completing.machines
    ),
]
RemoveOption = Annotated[
    list[str] | None,
    typer.Option(
        "--remove",
        metavar="MACHINE",
        help="Remove a machine from the plan; its replica and points stay.",
        autocompletion=completing.machines,
    ),
]
Count = Annotated[int | None, typer.Option(min=0, metavar="N", help="As for plan create.")]


def edit(
    context: typer.Context,
    *,
    name: PlanArgument,
    add: AddOption = None,
    remove: RemoveOption = None,
    rpo: Annotated[str | None, typer.Option(metavar="DURATION", help="The most that may be lost, as a time.")] = None,
    keep_last: Count = None,
    keep_for: KeepForOption = None,
    keep_hourly: Count = None,
    keep_daily: Count = None,
    keep_weekly: Count = None,
    keep_monthly: Count = None,
    keep_yearly: Count = None,
    keep_at_least: Count = None,
    network: NetworkOption = None,
    boot_mode: Annotated[BootMode | None, typer.Option(help="Boot mode of replicas on the target.")] = None,
    full_compare_every: Annotated[str | None, typer.Option(metavar="DURATION", help="As for plan create.")] = None,
    is_freezing: Annotated[bool | None, typer.Option("--freeze/--no-freeze", help="As for plan create.")] = None,
    is_dry_run: DryRunFlag = False,
    is_json: JsonFlag = False,
) -> None:
    """Change a plan. Options that are not given stay as they are.

    Machines, replicas and points do not change until the next sync.
    """
    from twinhull.manager.sites.editing import changes, edited_machines  # noqa: PLC0415 - loaded when called

    door = door_of(context)
    counts = {
        "keep_last": keep_last,
        "keep_hourly": keep_hourly,
        "keep_daily": keep_daily,
        "keep_weekly": keep_weekly,
        "keep_monthly": keep_monthly,
        "keep_yearly": keep_yearly,
        "minimum_count": keep_at_least,
        "keep_within_seconds": parse_duration(keep_for) if keep_for else None,
    }
    with door.manager() as manager:
        old = manager.catalog.plan(name)
        added = [manager.names.machine_on(word, old.source).machine_id for word in add or ()]
        removed = [manager.names.machine(word).machine_id for word in remove or ()]
        wanted = {
            "machines": edited_machines(old.machines, added, removed),
            "rpo_seconds": parse_duration(rpo) if rpo else None,
            "retention": _retention(old.retention, counts),
            "networks": {**old.networks, **pairs(network)},
            "boot_mode": boot_mode.value if boot_mode else None,
            "full_compare_seconds": parse_duration(full_compare_every) if full_compare_every else None,
            "is_freezing": is_freezing,
        }
        new = replace(old, **_said(wanted))
        found = changes(old, new, _telling(manager))
        if not is_dry_run:
            manager.catalog.replace_plan(new)
        gone = [manager.names.name(machine_id).name for machine_id in removed]
    lines = [f"{field.removesuffix('_seconds')}: {change}" for field, change in found.items()]
    head = f"The plan {name} would change:" if is_dry_run else f"Changed the plan {name}:"
    shape = {**shapes.plan(new), "changes": found, "is_dry_run": is_dry_run}
    door.screen.answer(shape, head, *(f"  {line}" for line in lines), *_afterwards(gone))


def _retention(old: RetentionRules, counts: dict[str, Any]) -> RetentionRules:
    return replace(old, **_said(counts))


def _said(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _telling(manager: Manager) -> dict[str, Any]:
    def machines(ids: Sequence[Any]) -> str:
        return ", ".join(manager.names.name(machine_id).name for machine_id in ids)

    return {
        "machines": machines,
        "rpo_seconds": format_duration,
        "full_compare_seconds": format_duration,
        "retention": keeping.told,
        "networks": lambda networks: ", ".join(f"{here}={there}" for here, there in networks.items()) or "as they are",
        "boot_mode": lambda mode: mode or "target's default",
        "is_freezing": lambda is_on: "yes" if is_on else "no",
    }


def _afterwards(gone: Sequence[str]) -> list[str]:
    return [f"To remove the change trackers from {name}: 'twinhull machine unprotect {name}'" for name in gone]
