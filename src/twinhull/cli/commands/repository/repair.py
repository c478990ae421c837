"""``twinhull repository repair``: bring back what is damaged from wherever it still lies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twinhull.cli.door import door_of
from twinhull.cli.options import DryRunFlag, JsonFlag, examples, pairs
from twinhull.cli.screen.phases import watching_phases
from twinhull.model.errors import UsageError
from twinhull.model.machine import DiskKey, SiteName

if TYPE_CHECKING:
    from twinhull.cli.screen.screen import Screen
    from twinhull.manager.manager import Manager
    from twinhull.repository import Healer, MissingPieces

EXAMPLES = examples(
    "twinhull repository repair",
    "twinhull repository repair --from s3://vault/points --site there --site here",
    "twinhull repository repair --disk web1:vda=/srv/old/web1.qcow2",
    "twinhull repository repair --disk 'web1:vda=nbd+unix:///?socket=/run/vda'",
    "twinhull repository repair --site there --dry-run",
)
_FORM = "MACHINE:KEY=ADDRESS"
_STOPPED = (
    "What was repaired stays, and no damaged pack was deleted. Run 'twinhull repository repair' again to continue."
)


def repair(
    context: typer.Context,
    *,
    urls: Annotated[
        list[str] | None,
        typer.Option("--from", metavar="URL", help="Take data from this copy of the repository; repeatable."),
    ] = None,
    from_passphrase_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Passphrase file of those copies (default: same passphrase).", dir_okay=False
        ),
    ] = None,
    sites: Annotated[
        list[str] | None,
        typer.Option("--site", metavar="SITE", help="Take data from the machines' disks on this site; repeatable."),
    ] = None,
    disks: Annotated[
        list[str] | None,
        typer.Option("--disk", metavar=_FORM, help="Take data from this image file or NBD export; repeatable."),
    ] = None,
    is_dry_run: DryRunFlag = False,
    is_json: JsonFlag = False,
) -> None:
    """Repair damaged data from copies, replicas or sources.

    A copy, replica or source need not be at the damaged point: each piece with the right checksum is taken. Everything
    is read twice. --dry-run reads it once, and lists what is missing and where it would be looked for. Ctrl-C is
    safe: what was repaired stays, and the next call continues. The exit code is 34 if anything is lost.
    """
    from twinhull.manager.repository.healing import Healing  # noqa: PLC0415 - loaded when called

    door = door_of(context)
    with door.manager() as manager, manager.pool.lease() as site, Healing(door.ports, manager.claims) as healing:
        for url in urls or ():
            healing.ask_repository(url, manager.vault.passphrase_in(from_passphrase_file))
        for word, address in pairs(disks, form=_FORM).items():
            machine, _, key = word.rpartition(":")
            if not machine:
                raise UsageError(f"'{word}' does not name a machine and a disk.", hint=f"Write {_FORM}.")
            healing.ask_disk(manager.machine_of_points(machine), DiskKey(key), address)
        for name in sites or ():
            healing.ask_site(site(SiteName(name)))
        (_diagnose if is_dry_run else _repair)(door.screen, manager, healing.healers)


def _repair(screen: Screen, manager: Manager, healers: Sequence[Healer]) -> None:
    from twinhull.manager.repository.verifying import damage_of  # noqa: PLC0415 - loaded when called
    from twinhull.repository import repair as repair_repository  # noqa: PLC0415 - as above

    with watching_phases(screen, _STOPPED) as on_progress:
        report = repair_repository(manager.repository, healers, on_progress=on_progress)
    counts = f"{len(report.repaired)} points are complete again, {len(report.lost)} are damaged."
    lost = [f"damaged: {point_id}" for point_id in report.lost]
    shape = {"repaired": report.repaired, "lost": report.lost, "reasons": report.reasons}
    screen.judge({**shape, "is_good": report.after.is_good}, [*report.reasons, counts, *lost], damage_of(report.after))


def _diagnose(screen: Screen, manager: Manager, healers: Sequence[Healer]) -> None:
    from twinhull.manager.repository.verifying import damage_of  # noqa: PLC0415 - loaded when called
    from twinhull.repository import ReadOnlyStore, Repository, diagnose, open_store  # noqa: PLC0415 - as above

    store = ReadOnlyStore(open_store(manager.vault.address()))  # not even the verification's note
    with (
        Repository.open(store, manager.vault.passphrase()) as repository,
        watching_phases(screen, "Nothing was written.") as on_progress,
    ):
        found = diagnose(repository, healers, on_progress=on_progress)
    problems = list(dict.fromkeys(f"{each.object_name}: {each.problem}" for each in found.found.findings))
    lost = found.found.lost_points
    shape = {
        "is_good": found.found.is_good,
        "problems": problems,
        "lost": lost,
        "missing": [_shape(each) for each in found.missing],
    }
    counts = f"{len(lost)} points are damaged. Nothing was written."
    screen.judge(shape, [*problems, *map(_told, found.missing), counts], damage_of(found.found))


def _told(missing: MissingPieces) -> str:
    nodes = f" and {missing.node_count} pieces of its tree, with what is below them" if missing.node_count else ""
    where = ", then ".join(missing.healers) or "no place: none was named (--from, --site, --disk)"
    return (
        f"{missing.point_id} disk {missing.key} lacks {missing.chunk_count} pieces of its data{nodes}; a repair "
        f"would look in {where}."
    )


def _shape(missing: MissingPieces) -> dict[str, object]:
    return {
        "point_id": missing.point_id,
        "disk": missing.key,
        "chunk_count": missing.chunk_count,
        "node_count": missing.node_count,
        "would_look_in": missing.healers,
    }
