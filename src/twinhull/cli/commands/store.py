"""``twinhull store``: is this place safe for a repository?"""

from __future__ import annotations

from typing import Annotated

import typer

from twinhull.cli.door import door_of
from twinhull.cli.options import JsonFlag, examples
from twinhull.repository.errors import StoreError

app = typer.Typer(help="Where a repository can live.", rich_markup_mode=None)
APPS = {"store": app}


@app.callback()
def _store() -> None:
    """Where a repository can live."""


@app.command(epilog=examples("twinhull store check /srv/points", "twinhull store check s3://vault/points --json"))
def check(
    context: typer.Context,
    *,
    url: Annotated[str, typer.Argument(metavar="URL", help="A directory, file:///path or s3://bucket/prefix.")],
    is_json: JsonFlag = False,
) -> None:
    """Try out whether a store keeps what a repository rests on; exit code 36 where it does not.

    It may be in use: everything is done with objects of its own, which are gone afterwards.
    """
    from twinhull.repository import check_store, open_store  # noqa: PLC0415 - loaded when called

    door = door_of(context)
    findings = check_store(open_store(url), door.ports.randomness)
    broken = [finding for finding in findings if not finding.holds]
    shape = [{"name": finding.name, "holds": finding.holds, "reason": finding.reason} for finding in findings]
    lines = [f"{'holds ' if each.holds else 'BROKEN'}  {each.name}: {each.reason}" for each in findings]
    error = StoreError(
        f"{url} is not safe for a repository: {len(broken)} of {len(findings)} properties do not hold.",
        hint="Use another store, or another product behind it.",
    )
    door.screen.judge({"url": url, "findings": shape}, lines, error if broken else None)
