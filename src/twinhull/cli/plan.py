"""``twinhull plan``: which machines go from where to where, and how often."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from twinhull.cli import completing, shapes
from twinhull.cli.door import door_of
from twinhull.cli.options import JsonFlag, PlanArgument, YesFlag, examples
from twinhull.model.errors import UsageError
from twinhull.model.machine import BootMode, PlanName, SiteName
from twinhull.model.units import format_duration, parse_duration

if TYPE_CHECKING:
    from twinhull.manager.records import Plan

app = typer.Typer(help="Which machines go from where to where, and how often.", rich_markup_mode=None)
APPS = {"plan": app}


@app.command(
    epilog=examples(
        "twinhull plan create shop --machine db1 --machine web1 --from here --to there --rpo 15m",
        "twinhull plan create lab --machine vm7 --from here --to there --rpo 1h --keep-last 30 --keep-for 14d",
        "twinhull plan create web --machine web1 --from here --to there --rpo 5m --network network:lan=bridge:br0",
    )
)
def create(
    context: typer.Context,
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it: a-z, 0-9 and '-'.")],
    machine: Annotated[
        list[str],
        typer.Option("--machine", "-m", help="A machine; repeat it in boot order.", autocompletion=completing.machines),
    ],
    source: Annotated[str, typer.Option("--from", metavar="SITE", autocompletion=completing.sites, help="Home.")],
    target: Annotated[
        str, typer.Option("--to", metavar="SITE", autocompletion=completing.sites, help="Where the replicas live.")
    ],
    rpo: Annotated[
        str, typer.Option(metavar="DURATION", help="How much may be lost at most: 30s, 15m, 1h30m.")
    ] = "15m",
    keep_last: Annotated[int, typer.Option(min=1, help="Keep so many points of each machine.")] = 14,
    keep_for: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Keep all points of that time before the latest one, too.")
    ] = None,
    keep_hourly: Annotated[int, typer.Option(min=0, metavar="N", help="Keep a point of each of the last N hours.")] = 0,
    keep_daily: Annotated[int, typer.Option(min=0, metavar="N", help="The same for days.")] = 0,
    keep_weekly: Annotated[int, typer.Option(min=0, metavar="N", help="The same for weeks.")] = 0,
    keep_monthly: Annotated[int, typer.Option(min=0, metavar="N", help="The same for months.")] = 0,
    network: Annotated[
        list[str] | None,
        typer.Option(metavar="HERE=THERE", help="What a network of the source is called on the target; repeatable."),
    ] = None,
    boot_mode: Annotated[
        BootMode | None, typer.Option(help="How replicas boot on the target [its most faithful way].")
    ] = None,
    full_compare_every: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="Trust no change tracker in every Nth point; 0: only when one fails."),
    ] = 0,
    is_freezing: Annotated[
        bool, typer.Option("--freeze/--no-freeze", help="Freeze file systems by the guest agent for a capture.")
    ] = True,
    is_json: JsonFlag = False,
) -> None:
    """Say which machines shall have replicas where. Nothing moves until 'sync' or 'serve'."""
    from twinhull.manager import sites  # noqa: PLC0415 - loaded when called
    from twinhull.manager.records import Plan  # noqa: PLC0415 - as above
    from twinhull.repository import RetentionRules  # noqa: PLC0415 - as above

    door = door_of(context)
    sites.checked_name(name, "plan")
    if source == target:
        raise UsageError(f"The plan would go from '{source}' to itself.", hint="Name two sites.")
    with door.manager() as manager:
        plan = Plan(
            name=PlanName(name),
            machines=tuple(dict.fromkeys(manager.names.machine(word).machine_id for word in machine)),
            source=manager.catalog.site(SiteName(source)).name,
            target=manager.catalog.site(SiteName(target)).name,
            rpo_seconds=parse_duration(rpo),
            retention=RetentionRules(
                keep_last=keep_last,
                keep_within_seconds=parse_duration(keep_for) if keep_for else 0.0,
                keep_hourly=keep_hourly,
                keep_daily=keep_daily,
                keep_weekly=keep_weekly,
                keep_monthly=keep_monthly,
            ),
            networks=networks(network or []),
            boot_mode=boot_mode.value if boot_mode else None,
            full_compare_every=full_compare_every,
            is_freezing=is_freezing,
        )
        manager.catalog.add_plan(plan)
    if is_json:
        door.screen.document(shapes.plan(plan))
        return
    door.screen.line(f"Made the plan {name}: {len(plan.machines)} machines from {source} to {target}, RPO {rpo}.")
    door.screen.line(f"First sync: twinhull sync {name}. Keep it so: twinhull serve")


@app.command("list", epilog=examples("twinhull plan list"))
def list_(context: typer.Context, *, is_json: JsonFlag = False) -> None:
    """List the plans."""
    door = door_of(context)
    with door.manager() as manager:
        plans = manager.catalog.plans()
    if is_json:
        door.screen.document({"plans": [shapes.plan(plan) for plan in plans]})
        return
    door.screen.table(
        ["plan", "machines", "from", "to", "rpo", "keeps", "paused"],
        [
            [
                plan.name,
                str(len(plan.machines)),
                plan.source,
                plan.target,
                format_duration(plan.rpo_seconds),
                _retention(plan),
                "yes" if plan.is_paused else "no",
            ]
            for plan in plans
        ],
        empty="There is no plan yet: twinhull plan create NAME --machine MACHINE --from SITE --to SITE",
    )


@app.command(epilog=examples("twinhull plan show shop"))
def show(context: typer.Context, *, name: PlanArgument, is_json: JsonFlag = False) -> None:
    """Show a plan."""
    door = door_of(context)
    with door.manager() as manager:
        plan = manager.catalog.plan(name)
        names = [manager.names.name(machine_id) for machine_id in plan.machines]
    if is_json:
        door.screen.document(shapes.plan(plan))
        return
    door.screen.facts(
        [
            ("plan", plan.name + (" (paused)" if plan.is_paused else "")),
            ("machines", "\n".join(f"{named.name}  {named.machine_id}" for named in names)),
            ("from", plan.source),
            ("to", plan.target),
            ("rpo", format_duration(plan.rpo_seconds)),
            ("keeps", _retention(plan)),
            ("networks", "\n".join(f"{here} is {there}" for here, there in plan.networks.items()) or "as they are"),
            ("boot mode", plan.boot_mode or "the target's most faithful"),
            ("full compare", f"every {plan.full_compare_every} points" if plan.full_compare_every else "when needed"),
            ("freeze", "yes" if plan.is_freezing else "no"),
        ]
    )


@app.command(epilog=examples("twinhull plan pause shop"))
def pause(context: typer.Context, *, name: PlanArgument, is_json: JsonFlag = False) -> None:
    """Let serve leave the plan's machines alone. Commands still work on them."""
    _set_paused(context, name, is_json=is_json, is_paused=True)


