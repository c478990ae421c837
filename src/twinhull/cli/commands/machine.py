"""``twinhull machine``: look at the machines of all sites."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from twinhull.cli.commands.unprotect import UNPROTECT_EXAMPLES, unprotect
from twinhull.cli.door import door_of
from twinhull.cli.options import JsonFlag, MachineArgument, commands, examples
from twinhull.cli.screen import shapes
from twinhull.cli.screen.findings import verdict_lines
from twinhull.model.units import format_bytes

if TYPE_CHECKING:
    from twinhull.manager.health.status import MachineReport
    from twinhull.manager.sites.overview import Overview, SiteView
    from twinhull.model.machine import MachineStatus

app = commands()
APPS = {"machine": app}


app.command(epilog=UNPROTECT_EXAMPLES)(unprotect)


@app.command("list", epilog=examples("twinhull machine list", "twinhull machine list --json"))
def list_(context: typer.Context, *, is_json: JsonFlag = False) -> None:
    """List machines of all sites, with the health of those in a plan."""
    door = door_of(context)
    with door.manager() as manager:
        status_found = manager.status()
    overview, reports = status_found.overview, {report.machine.machine_id: report for report in status_found.reports}
    found = sorted(_machines(overview), key=lambda pair: (pair[1].spec.name, pair[0].settings.name))
    if is_json:
        machines = [
            {
                **shapes.machine(status, view.settings.name, view.standings.get(status.spec.machine_id)),
                **shapes.planned(reports.get(status.spec.machine_id)),
            }
            for view, status in found
        ]
        door.screen.document({"machines": machines, "silent_sites": _silent(overview)})
        return
    door.screen.table(
        ["machine", "site", "power", "role", "cpus", "memory", "disks", "plan", "health"],
        [
            [
                status.spec.name,
                view.settings.name,
                status.power.value,
                _role(view, status),
                str(status.spec.cpu_count),
                format_bytes(status.spec.memory_bytes),
                format_bytes(sum(disk.size_bytes for disk in status.spec.disks)),
                *_planned(reports.get(status.spec.machine_id)),
            ]
            for view, status in found
        ],
        empty="No site that answers has any machine.",
    )
    for silent in _silent(overview):
        door.screen.message(f"{silent['site']} does not answer: {silent['reason']}")


@app.command(epilog=examples("twinhull machine show web1", "twinhull machine show web1 --look-inside"))
def show(
    context: typer.Context,
    *,
    machine: MachineArgument,
    is_looking_inside: Annotated[
        bool,
        typer.Option(
            "--look-inside",
            help="Inspect the live machine through a temporary snapshot (default: its latest restore point).",
        ),
    ] = False,
    is_json: JsonFlag = False,
) -> None:
    """Show a machine's health, hardware, and readiness for its other site."""
    door = door_of(context)
    with door.manager() as manager:
        named = manager.names.machine(machine)
        inspected = manager.inspect(named, is_looking_inside=is_looking_inside)
        reports = manager.status().reports
    report = next((report for report in reports if report.machine.machine_id == named.machine_id), None)
    if is_json:
        door.screen.document({**shapes.planned(report), **inspected.shape()})
        return
    if report:
        door.screen.heading(f"{named.name}: {report.health.value}")
        for line in verdict_lines(named.name, report.verdict):
            door.screen.line(line)
        door.screen.line()
    for place in inspected.places:
        status = place.status
        door.screen.heading(f"{status.spec.name} on {place.site}")
        door.screen.facts(
            [
                ("id", status.spec.machine_id),
                ("id on its site", status.native_id),
                ("power", status.power.value),
                ("role", place.standing.role.value if place.standing else "none (not protected, may start)"),
                ("epoch", str(place.standing.epoch) if place.standing else ""),
                ("processors", str(status.spec.cpu_count)),
                ("memory", format_bytes(status.spec.memory_bytes)),
                ("firmware", status.spec.firmware.value),
                ("boot mode", status.spec.boot_mode.value),
                ("guest agent", _agent(status)),
                ("disks", [f"{d.key}  {format_bytes(d.size_bytes)}  {d.bus}" for d in status.spec.disks]),
                ("networks", [f"{nic.mac}  {nic.network}  {nic.model}" for nic in status.spec.nics]),
                ("warnings", status.warnings),
            ]
        )
        door.screen.line()
    door.screen.heading("Readiness for the other site")
    door.screen.table(
        ["finding", "consequence", "what to do"],
        [[one.finding, one.consequence or "", one.remedy] for one in inspected.readiness],
        empty="Found nothing that would keep it from booting there.",
    )


def _machines(overview: Overview) -> list[tuple[SiteView, MachineStatus]]:
    return [(view, status) for view in overview.sites.values() for status in view.machines]


def _planned(report: MachineReport | None) -> tuple[str, str]:
    return (report.plan.name, report.health.value) if report else ("", "")


def _silent(overview: Overview) -> list[dict[str, str]]:
    return [
        {"site": view.settings.name, "reason": view.reason} for view in overview.sites.values() if not view.is_reachable
    ]


def _role(view: SiteView, status: MachineStatus) -> str:
    standing = view.standings.get(status.spec.machine_id)
    return standing.role.value if standing else ""


def _agent(status: MachineStatus) -> str:
    if not status.has_agent:
        return "none: captures are crash-consistent"
    return {None: "configured", True: "answers", False: "does not answer"}[status.agent_answers]
