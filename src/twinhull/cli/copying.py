"""``twinhull repository copy``: the second copy, elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twinhull.cli.door import door_of
from twinhull.cli.options import JsonFlag, examples

EXAMPLES = examples(
    "twinhull repository copy --to s3://vault/points --create",
    "twinhull repository copy --to /mnt/points --to-passphrase-file /root/phrase",
)


def copy(
    context: typer.Context,
    *,
    url: Annotated[str, typer.Option("--to", metavar="URL", help="The other repository.")],
    to_passphrase_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its passphrase [as of this repository].", dir_okay=False)
    ] = None,
    is_creating: Annotated[bool, typer.Option("--create", help="Make it first; it must not be there yet.")] = False,
    is_json: JsonFlag = False,
) -> None:
    """Copy every point that another repository lacks to it. It has a key of its own; only what it lacks is sent."""
    from twinhull.repository import Repository, copy_points, open_store  # noqa: PLC0415 - loaded when called

    door = door_of(context)
    with door.manager() as manager:
        passphrase = manager.vault.passphrase_in(to_passphrase_file)
        open_or_create = Repository.create if is_creating else Repository.open
        with open_or_create(open_store(url), passphrase) as target:
            verdicts = copy_points(manager.repository, target)
    if is_json:
        points = [{"id": each.point_id, "is_copied": each.is_copied, "reason": each.reason} for each in verdicts]
        door.screen.document({"points": points})
        return
    door.screen.table(
        ["point", "what became of it"],
        [[each.point_id, each.reason] for each in verdicts],
        empty="There is no point to copy yet.",
    )
