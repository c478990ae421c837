"""``twinhull status``: where each machine runs, and how far its replica lags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from twinhull.cli.door import Door, door_of
from twinhull.cli.options import JsonFlag, commands, examples
from twinhull.cli.screen import shapes
from twinhull.cli.screen.findings import verdict_lines
from twinhull.cli.screen.screen import Shape, error_shape
from twinhull.cli.screen.status_check import check_line
from twinhull.manager.health.health import Level
from twinhull.model.errors import TwinhullError, UsageError
from twinhull.model.machine import Role
from twinhull.model.units import format_bytes, format_duration, parse_duration

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from twinhull.cluster.situation import Side
    from twinhull.manager.health.status import MachineReport, Status
    from twinhull.manager.manager import Manager
    from twinhull.manager.repository.verifying import Verified

app = commands()
APPS = {"status": app}


CheckFlag = Annotated[
    bool,
    typer.Option(
        "--check", help="Print one line for a monitoring system; exit 0 ok, 1 warning, 2 critical, 3 unknown."
    ),
]


@app.command(epilog=examples("twinhull status", "twinhull status --watch", "twinhull status --check"))
def status(
    context: typer.Context,
    *,
    is_watching: Annotated[bool, typer.Option("--watch", "-w", help="Refresh until Ctrl-C.")] = False,
    every: Annotated[str, typer.Option(metavar="DURATION", help="Refresh interval of --watch.")] = "5s",
    is_checking: CheckFlag = False,
    is_json: JsonFlag = False,
) -> None:
    """Show the health of each planned machine, and its replica's lag.

    The exit code is 0 unless --check is given. docs/health.md lists the states.
    """
    door = door_of(context)
    if is_watching and (is_json or is_checking):
        raise UsageError(
            "--watch is for terminals, and --json prints one document.", hint="Run 'twinhull status --json' repeatedly."
        )
    if is_checking:
        raise typer.Exit(check(door))
    with door.manager() as manager:
        if is_watching:
            _watch(door, manager, parse_duration(every))
        else:
            _show(door, manager, manager.status())


def _watch(door: Door, manager: Manager, every_seconds: float) -> None:
    try:
        while True:
            found = manager.status()
            door.screen.clear()
            door.screen.line(f"{manager.ports.clock.now():%Y-%m-%d %H:%M:%S} UTC")
            _show(door, manager, found)
            manager.ports.clock.sleep(every_seconds)
    except KeyboardInterrupt:
        return  # that is how one stops watching


def _show(door: Door, manager: Manager, found: Status) -> None:
    if door.screen.is_json:
        door.screen.document(document(manager, found))
        return
    door.screen.table(
        ["machine", "plan", "health", "runs on", "epoch", "lag", "rpo", "point", "replica"],
        [_row(report) for report in found.reports],
        empty="No machine is in a plan yet. Create one: twinhull plan create NAME --machine MACHINE --from SITE "
        "--to SITE",
    )
    for report in found.reports:
        for line in verdict_lines(report.machine.name, report.verdict):
            door.screen.line(line)
        for reason in found.damages.of(report.machine.machine_id):
            door.screen.line(f"{report.machine.name}: {reason}")
    for line in _repository(manager, found):
        door.screen.line(line)
    for run in manager.history.unfinished_runs():
        state = "is running" if manager.is_at_work(run) else "was interrupted: twinhull runs resume"
        door.screen.line(f"{run.machine_name}: {run.run_id} {state}")


def document(manager: Manager, found: Status) -> Shape:
    """All of it, as data."""
    return {
        "checked_at": manager.ports.clock.now().isoformat(),
        "exit_code": found.level.value,
        "machines": [shapes.report(report) for report in found.reports],
        "sites": [shapes.site_view(view) for view in found.overview.sites.values()],
        "repository_trouble": found.repository_trouble or None,
        "verification": shapes.verification(found.soundness.verified),
        "repository_alarms": found.repository_alarms(),
        "damaged_points": [{"id": point_id, "reason": reason} for point_id, reason in found.damages.found.items()],
        "unfinished_runs": [
            shapes.run(run, is_at_work=manager.is_at_work(run)) for run in manager.history.unfinished_runs()
        ],
    }


def check(door: Door) -> int:
    """One line and the exit code that monitoring systems expect; what cannot be asked is unknown."""
    try:
        with door.manager() as manager:
            found = manager.status()
            door.screen.answer(document(manager, found) if door.screen.is_json else {}, check_line(found))
            return found.level.value
    except TwinhullError as error:
        level = Level.UNKNOWN
        door.screen.answer({"exit_code": level.value, "error": error_shape(error)}, f"{level.name} - {error.message}")
        return level.value


def _repository(manager: Manager, found: Status) -> Iterator[str]:
    if found.repository_trouble:
        yield f"repository: {found.repository_trouble}"
        yield "  Points are shown as last seen. A replica can start without the repository:"
        yield "  twinhull failover MACHINE --unplanned --without-repository"
    elif manager.vault.is_known():
        yield from _soundness(found.soundness.verified, found.now)
        if found.soundness.failed:
            yield "repository: the latest verification failed:"
            yield f"  twinhull runs show {found.soundness.failed.run_id}"


def _soundness(verified: Verified | None, now: datetime) -> Iterator[str]:
    """What is known of the repository's soundness, for people."""
    if not verified or not verified.run.ended_at:
        yield "repository: never verified; 'twinhull serve' reads a part each day. Now:"
        yield "  twinhull repository verify --read-data"
        return
    verdict = verified.verdict
    age = format_duration(max((now - verified.run.ended_at).total_seconds(), 0.0))
    read = format_bytes(verdict.read_bytes)
    if verdict.is_good:
        yield f"repository: verified {age} ago ({read} read), nothing damaged."
        return
    yield f"repository: DAMAGED, {verdict.problem_count} findings {age} ago:"
    yield f"  twinhull runs show {verified.run.run_id}"
    yield "  twinhull repository repair   (the next verification reads it again)"
    for point_id in verdict.lost_points:
        yield f"  cannot be restored completely: {point_id}"


def _row(report: MachineReport) -> list[str]:
    is_all_known = all(side.is_reachable for side in report.situation.sides)
    where = report.runs_on or ("nowhere" if is_all_known else "unknown")
    return [
        report.machine.name,
        report.plan.name,
        report.health.value,
        where if report.is_running or not report.runs_on else f"{where} (off)",
        str(report.epoch or ""),
        format_duration(report.lag_seconds) if report.lag_seconds is not None else "",
        format_duration(report.plan.rpo_seconds),
        _short(report.latest.point_id) if report.latest else "",
        _replica(report.replica) if report.replica else "",
    ]


def _replica(side: Side) -> str:
    standing = side.standing
    if not side.is_reachable:
        return f"{side.site}: no answer"
    if not standing:
        return f"{side.site}: none"
    if standing.is_dirty:
        return f"{side.site}: dirty"
    at = f"at {_short(standing.point_id)}" if standing.point_id else "at no point"
    role = "" if standing.role is Role.REPLICA else f"{standing.role.value} "
    return f"{side.site}: {role}{at}"


def _short(point_id: str) -> str:
    return str(int(point_id.rpartition("/")[2]))
