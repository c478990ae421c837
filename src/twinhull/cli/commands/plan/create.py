"""``twinhull plan create``: all that can be said of a plan."""

from __future__ import annotations

from typing import Annotated

import typer

from twinhull.cli import completing
from twinhull.cli.commands.keeping import (
    KEEP_LAST,
    KeepAtLeastOption,
    KeepDailyOption,
    KeepForOption,
    KeepHourlyOption,
    KeepMonthlyOption,
    KeepWeeklyOption,
    KeepYearlyOption,
    reach,
    rules_of,
)
from twinhull.cli.door import door_of
from twinhull.cli.options import JsonFlag, NetworkOption, examples, pairs
from twinhull.cli.screen import shapes
from twinhull.model.errors import UsageError
from twinhull.model.machine import BootMode, PlanName, SiteName
from twinhull.model.units import counted, parse_duration

CREATE_EXAMPLES = examples(
    "twinhull plan create shop -m db1 -m web1 --from here --to there --rpo 15m",
    "twinhull plan create lab -m vm7 --from here --to there --keep-for 14d",
    "twinhull plan create a -m vm1 --from here --to there --network lan=br0",
)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Its name: a-z, 0-9 and '-'.")]
MachinesOption = Annotated[
    list[str],
    typer.Option(
        "--machine",
        "-m",
        metavar="MACHINE",
        help="A machine; repeat for several, in boot order.",
        autocompletion=completing.machines,
    ),
]
SourceOption = Annotated[str, typer.Option("--from", metavar="SITE", autocompletion=completing.sites, help="Home.")]
TargetOption = Annotated[
    str, typer.Option("--to", metavar="SITE", autocompletion=completing.sites, help="Site of the replicas.")
]
RpoOption = Annotated[
    str, typer.Option(metavar="DURATION", help="The most that may be lost, as a time: 30s, 15m, 1h30m.")
]
BootModeOption = Annotated[
    BootMode | None, typer.Option(help="Boot mode of replicas (default: closest to the source).")
]
FullCompareOption = Annotated[
    str,
    typer.Option(metavar="DURATION", help="Longest time without a full comparison; 0s means never compare."),
]
FreezeFlag = Annotated[
    bool, typer.Option("--freeze/--no-freeze", help="Freeze file systems for a capture through the guest agent.")
]


def create(
    context: typer.Context,
    *,
    name: NameArgument,
    machine: MachinesOption,
    source: SourceOption,
    target: TargetOption,
    rpo: RpoOption = "15m",
    keep_last: Annotated[int, KEEP_LAST] = 14,
    keep_for: KeepForOption = None,
    keep_hourly: KeepHourlyOption = 0,
    keep_daily: KeepDailyOption = 0,
    keep_weekly: KeepWeeklyOption = 0,
    keep_monthly: KeepMonthlyOption = 0,
    keep_yearly: KeepYearlyOption = 0,
    keep_at_least: KeepAtLeastOption = None,
    network: NetworkOption = None,
    boot_mode: BootModeOption = None,
    full_compare_every: FullCompareOption = "7d",
    is_freezing: FreezeFlag = True,
    is_json: JsonFlag = False,
) -> None:
    """Create a plan: which machines have replicas where, and the RPO.

    Nothing is copied until a sync, by hand or by serve.
    """
    from twinhull.manager.catalog.records import Plan  # noqa: PLC0415 - as above
    from twinhull.manager.sites import pool as sites  # noqa: PLC0415 - loaded when called
    from twinhull.manager.sites.suitability import OF_A_SOURCE, OF_A_TARGET, require_parts  # noqa: PLC0415 - as above

    door = door_of(context)
    sites.checked_name(name, "plan")
    if source == target:
        raise UsageError(f"Source and target of the plan are both '{source}'.", hint="Name two different sites.")
    periods = (keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly)
    rules = rules_of(keep_last, periods, keep_for, keep_at_least)
    with door.manager() as manager:
        home = manager.catalog.site(SiteName(source)).name
        plan = Plan(
            name=PlanName(name),
            machines=tuple(dict.fromkeys(manager.names.machine_on(word, home).machine_id for word in machine)),
            source=home,
            target=manager.catalog.site(SiteName(target)).name,
            rpo_seconds=parse_duration(rpo),
            retention=rules,
            networks=pairs(network),
            boot_mode=boot_mode.value if boot_mode else None,
            full_compare_seconds=parse_duration(full_compare_every),
            is_freezing=is_freezing,
        )
        require_parts(manager.pool, plan.source, OF_A_SOURCE)
        require_parts(manager.pool, plan.target, OF_A_TARGET)
        manager.catalog.add_plan(plan)
    door.screen.answer(
        shapes.plan(plan),
        f"Created the plan {name}: {counted(len(plan.machines), 'machine')} from {source} to {target}, RPO {rpo}.",
        *filter(None, [reach(plan.retention, plan.rpo_seconds)]),
        f"First sync: twinhull sync {name}. Then keep it in sync: twinhull serve",
    )
