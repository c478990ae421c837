"""``twinhull restore``: bring a point to a site, an NBD export, a block device or a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twinhull.cli.commands.outcomes import Manner, carry_out
from twinhull.cli.door import door_of
from twinhull.cli.options import (
    DryRunFlag,
    JsonFlag,
    NetworkOption,
    NoWaitFlag,
    PointArgument,
    commands,
    examples,
    pairs,
)
from twinhull.model.errors import UsageError
from twinhull.model.machine import BootMode, SiteName

app = commands()
APPS = {"restore": app}

_FORMATS = ("raw", "qcow2", "vmdk", "vhdx")
_SITE = "site:"
_NBD = ("nbd:", "nbds:", "nbd+unix:", "nbds+unix:")


@app.command(
    epilog=examples(
        "twinhull restore web1:N-1 --to site:lab --name web1-test",
        "twinhull restore web1:N --to /srv/web1.qcow2",
        "twinhull restore 'web1:2026-11-26 20:15' --to /srv/web1.qcow2",
        "twinhull restore web1:12 --disk vdb --to /srv/data.raw --overwrite",
        "twinhull restore web1:N --disk vda --to /dev/vg0/web1 --overwrite",
        "twinhull restore web1:N --disk vda --to 'nbd+unix:///?socket=/run/disk.sock'",
    )
)
def restore(
    context: typer.Context,
    *,
    point: PointArgument,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="TARGET",
            help="site:NAME, an NBD URI (nbd+unix:///?socket=PATH), a block device, or a file whose name says its "
            "format: .raw, .img, .qcow2, .vmdk, .vhdx.",
        ),
    ],
    disk: Annotated[
        str | None, typer.Option("--disk", metavar="KEY", help="The disk (vda), if the point has several.")
    ] = None,
    file_format: Annotated[
        str | None,
        typer.Option("--format", metavar="|".join(_FORMATS), help="Format of the file (default: by its extension)."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the new machine on the site.")] = None,
    network: NetworkOption = None,
    boot_mode: Annotated[BootMode | None, typer.Option(help="Boot mode of the new machine.")] = None,
    is_overwriting: Annotated[
        bool, typer.Option("--overwrite", help="Replace the content of the file or device.")
    ] = False,
    is_dry_run: DryRunFlag = False,
    is_no_wait: NoWaitFlag = False,
    is_json: JsonFlag = False,
) -> None:
    """Restore a point to a site, a file, a block device or an NBD export.

    On a site it becomes a new machine; elsewhere one disk is written. The point does not change. A restored file can be
    read by its owner only.
    """
    from twinhull.manager.runs.kinds.restore import RestoreTarget, want_restore  # noqa: PLC0415 - loaded when called

    door = door_of(context)
    target = RestoreTarget(
        site=SiteName(to.removeprefix(_SITE)) if to.startswith(_SITE) else None,
        nbd_uri=to if to.startswith(_NBD) else None,
        path=None if to.startswith((_SITE, *_NBD)) else str(Path(to).absolute()),
        file_format="raw" if to.startswith((_SITE, *_NBD)) else _format_of(to, file_format),
        disk_key=disk,
        new_name=name,
        networks=pairs(network),
        boot_mode=boot_mode.value if boot_mode else None,
        is_overwriting=is_overwriting,
    )
    with door.manager() as manager:
        found = manager.point(point)
        want = want_restore(manager.desk, manager.names.name(found.machine_id), found.id, target)
        carry_out(door, manager, [want], Manner(is_dry_run, is_no_wait))


def _format_of(path: str, file_format: str | None) -> str:
    """The format that the file shall have; raises UsageError."""
    suffix = Path(path).suffix.removeprefix(".").lower()
    of_name = "raw" if Path(path).is_block_device() else {"img": "raw"}.get(suffix, suffix)
    chosen = file_format or of_name
    if chosen not in _FORMATS:
        raise UsageError(
            f"'{path}' has no file extension that names a format.",
            hint=f"Use the extension .{', .'.join(_FORMATS)}, or name one with --format. A site is written site:NAME.",
        )
    return chosen
