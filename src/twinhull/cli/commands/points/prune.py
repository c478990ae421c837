"""``twinhull points prune``: retention by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from twinhull.cli.commands import keeping
from twinhull.cli.door import door_of
from twinhull.cli.options import DryRunFlag, JsonFlag, MachineOrPlanArgument, YesFlag, examples
from twinhull.cli.screen import shapes
from twinhull.cli.screen.progress import watching
from twinhull.model.errors import UsageError

if TYPE_CHECKING:
    from twinhull.cli.screen.screen import Screen
    from twinhull.manager.runs.pruning import Pruning
    from twinhull.model.machine import PointId, RunId

EXAMPLES = examples(
    "twinhull points prune shop --dry-run",
    "twinhull points prune web1 --keep-last 7 --keep-daily 14 --keep-for 2d",
)


def prune(
    context: typer.Context,
    *,
    machine: MachineOrPlanArgument,
    keep_last: Annotated[int | None, keeping.KEEP_LAST] = None,
    keep_for: keeping.KeepForOption = None,
    keep_hourly: keeping.KeepHourlyOption = 0,
    keep_daily: keeping.KeepDailyOption = 0,
    keep_weekly: keeping.KeepWeeklyOption = 0,
    keep_monthly: keeping.KeepMonthlyOption = 0,
    keep_yearly: keeping.KeepYearlyOption = 0,
    keep_at_least: keeping.KeepAtLeastOption = None,
    is_dry_run: DryRunFlag = False,
    is_yes: YesFlag = False,
    is_json: JsonFlag = False,
) -> None:
    """Remove points that no rule keeps, and show why each stays or goes.

    Without options the plan's retention applies; otherwise only the options do. The latest points and held points
    always stay. Rules count from the latest point, not from today.
    """
    from twinhull.manager.runs.removing import removed_by  # noqa: PLC0415 - loaded when called

    door = door_of(context)
    periods = (keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly)
    asked = keeping.rules_of(keep_last or 0, periods, keep_for, keep_at_least)
    if keep_at_least and asked.is_empty:
        raise UsageError("--keep-at-least alone does not select points to remove.", hint="Add a rule: --keep-daily 14")
    gone: list[PointId] = []
    runs: list[RunId] = []
    locked = None
    with door.manager() as manager:
        shown = manager.pruner.look(machine, asked)
        if not is_json:
            _show(door.screen, shown)
        going = sum(len(pruning.going) for pruning in shown)
        if going and not is_dry_run:
            door.confirm(f"Remove these {going} points?", is_yes=is_yes)
            with watching(door.screen) as ears:
                for pruning in shown:
                    run = manager.dispatcher.carry_out(manager.pruner.want(pruning), ears)
                    runs.append(run.run_id)
                    gone += removed_by(run)
            locked = max(filter(None, map(manager.repository.locked_until, gone)), default=None)
    door.screen.answer(
        {
            "machines": [_shape(pruning) for pruning in shown],
            "removed": gone,
            "runs": runs,
            "locked_until": locked and locked.isoformat(),
        },
        f"{going} points would be removed." if is_dry_run else f"Removed {len(gone)} points.",
        *(["To take one back before it is collected: twinhull points take-back ID"] if gone else []),
        *([f"The store's object lock keeps data of them until {locked:%F %R} UTC."] if locked else []),
    )


def _show(screen: Screen, shown: Sequence[Pruning]) -> None:
    for pruning in shown:
        names = shapes.point_names([verdict.point for verdict in reversed(pruning.verdicts)])
        screen.heading(f"{pruning.machine.name}: keep {keeping.told(pruning.rules)}")
        screen.table(
            ["name", "number", "captured (utc)", "why"],
            [
                [
                    names[verdict.point.id],
                    str(verdict.point.sequence),
                    f"{verdict.point.captured_at:%Y-%m-%d %H:%M:%S}",
                    verdict.reason,
                ]
                for verdict in pruning.verdicts
            ],
            empty="There is no restore point yet.",
        )


def _shape(pruning: Pruning) -> dict[str, object]:
    points = [
        {**shapes.point(verdict.point), "stays": verdict.stays, "reason": verdict.reason}
        for verdict in pruning.verdicts
    ]
    return {"machine_id": pruning.machine.machine_id, "machine_name": pruning.machine.name, "points": points}
