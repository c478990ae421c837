"""``twinhull repository copy``: the second copy, elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twinhull.cli.door import door_of
from twinhull.cli.options import JsonFlag, examples
from twinhull.repository.errors import RepositoryDamaged

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
    is_again: Annotated[
        bool, typer.Option("--again", help="Send also older points that it had and let go, or that were passed over.")
    ] = False,
    is_json: JsonFlag = False,
) -> None:
    """Copy every point that another repository never had to it; exit code 34 where damage kept one from being copied.

    It has a key of its own, and only what it lacks is sent. It keeps and removes points by itself; what is held here is
    held there, too, until it is released there.
    """
    from twinhull.repository import Repository, copy_points, open_store  # noqa: PLC0415 - loaded when called

    door = door_of(context)
    with door.manager() as manager:
        passphrase = manager.vault.passphrase_in(to_passphrase_file)
        open_or_create = Repository.create if is_creating else Repository.open
        with open_or_create(open_store(url), passphrase) as target:
            verdicts = copy_points(manager.repository, target, is_again=is_again)
    if not is_json:
        door.screen.table(
            ["point", "what became of it"],
            [[each.point_id, each.reason] for each in verdicts],
            empty="There is no point to copy yet.",
        )
    damaged = [each.point_id for each in verdicts if each.is_damaged]
    error = RepositoryDamaged(
        f"{len(damaged)} points were not copied, because they are damaged: {', '.join(damaged)}.",
        hint="See 'twinhull repository verify', here and there. What is repaired here is sent by 'copy --again'.",
    )
    points = [{"id": each.point_id, "is_copied": each.is_copied, "reason": each.reason} for each in verdicts]
    count = sum(each.is_copied for each in verdicts)
    door.screen.judge({"points": points}, [f"Copied {count} points to {url}."], error if damaged else None)
