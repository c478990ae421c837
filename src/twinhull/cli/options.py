"""Options and arguments that several commands share, so that they are called and explained the same everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from twinhull.cli import completing
from twinhull.cli.door import door_of
from twinhull.model.errors import UsageError


def examples(*lines: str) -> str:
    """Examples for the end of a command's help."""
    # The backspace tells the help writer to keep the lines as they are.
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)


def commands() -> typer.Typer:
    """A command, or a group of some. What it is for is said in ``lazy.py``; 'twinhull' itself installs completion."""
    return typer.Typer(rich_markup_mode=None, add_completion=False)


def pairs(words: Sequence[str] | None, *, form: str = "HERE=THERE") -> dict[str, str]:
    """Words of that form as a mapping; raises UsageError."""
    found: dict[str, str] = {}
    for word in words or ():
        key, _, value = word.partition("=")
        if not (key and value):
            raise UsageError(f"'{word}' does not have the form {form}.", hint=f"Write it as {form}.")
        found[key] = value
    return found


def _be_json(context: typer.Context, value: bool) -> bool:  # noqa: FBT001 - the library calls it so
    if value:
        door_of(context).screen.is_json = True
    return value


JsonFlag = Annotated[
    bool,
    typer.Option(
        "--json", help="Print one JSON document to stdout, errors included.", callback=_be_json, is_eager=True
    ),
]
YesFlag = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
DryRunFlag = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")]
NoWaitFlag = Annotated[
    bool, typer.Option("--no-wait", help="Fail (exit code 22) instead of waiting if another run works on the machine.")
]
DropDivergentFlag = Annotated[
    bool,
    typer.Option(
        "--drop-divergent",
        help="Overwrite what a site wrote after it lost the machine, without keeping it as a point.",
    ),
]
MachineArgument = Annotated[
    str, typer.Argument(metavar="MACHINE", help="A machine's name or UUID.", autocompletion=completing.machines)
]
OnlyMachineArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[MACHINE]", help="Show only this machine (name or UUID).", autocompletion=completing.machines
    ),
]
MachineOrPlanArgument = Annotated[
    str,
    typer.Argument(
        metavar="MACHINE|PLAN",
        help="A machine's name or UUID, or a plan's name for all of its machines in order.",
        autocompletion=completing.machines_and_plans,
    ),
]
SiteArgument = Annotated[str, typer.Argument(metavar="SITE", help="A site's name.", autocompletion=completing.sites)]
PlanArgument = Annotated[str, typer.Argument(metavar="PLAN", help="A plan's name.", autocompletion=completing.plans)]
PointArgument = Annotated[
    str,
    typer.Argument(
        metavar="POINT",
        help="A point: MACHINE:N (the latest), MACHINE:N-2, MACHINE:12, 'MACHINE:20:15', 'MACHINE:10m ago', or its id.",
        autocompletion=completing.points,
    ),
]
RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's id, or its beginning.", autocompletion=completing.runs)
]
NetworkOption = Annotated[
    list[str] | None,
    typer.Option(metavar="HERE=THERE", help="Name of a source network on the target; repeatable."),
]
StateOption = Annotated[
    Path | None,
    typer.Option(
        "--state",
        envvar="TWINHULL_STATE",
        metavar="DIR",
        help="State directory (default: /var/lib/twinhull-manager for root, else ~/.local/share/twinhull).",
        file_okay=False,
    ),
]
RepositoryOption = Annotated[
    str | None,
    typer.Option("--repository", metavar="URL", help="Use this repository instead of the configured one."),
]
PassphraseFileOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help="File whose first line is the repository's passphrase (default: TWINHULL_PASSPHRASE, else the kept one).",
        dir_okay=False,
    ),
]
