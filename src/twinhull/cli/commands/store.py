"""``twinhull store``: is this place safe for a repository?"""

from __future__ import annotations

from typing import Annotated

import typer

from twinhull.cli.door import door_of
from twinhull.cli.options import JsonFlag, examples
from twinhull.repository.errors import StoreError

app = typer.Typer(help="Test storage for a repository.", rich_markup_mode=None)
APPS = {"store": app}


@app.callback()
def _store() -> None:
    """Test storage for a repository."""


@app.command(epilog=examples("twinhull store check /srv/points", "twinhull store check s3://vault/points --json"))
def check(
    context: typer.Context,
    *,
    url: Annotated[str, typer.Argument(metavar="URL", help="A directory, file:///path or s3://bucket/prefix.")],
    is_json: JsonFlag = False,
) -> None:
    """Test whether a store is safe for a repository.

    The store may be in use: the test works on its own objects and deletes them. The exit code is 36 if a property does
    not hold.
    """
    from twinhull.repository import check_store, open_store  # noqa: PLC0415 - loaded when called

    door = door_of(context)
    findings = check_store(open_store(url), door.ports.randomness)
    broken = [finding for finding in findings if not finding.holds]
    shape = [{"name": finding.name, "holds": finding.holds, "reason": finding.reason} for finding in findings]
    lines = [f"{'holds ' if each.holds else 'BROKEN'}  {each.name}: {each.reason}" for each in findings]
    error = StoreError(
        f"{url} is not safe for a repository: {len(broken)} of {len(findings)} properties do not hold.",
        hint="Use another store.",
    )
    door.screen.judge({"url": url, "findings": shape}, lines, error if broken else None)