@app.command(epilog=examples("twinhull plan resume shop"))
def resume(context: typer.Context, *, name: PlanArgument, is_json: JsonFlag = False) -> None:
    """Let serve keep the plan again."""
    _set_paused(context, name, is_json=is_json, is_paused=False)


@app.command(epilog=examples("twinhull plan remove shop --yes"))
def remove(context: typer.Context, *, name: PlanArgument, is_yes: YesFlag = False, is_json: JsonFlag = False) -> None:
    """Forget a plan. Machines, replicas and points stay as they are."""
    door = door_of(context)
    with door.manager() as manager:
        plan = manager.catalog.plan(name)
        door.confirm(f"Forget the plan '{name}'? Machines, replicas and points stay.", is_yes=is_yes)
        manager.catalog.remove_plan(plan.name)
    if is_json:
        door.screen.document({"removed": name})
        return
    door.screen.line(f"Forgot the plan {name}.")


def networks(words: list[str]) -> dict[str, str]:
    """``HERE=THERE`` words as a mapping; raises UsageError."""
    found: dict[str, str] = {}
    for word in words:
        here, sign, there = word.partition("=")
        if not (here and sign and there):
            raise UsageError(f"'{word}' is no network mapping.", hint="Write it as HERE=THERE.")
        found[here] = there
    return found


def _set_paused(context: typer.Context, name: str, *, is_json: bool, is_paused: bool) -> None:
    door = door_of(context)
    with door.manager() as manager:
        manager.catalog.pause_plan(name, is_paused=is_paused)
        plan = manager.catalog.plan(name)
    if is_json:
        door.screen.document(shapes.plan(plan))
        return
    door.screen.line(f"The plan {name} is {'paused' if is_paused else 'kept again'}.")


def _retention(plan: Plan) -> str:
    rules = plan.retention
    periods = (("hours", rules.keep_hourly), ("days", rules.keep_daily), ("weeks", rules.keep_weekly))
    kept = [f"the latest {rules.keep_last}"]
    if rules.keep_within_seconds:
        kept.append(f"all of {format_duration(rules.keep_within_seconds)}")
    kept += [f"one of each of {count} {word}" for word, count in (*periods, ("months", rules.keep_monthly)) if count]
    return ", ".join(kept)
