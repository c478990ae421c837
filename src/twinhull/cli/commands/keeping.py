"""Which points stay: the words in which a plan and ``points prune`` say it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from twinhull.model.units import format_duration, parse_duration

if TYPE_CHECKING:
    from twinhull.repository import RetentionRules

KEEP_LAST = typer.Option(min=1, metavar="N", help="Number of points to keep for each machine.")
KeepForOption = Annotated[
    str | None, typer.Option(metavar="DURATION", help="Also keep all points from this time before the latest one.")
]
KeepHourlyOption = Annotated[int, typer.Option(min=0, metavar="N", help="Keep one point for each of the last N hours.")]
KeepDailyOption = Annotated[int, typer.Option(min=0, metavar="N", help="Keep one point for each of the last N days.")]
KeepWeeklyOption = Annotated[int, typer.Option(min=0, metavar="N", help="Keep one point for each of the last N weeks.")]
KeepMonthlyOption = Annotated[
    int, typer.Option(min=0, metavar="N", help="Keep one point for each of the last N months.")
]
KeepYearlyOption = Annotated[int, typer.Option(min=0, metavar="N", help="Keep one point for each of the last N years.")]
KeepAtLeastOption = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Always keep at least the N latest points (default: 3).")
]


def rules_of(
    keep_last: int, periods: tuple[int, int, int, int, int], keep_for: str | None, at_least: int | None
) -> RetentionRules:
    """What the options say; ``periods`` are the hours, days, weeks, months and years. Raises UsageError."""
    from twinhull.repository.points.retention import DEFAULT_MINIMUM_COUNT, RetentionRules  # noqa: PLC0415 - loaded when called

    seconds = parse_duration(keep_for) if keep_for else 0.0
    minimum = at_least or DEFAULT_MINIMUM_COUNT
    return RetentionRules(keep_last, *periods, keep_within_seconds=seconds, minimum_count=minimum)


def reach(rules: RetentionRules, rpo_seconds: float) -> str:
    """How far back the latest points reach at that RPO, if nothing else reaches further; empty otherwise."""
    is_only_count = rules.keep_last and not any(rules.counts[1:]) and not rules.keep_within_seconds
    if not is_only_count:
        return ""
    back = format_duration(rules.keep_last * rpo_seconds)
    return (
        f"The latest {rules.keep_last} reach back about {back} at this RPO; consider --keep-hourly 24 --keep-daily 14."
    )


def told(rules: RetentionRules) -> str:
    """The rules for people."""
    kept = [f"the latest {rules.keep_last}"] if rules.keep_last else []
    if rules.keep_within_seconds:
        kept.append(f"all of {format_duration(rules.keep_within_seconds)}")
    periods = (
        ("hours", rules.keep_hourly),
        ("days", rules.keep_daily),
        ("weeks", rules.keep_weekly),
        ("months", rules.keep_monthly),
        ("years", rules.keep_yearly),
    )
    kept += [f"one of each of {count} {word}" for word, count in periods if count]
    if not kept:
        return "everything"
    is_said = rules.minimum_count > rules.keep_last
    return ", ".join(kept) + (f", at least {rules.minimum_count}" if is_said else "")
