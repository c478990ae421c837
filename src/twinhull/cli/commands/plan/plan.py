"""``twinhull plan``: which machines go from where to where, and how often."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from twinhull.cli.commands import keeping
from twinhull.cli.commands.plan.create import CREATE_EXAMPLES, create
from twinhull.cli.commands.plan.edit import EXAMPLES as EDIT_EXAMPLES
from twinhull.cli.commands.plan.edit import edit
from twinhull.cli.door import door_of
from twinhull.cli.options import JsonFlag, PlanArgument, YesFlag, commands, examples, pairs
from twinhull.cli.screen import shapes
from twinhull.model.units import format_duration

if TYPE_CHECKING:
    from twinhull.manager.catalog.records import Plan

app = commands()
APPS = {"plan": app}


app.command(epilog=CREATE_EXAMPLES)(create)
app.command(epilog=EDIT_EXAMPLES)(edit)


@app.command("list", epilog=examples("twinhull plan list"))
def list_(context: typer.Context, *, is_json: JsonFlag = False) -> None:
    """List the plans."""
    door = door_of(context)
    with door.manager() as manager:
        plans = manager.catalog.plans()
        names = {plan.name: [manager.names.name(machine_id) for machine_id in plan.machines] for plan in plans}
    if is_json:
        door.screen.document({"plans": [shapes.plan(plan, names[plan.name]) for plan in plans]})
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
                keeping.told(plan.retention),
                "yes" if plan.is_paused else "no",
            ]
            for plan in plans
        ],
        empty="There is no plan yet. Create one: twinhull plan create NAME --machine MACHINE --from SITE --to SITE",
    )


@app.command(epilog=examples("twinhull plan show shop"))
def show(context: typer.Context, *, name: PlanArgument, is_json: JsonFlag = False) -> None:
    """Show a plan."""
    door = door_of(context)
    with door.manager() as manager:
        plan = manager.catalog.plan(name)
        names = [manager.names.name(machine_id) for machine_id in plan.machines]
    if is_json:
        door.screen.document(shapes.plan(plan, names))
        return
    door.screen.facts(
        [
            ("plan", plan.name + (" (paused)" if plan.is_paused else "")),
            ("machines", [f"{named.name}  {named.machine_id}" for named in names]),
            ("from", plan.source),
            ("to", plan.target),
            ("rpo", format_duration(plan.rpo_seconds)),
            ("keeps", keeping.told(plan.retention)),
            ("networks", [f"{here} is {there}" for here, there in plan.networks.items()] or "as they are"),
            ("boot mode", plan.boot_mode or "target's default"),
            ("full compare", _full_compare(plan)),
            ("freeze", "yes" if plan.is_freezing else "no"),
        ]
    )


@app.command(epilog=examples("twinhull plan network shop bridge:br0=bridge:xenbr1"))
def network(
    context: typer.Context,
    *,
    name: PlanArgument,
    mapping: Annotated[
        list[str],
        typer.Argument(metavar="HERE=THERE", help="Name of a source network on the target; repeatable."),
    ],
    is_json: JsonFlag = False,
) -> None:
    """Map networks of the source to networks of the target.

    Replicas that Twinhull created follow at the next sync.
    """
    door = door_of(context)
    with door.manager() as manager:
        manager.catalog.map_networks(name, pairs(mapping))
        plan = manager.catalog.plan(name)
    networks = ", ".join(f"{here} is {there}" for here, there in plan.networks.items())
    door.screen.answer(shapes.plan(plan), f"On {plan.target}, {networks}.")


@app.command(epilog=examples("twinhull plan pause shop"))
def pause(context: typer.Context, *, name: PlanArgument, is_json: JsonFlag = False) -> None:
    """Pause a plan: serve leaves its machines alone, commands still work."""
    _set_paused(context, name, is_json=is_json, is_paused=True)


@app.command(epilog=examples("twinhull plan resume shop"))
def resume(context: typer.Context, *, name: PlanArgument, is_json: JsonFlag = False) -> None:
    """Resume a paused plan."""
    _set_paused(context, name, is_json=is_json, is_paused=False)


@app.command(epilog=examples("twinhull plan remove shop --yes"))
def remove(context: typer.Context, *, name: PlanArgument, is_yes: YesFlag = False, is_json: JsonFlag = False) -> None:
    """Remove a plan, and the change trackers of its machines.

    Machines, replicas and points stay.
    """
    door = door_of(context)
    with door.manager() as manager:
        plan = manager.catalog.plan(name)
        door.confirm(f"Remove the plan '{name}'? Machines, replicas and points stay.", is_yes=is_yes)
        found = manager.remove_plan(plan)
        names = [manager.names.name(machine_id).name for machine_id in plan.machines]
    lines = [*(f"removed  {line}" for line in found.done), *(f"left  {line}" for line in found.left)]
    lines += [f"Remove its replica, too: twinhull machine unprotect {each} --remove-replica" for each in names]
    facts = {"removed": name, "taken_off": found.done, "left": found.left}
    door.screen.answer(facts, f"Removed the plan {name}.", *lines)


def _set_paused(context: typer.Context, name: str, *, is_json: bool, is_paused: bool) -> None:
    door = door_of(context)
    with door.manager() as manager:
        manager.catalog.pause_plan(name, is_paused=is_paused)
        plan = manager.catalog.plan(name)
    door.screen.answer(shapes.plan(plan), f"The plan {name} is {'paused' if is_paused else 'active again'}.")


def _full_compare(plan: Plan) -> str:
    every = plan.full_compare_seconds
    return f"every {format_duration(every)}, and when a tracker fails" if every else "when a tracker fails"
