"""``twinhull repository``: where restore points are kept."""

from __future__ import annotations

import getpass
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from twinhull.cli.commands.outcomes import Manner, carry_out
from twinhull.cli.commands.repository import copying, keys
from twinhull.cli.commands.repository import repair as repairing
from twinhull.cli.commands.repository import verify as verifying
from twinhull.cli.door import Door, door_of
from twinhull.cli.options import DryRunFlag, JsonFlag, YesFlag, commands, examples
from twinhull.cli.screen.screen import is_terminal
from twinhull.model.errors import PassphraseMissing, UsageError
from twinhull.model.units import KIB, format_bytes

if TYPE_CHECKING:
    from twinhull.manager.manager import Manager

app = commands()
APPS = {"repository": app}

UrlArgument = Annotated[str, typer.Argument(metavar="URL", help="A directory, file:///path or s3://bucket/prefix.")]
ForgetFlag = Annotated[
    bool,
    typer.Option(
        "--forget-passphrase",
        help="Do not keep the passphrase in the state directory; each command, and serve, then needs it.",
    ),
]


LevelOption = Annotated[int, typer.Option("--level", metavar="N", min=1, max=19, help="Compression level (zstd).")]


@app.command(
    epilog=examples(
        "twinhull repository create /srv/points --generate",
        "twinhull repository create s3://vault/points --level 3 --chunk-kib 256",
        "twinhull --passphrase-file /root/phrase repository create /srv/points",
        "TWINHULL_PASSPHRASE=… twinhull repository create /points --forget-passphrase",
    )
)
def create(
    context: typer.Context,
    *,
    url: UrlArgument,
    is_generating: Annotated[bool, typer.Option("--generate", help="Generate a passphrase, and show it once.")] = False,
    is_forgetting: ForgetFlag = False,
    level: LevelOption = 1,
    chunk_kib: Annotated[
        int,
        typer.Option(
            metavar="KIB", help="Chunk size in KiB, a power of two from 4 to 16384; it cannot be changed later."
        ),
    ] = 128,
    is_json: JsonFlag = False,
) -> None:
    """Create a repository, and use it from now on.

    Without its passphrase no restore point can ever be read.
    """
    door = door_of(context)
    with door.manager() as manager:
        made = _generated(manager) if is_generating else None
        passphrase = made or _passphrase(door, manager, is_new=True)
        repository = manager.vault.create(
            url, passphrase, is_keeping=not is_forgetting, chunk_size_bytes=chunk_kib * KIB, level=level
        )
        repository_id = repository.id
        repository.close()
    keep = "Keep a copy of it away from this machine: without it no point can ever be read."
    door.screen.answer(
        {"url": url, "id": repository_id, "generated_passphrase": made},
        f"Created the repository {repository_id} in {url}.",
        *([f"Passphrase: {made}", keep] if made else []),
    )


@app.command(epilog=examples("twinhull repository use /srv/points"))
def use(
    context: typer.Context,
    *,
    url: UrlArgument,
    is_forgetting: ForgetFlag = False,
    level: LevelOption = 1,
    is_json: JsonFlag = False,
) -> None:
    """Use an existing repository from now on."""
    door = door_of(context)
    with door.manager() as manager:
        passphrase = _passphrase(door, manager, is_new=False)
        repository = manager.vault.use(url, passphrase, is_keeping=not is_forgetting, level=level)
        repository_id = repository.id
        repository.close()
    door.screen.answer({"url": url, "id": repository_id}, f"Using the repository {repository_id} in {url}.")


@app.command(epilog=examples("twinhull repository show --json"))
def show(context: typer.Context, *, is_json: JsonFlag = False) -> None:
    """Show the repository's size, key and number of points."""
    door = door_of(context)
    with door.manager() as manager:
        repository = manager.repository
        points = repository.points()
        shape = {
            "url": manager.vault.address(),
            "id": repository.id,
            "chunk_size_bytes": repository.chunk_size_bytes,
            "compression_level": repository.level,
            "point_count": len(points),
            "machine_count": len({point.machine_id for point in points}),
            "removed_point_count": len(repository.removed_points()),
        }
    if is_json:
        door.screen.document(shape)
        return
    door.screen.facts(
        [
            ("address", str(shape["url"])),
            ("id", str(shape["id"])),
            ("chunk size", format_bytes(repository.chunk_size_bytes)),
            ("compression", f"zstd, level {repository.level}"),
            ("points", f"{shape['point_count']} of {shape['machine_count']} machines"),
            ("removed", f"{shape['removed_point_count']} points that can still be taken back"),
        ]
    )


@app.command(
    epilog=examples(
        "twinhull repository collect", "twinhull repository collect --dry-run", "twinhull repository collect --now"
    )
)
def collect(
    context: typer.Context,
    *,
    is_now: Annotated[
        bool, typer.Option("--now", help="Skip the grace period: removed points are deleted for good.")
    ] = False,
    is_yes: YesFlag = False,
    is_dry_run: DryRunFlag = False,
    is_json: JsonFlag = False,
) -> None:
    """Free the space of removed points.

    A removed point can be taken back for 7 days; its space is freed after that. Syncs can run at the same time.
    'twinhull serve' collects once a day if something is waiting. --now is for a full disk.
    """
    from twinhull.manager.runs.kinds.collect import want_collect  # noqa: PLC0415 - loaded when called

    door = door_of(context)
    with door.manager() as manager:
        manner = Manner(is_dry_run=is_dry_run, question="Free all of it now" if is_now else "", is_yes=is_yes)
        carry_out(door, manager, [want_collect(is_now=is_now)], manner)


app.add_typer(keys.app, name="keys")
app.command(epilog=verifying.EXAMPLES)(verifying.verify)
app.command(epilog=copying.EXAMPLES)(copying.copy)
app.command(epilog=repairing.EXAMPLES)(repairing.repair)


def _generated(manager: Manager) -> str:
    from twinhull.manager.repository.vault import new_passphrase  # noqa: PLC0415 - loaded when called

    if manager.vault.find_passphrase():
        raise UsageError(
            "A passphrase was already given or kept, and --generate would create another one.",
            hint="Leave out --generate to use the existing one.",
        )
    return new_passphrase(manager.ports.randomness)


def _passphrase(door: Door, manager: Manager, *, is_new: bool) -> str:
    found = manager.vault.find_passphrase()
    if found:
        return found
    if not is_terminal(sys.stdin):
        raise PassphraseMissing(
            "No passphrase was given.",
            hint="Name a file with --passphrase-file, set TWINHULL_PASSPHRASE"
            + (", or add --generate to create one." if is_new else "."),
        )
    typed = getpass.getpass("Passphrase: ")
    if not typed or (is_new and getpass.getpass("Again: ") != typed):
        raise UsageError("The passphrase is empty, or the two entries differ; nothing was created.")
    door.screen.message("")
    return typed
