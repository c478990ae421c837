"""``twinhull repository repair``: bring back what is damaged from wherever it still lies."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from twinhull.cli.door import door_of
from twinhull.cli.options import JsonFlag, examples, pairs
from twinhull.model.errors import UsageError
from twinhull.model.machine import DiskKey, SiteName

EXAMPLES = examples(
    "twinhull repository repair",
    "twinhull repository repair --from s3://vault/points --site there --site here",
    "twinhull repository repair --disk web1:vda=/srv/old/web1.qcow2",
    "twinhull repository repair --disk 'web1:vda=nbd+unix:///?socket=/run/vda'",
)
_FORM = "MACHINE:KEY=ADDRESS"


def repair(
    context: typer.Context,
    *,
    urls: Annotated[
        list[str] | None, typer.Option("--from", metavar="URL", help="Look in this copy of the repository; repeatable.")
    ] = None,
    from_passphrase_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The passphrase of those copies [as of this repository].", dir_okay=False),
    ] = None,
    sites: Annotated[
        list[str] | None,
        typer.Option("--site", metavar="SITE", help="Look on the machines' disks on this site; repeatable."),
    ] = None,
    disks: Annotated[
        list[str] | None,
        typer.Option("--disk", metavar=_FORM, help="Look in this image file or NBD export; repeatable."),
    ] = None,
    is_json: JsonFlag = False,
) -> None:
    """Bring back what is damaged from wherever it still lies, and say what is lost; exit code 34 where anything is.

    Everything is read twice. A copy, a replica or a source need not be at a damaged point: whatever of it is still the
    same is taken, by its checksum.
    """
    from twinhull.manager.healing import Healing  # noqa: PLC0415 - loaded when called
    from twinhull.manager.verifying import damage_of  # noqa: PLC0415 - as above
    from twinhull.repository import repair as repair_repository  # noqa: PLC0415 - as above

    door = door_of(context)
    with ExitStack() as closing:
        manager = closing.enter_context(door.manager())
        site = closing.enter_context(manager.pool.lease())
        healing = closing.enter_context(Healing(door.ports, manager.state))
        for url in urls or ():
            healing.ask_repository(url, manager.vault.passphrase_in(from_passphrase_file))
        for word, address in pairs(disks, form=_FORM).items():
            machine, _, key = word.rpartition(":")
            if not machine:
                raise UsageError(f"'{word}' does not say which disk of which machine it is.", hint=f"Write {_FORM}.")
            healing.ask_disk(manager.machine_of_points(machine), DiskKey(key), address)
        for name in sites or ():
            healing.ask_site(site(SiteName(name)))
        report = repair_repository(manager.repository, healing.healers)
    counts = f"{len(report.repaired)} points are whole again, {len(report.lost)} are damaged."
    lost = [f"damaged: {point_id}" for point_id in report.lost]
    shape = {"repaired": report.repaired, "lost": report.lost, "reasons": report.reasons}
    door.screen.judge(
        {**shape, "is_good": report.after.is_good}, [*report.reasons, counts, *lost], damage_of(report.after)
    )
