"""``twinhull catalog``: what the manager remembers, and reading it back from sites and points."""

from __future__ import annotations

import typer

from twinhull.cli.door import door_of
from twinhull.cli.options import JsonFlag, commands, examples

app = commands()
APPS = {"catalog": app}


@app.callback()
def _group() -> None:
    """Rebuild the manager's catalog."""  # makes a group of the one command


@app.command(epilog=examples("twinhull catalog rebuild"))
def rebuild(context: typer.Context, *, is_json: JsonFlag = False) -> None:
    """Rebuild the catalog from the sites and the repository.

    For a lost state directory: connect the sites and use the repository again, then rebuild. It proposes a
    command that creates a plan for each machine that has a replica.
    """
    door = door_of(context)
    with door.manager() as manager:
        rebuilt = manager.rebuild()
    door.screen.answer(
        rebuilt.shape(),
        f"Found {rebuilt.machine_count} machines on {rebuilt.site_count} sites, and {rebuilt.point_count} points.",
        *(f"Proposed: {command}" for command in rebuilt.proposed_plans),
        *(f"Not read, because it does not answer: {silent}" for silent in rebuilt.silent_sites),
    )
