"""``twinhull points``: list, show, compare, verify, hold and remove restore points."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from twinhull.cli.commands.points import prune as pruning
from twinhull.cli.door import Door, door_of
from twinhull.cli.options import JsonFlag, OnlyMachineArgument, PointArgument, YesFlag, commands, examples
from twinhull.cli.screen import shapes
from twinhull.cli.screen.progress import watching
from twinhull.model.extents import total_bytes
from twinhull.model.units import format_bytes

if TYPE_CHECKING:
    from twinhull.manager.manager import Manager
    from twinhull.manager.repository.damages import Damages
    from twinhull.model.machine import MachineId, PointId
    from twinhull.repository import Point

app = commands()
APPS = {"points": app}

_DIVERGENT = "written after its site lost the machine; later points do not build on it"


@app.command("list", epilog=examples("twinhull points list", "twinhull points list web1 --json"))
def list_(
    context: typer.Context,
    *,
    machine: OnlyMachineArgument = None,
    is_removed: Annotated[
        bool, typer.Option("--removed", help="List removed points that can still be taken back.")
    ] = False,
    is_json: JsonFlag = False,
) -> None:
    """List restore points, the latest last."""
    door = door_of(context)
    with door.manager() as manager:
        machine_id = manager.machine_of_points(machine) if machine else None
        if is_removed:
            _list_removed(door, manager, machine_id)
        else:
            _list(door, manager, machine_id)


def _list(door: Door, manager: Manager, machine_id: MachineId | None) -> None:
    damages = manager.damages
    points, held = manager.repository.points(machine_id, damages.note), manager.repository.held_points()
    if door.screen.is_json:
        listed = [{**shapes.point(point), "is_held": point.id in held} for point in points]
        damaged = [{"id": point_id, "reason": reason} for point_id, reason in damages.found.items()]
        door.screen.document({"points": listed, "damaged": damaged})
        return
    door.screen.table(
        ["machine", "name", "number", "captured (utc)", "consistency", "from", "epoch", "size", "held"],
        list(_rows(points, held, damages)),
        empty="There is no restore point yet. Make one: twinhull sync MACHINE",
    )
    for reason in damages.found.values():
        door.screen.message(reason)


def _rows(points: Sequence[Point], held: Collection[PointId], damages: Damages) -> Iterator[list[str]]:
    names = shapes.point_names(points)
    for point in points:
        yield [
            str(point.document.spec.get("name", point.machine_id)),
            "" if damages.of(point.machine_id) else names[point.id],
            str(point.sequence),
            f"{point.captured_at:%Y-%m-%d %H:%M:%S}",
            point.document.consistency.value,
            point.document.source_site,
            str(point.document.epoch),
            format_bytes(sum(disk.root.size_bytes for disk in point.document.disks)),
            "yes" if point.id in held else "",
        ]


def _list_removed(door: Door, manager: Manager, machine_id: MachineId | None) -> None:
    removals = [
        {"id": removal.point_id, "reason": removal.reason}
        for removal in manager.repository.removed_points()
        if machine_id in (None, removal.point_id.partition("/")[0])
    ]
    if door.screen.is_json:
        door.screen.document({"removed": removals})
        return
    rows = [[removal["id"], removal["reason"]] for removal in removals]
    door.screen.table(["id", "reason"], rows, empty="There is no removed point.")


@app.command(epilog=examples("twinhull points show web1:N"))
def show(context: typer.Context, *, point: PointArgument, is_json: JsonFlag = False) -> None:
    """Show a restore point."""
    door = door_of(context)
    with door.manager() as manager:
        found = manager.point(point)
        why = manager.repository.hold_reason(found.id)
    if is_json:
        held = {"is_held": why is not None, "hold_reason": why}
        door.screen.document({**shapes.point(found), **held, "spec": dict(found.document.spec)})
        return
    door.screen.facts(
        [
            ("id", found.id),
            ("machine", f"{found.document.spec.get('name', '')}  {found.machine_id}"),
            ("captured", f"{found.captured_at:%Y-%m-%d %H:%M:%S} UTC"),
            ("consistency", found.document.consistency.value),
            ("divergent", _DIVERGENT if found.document.is_divergent else ""),
            ("from", f"{found.document.source_site}, epoch {found.document.epoch}"),
            ("disks", [f"{disk.key}  {format_bytes(disk.root.size_bytes)}" for disk in found.document.disks]),
            ("notes", found.document.notes),
            ("held", why or ""),
        ]
    )


@app.command(epilog=examples("twinhull points diff web1:N-1 web1:N"))
def diff(context: typer.Context, *, older: PointArgument, newer: PointArgument, is_json: JsonFlag = False) -> None:
    """Show how much differs between two points, per disk, in whole chunks."""
    door = door_of(context)
    with door.manager() as manager:
        old, new = manager.point(older), manager.point(newer)
        rows = []
        for disk in new.document.disks:
            before = old.disk(disk.key)
            extents = list(manager.repository.diff(before.root if before else None, disk.root))
            rows.append((disk.key, total_bytes(extents), len(extents), before is None))
        gone = [disk.key for disk in old.document.disks if not new.disk(disk.key)]
    if is_json:
        disks = [
            {"key": key, "changed_bytes": size, "extent_count": count, "is_new": is_new}
            for key, size, count, is_new in rows
        ]
        door.screen.document({"older": old.id, "newer": new.id, "disks": disks, "removed_disks": gone})
        return
    door.screen.table(
        ["disk", "differs", "places", ""],
        [[key, format_bytes(size), str(count), "new disk" if is_new else ""] for key, size, count, is_new in rows]
        + [[key, "", "", "removed disk"] for key in gone],
        empty="The newer point has no disk.",
    )


@app.command(epilog=examples("twinhull points verify web1:N", "twinhull repository verify"))
def verify(context: typer.Context, *, point: PointArgument, is_json: JsonFlag = False) -> None:
    """Read a whole point, and check every byte.

    The exit code is 34 if something is damaged. 'twinhull repository verify --read-data' does this for all points.
    """
    from twinhull.manager.repository.verifying import verify_point  # noqa: PLC0415 - loaded when called

    door = door_of(context)
    with door.manager() as manager:
        found = manager.point(point)
        with watching(door.screen) as ears:
            verdict = verify_point(manager.repository, found, ears.on_progress)
    door.screen.judge(verdict.shape(), verdict.lines(), verdict.damage())


@app.command(
    epilog=examples("twinhull points hold web1:N", "twinhull points hold web1:12 --reason 'before the upgrade'")
)
def hold(
    context: typer.Context,
    *,
    point: PointArgument,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why it is held.")] = "asked for",
    is_json: JsonFlag = False,
) -> None:
    """Protect a point from retention and removal until it is released."""
    door = door_of(context)
    with door.manager() as manager:
        found = manager.point(point)
        manager.repository.hold_point(found.id, reason)
        why = manager.repository.hold_reason(found.id)
    door.screen.answer(
        {"held": found.id, "hold_reason": why},
        f"The point {found.id} is held ({why}). To release it: twinhull points release {found.id}",
    )


@app.command(epilog=examples("twinhull points release web1:12"))
def release(context: typer.Context, *, point: PointArgument, is_json: JsonFlag = False) -> None:
    """Release a held point: retention and removal may take it again."""
    door = door_of(context)
    with door.manager() as manager:
        found = manager.point(point)
        manager.repository.release_point(found.id)
    door.screen.answer({"released": found.id}, f"The point {found.id} is no longer held.")


app.command(epilog=pruning.EXAMPLES)(pruning.prune)


@app.command(epilog=examples("twinhull points remove web1:N-9", "twinhull points remove web1:3 --yes"))
def remove(
    context: typer.Context,
    *,
    point: PointArgument,
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why it is removed.")] = "asked for",
    is_yes: YesFlag = False,
    is_json: JsonFlag = False,
) -> None:
    """Remove a point. It can be taken back until its data is collected."""
    from twinhull.manager.runs.kinds.remove import want_removed  # noqa: PLC0415 - as above
    from twinhull.manager.sites.names import Named  # noqa: PLC0415 - loaded when called

    door = door_of(context)
    with door.manager() as manager:
        found = manager.point(point)
        name = found.document.spec.get("name", found.machine_id)
        door.confirm(f"Remove the point {found.sequence} of {name}, of {found.captured_at:%F %T} UTC?", is_yes=is_yes)
        with watching(door.screen) as ears:
            machine = Named(found.machine_id, str(name))
            want = want_removed(manager.repository.id, machine, found.id, reason)
            run = manager.dispatcher.carry_out(want, ears)
        locked = manager.repository.locked_until(found.id)
    kept = [f"The store's object lock keeps its data until {locked:%F %R} UTC at least."] if locked else []
    door.screen.answer(
        {"removed": found.id, "run_id": run.run_id, "locked_until": locked and locked.isoformat()},
        f"Removed {found.id}. To take it back: twinhull points take-back {found.id}",
        *kept,
    )


@app.command("take-back", epilog=examples("twinhull points take-back 1b4e28ba-2fa1-11d2-883f-0016d3cca427/00000003"))
def take_back(
    context: typer.Context,
    *,
    point_id: Annotated[str, typer.Argument(metavar="ID", help="The full id, see 'twinhull points list --removed'.")],
    is_json: JsonFlag = False,
) -> None:
    """Take back the removal of a point."""
    from twinhull.model.machine import PointId  # noqa: PLC0415 - loaded when called

    door = door_of(context)
    with door.manager() as manager:
        found = manager.repository.restore_point(PointId(point_id))
    door.screen.answer(shapes.point(found), f"The point {found.id} is restored to the list.")
