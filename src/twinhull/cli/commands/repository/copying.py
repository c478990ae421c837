"""``twinhull repository copy``: the second copy, elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from twinhull.cli import completing
from twinhull.cli.door import Door, door_of
from twinhull.cli.options import DryRunFlag, JsonFlag, examples
from twinhull.cli.screen.phases import watching_phases
from twinhull.model.errors import AlreadyExists
from twinhull.model.units import counted, format_bytes
from twinhull.repository.errors import RepositoryDamaged

if TYPE_CHECKING:
    from twinhull.cli.screen.screen import Screen
    from twinhull.repository import CopyVerdict, Repository

EXAMPLES = examples(
    "twinhull repository copy --to s3://vault/points --create",
    "twinhull repository copy --to /mnt/points --to-passphrase-file /root/phrase",
    "twinhull repository copy --to /mnt/points --machine db --dry-run",
)
_STOPPED = (
    "Points that were copied stay; an unfinished one does not exist there. Repeat the command "
    "without --create to send the rest; nothing is sent twice."
)


def copy(
    context: typer.Context,
    *,
    url: Annotated[str, typer.Option("--to", metavar="URL", help="The target repository.")],
    to_passphrase_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Passphrase file of the target (default: same passphrase).", dir_okay=False),
    ] = None,
    machines: Annotated[
        list[str] | None,
        typer.Option(
            "--machine",
            "-m",
            metavar="MACHINE",
            help="Copy only this machine's points; repeatable.",
            autocompletion=completing.machines,
        ),
    ] = None,
    is_creating: Annotated[bool, typer.Option("--create", help="Create the target first; it must not exist.")] = False,
    is_again: Annotated[
        bool, typer.Option("--again", help="Send older points, too, that the target removed or that were skipped.")
    ] = False,
    is_dry_run: DryRunFlag = False,
    is_json: JsonFlag = False,
) -> None:
    """Copy points that another repository never had to it.

    The copy has its own key and its own retention, and only missing data is sent. A point that is held here is held
    there, too, until it is released there. Ctrl-C is safe: what was copied stays, and the next call sends the rest.
    The exit code is 34 if damage kept a point from being copied.
    """
    from twinhull.repository import check_new_passphrase, copy_points  # noqa: PLC0415 - loaded when called

    door = door_of(context)
    with door.manager() as manager:
        machine_ids = dict.fromkeys(manager.machine_of_points(word) for word in machines or ())
        passphrase = manager.vault.passphrase_in(to_passphrase_file)
        if is_creating and to_passphrase_file:
            check_new_passphrase(passphrase)
        verdicts: list[CopyVerdict] = []
        on_stop = "Nothing was written." if is_dry_run else _STOPPED
        with (
            _opened(door, url, passphrase, is_creating=is_creating, is_dry_run=is_dry_run) as target,
            watching_phases(door.screen, on_stop) as on_progress,
        ):
            for machine_id in machine_ids or (None,):
                verdicts += copy_points(
                    manager.repository,
                    target,
                    machine_id,
                    is_again=is_again,
                    is_dry_run=is_dry_run,
                    on_progress=on_progress,
                )
    _tell(door.screen, verdicts, url, is_dry_run=is_dry_run)


def _opened(door: Door, url: str, passphrase: str, *, is_creating: bool, is_dry_run: bool) -> Repository:
    from twinhull.repository import ReadOnlyStore, Repository, open_store  # noqa: PLC0415 - loaded when called

    store = open_store(url)
    if is_dry_run:
        return _imagined(door, url) if is_creating else Repository.open(ReadOnlyStore(store), passphrase)
    return Repository.create(store, passphrase) if is_creating else Repository.open(store, passphrase)


def _imagined(door: Door, url: str) -> Repository:
    """What --create would make; raises AlreadyExists where it would."""
    from twinhull.manager.repository.vault import nothing_stored  # noqa: PLC0415 - loaded when called
    from twinhull.repository import is_repository, open_store  # noqa: PLC0415 - as above

    if is_repository(open_store(url)):
        raise AlreadyExists(f"A repository already exists in {url}.", hint="Leave out --create to copy to it.")
    return nothing_stored(door.ports)


def _tell(screen: Screen, verdicts: Sequence[CopyVerdict], url: str, *, is_dry_run: bool) -> None:
    is_idle = bool(verdicts) and not any(each.is_copied or each.is_damaged for each in verdicts)
    if not screen.is_json and not is_idle:
        screen.table(
            ["point", "what would happen" if is_dry_run else "what happened"],
            [[each.point_id, each.reason] for each in verdicts],
            empty="There is no point to copy yet.",
        )
    damaged = [each.point_id for each in verdicts if each.is_damaged]
    error = RepositoryDamaged(
        f"{counted(len(damaged), 'point')} {'would not be' if is_dry_run else 'could not be'} copied for damage: "
        f"{', '.join(damaged)}.",
        hint="Run 'twinhull repository verify' here and there. After a repair here, add --again to send the "
        "damaged points.",
    )
    copied = [each for each in verdicts if each.is_copied]
    total = format_bytes(sum(each.differing_bytes for each in copied))
    line = f"{counted(len(copied), 'point')} would be copied to {url}; about {total} would be read."
    if not is_dry_run:
        line = f"Copied {counted(len(copied), 'point')} to {url}."
    if is_idle:
        line = (
            f"{counted(len(verdicts), 'point')} {'is' if len(verdicts) == 1 else 'are'} there already; nothing to copy."
        )
    points = [_shape(each, is_dry_run=is_dry_run) for each in verdicts]
    screen.judge({"points": points}, [line], error if damaged else None)


def _shape(verdict: CopyVerdict, *, is_dry_run: bool) -> dict[str, object]:
    word = "would_be_copied" if is_dry_run else "is_copied"
    return {
        "id": verdict.point_id,
        word: verdict.is_copied,
        "reason": verdict.reason,
        "differing_bytes": verdict.differing_bytes,
    }
