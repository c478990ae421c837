"""``twinhull repository keys``: who can open the repository."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twinhull.cli.door import door_of
from twinhull.cli.options import JsonFlag, YesFlag, examples

app = typer.Typer(help="Who can open the repository: passphrase, recovery keys, rotation.", rich_markup_mode=None)

NewPassphraseOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="The new passphrase is this file's first line.", dir_okay=False)
]


@app.command(
    "change-passphrase",
    epilog=examples("twinhull repository keys change-passphrase --new-passphrase-file /root/p2"),
)
def change_passphrase(
    context: typer.Context,
    *,
    new_passphrase_file: Annotated[
        Path, typer.Option(metavar="FILE", help="The new passphrase is this file's first line.", dir_okay=False)
    ],
    is_json: JsonFlag = False,
) -> None:
    """Let another passphrase open the repository instead of the one that does. Recovery keys go on to open it."""
    door = door_of(context)
    with door.manager() as manager:
        manager.vault.change_passphrase(manager.repository, new_passphrase_file)
        repository_id = manager.repository.id
    door.screen.answer(
        {"id": repository_id},
        "The new passphrase opens the repository, and the old one does not.",
        "Whoever has seen the repository while the old one opened it: see 'twinhull repository keys rotate'.",
    )


@app.command(epilog=examples("twinhull repository keys recovery"))
def recovery(
    context: typer.Context,
    *,
    is_json: JsonFlag = False,
) -> None:
    """Make one more key, for paper: it opens the repository wherever the passphrase does. It is shown once."""
    door = door_of(context)
    with door.manager() as manager:
        key = manager.repository.add_recovery_key()
    door.screen.answer(
        {"recovery_key": key},
        key,
        "Print it and lock it away: it is shown this once. It is given wherever a passphrase is asked for.",
    )


@app.command(
    epilog=examples(
        "twinhull repository keys rotate",
        "twinhull repository keys rotate --new-passphrase-file /root/p2 --yes",
    )
)
def rotate(
    context: typer.Context,
    *,
    new_passphrase_file: NewPassphraseOption = None,
    is_yes: YesFlag = False,
    is_json: JsonFlag = False,
) -> None:
    """Encrypt all that is written from now on with a new key, which whoever knew the old one does not have.

    Recovery keys of before open nothing any more; 'keys recovery' makes another one. What is stored stays readable.
    """
    door = door_of(context)
    with door.manager() as manager:
        repository = manager.repository
        door.confirm("Rotate the keys? Recovery keys that were made before will open nothing.", is_yes=is_yes)
        manager.vault.rotate_keys(repository, new_passphrase_file)
        number = repository.keys.number
    door.screen.answer(
        {"key_number": number},
        f"Key {number} is in force. 'twinhull serve' takes it, if it finds the passphrase where it found the old one.",
    )
