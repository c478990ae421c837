"""``twinhull repository keys``: who can open the repository."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from twinhull.cli.door import door_of
from twinhull.cli.options import JsonFlag, YesFlag, examples

app = typer.Typer(help="Change the passphrase, create recovery keys, rotate keys.", rich_markup_mode=None)

NewPassphraseOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="File whose first line is the new passphrase.", dir_okay=False)
]


@app.command(
    "change-passphrase",
    epilog=examples("twinhull repository keys change-passphrase --new-passphrase-file /root/p2"),
)
def change_passphrase(
    context: typer.Context,
    *,
    new_passphrase_file: Annotated[
        Path, typer.Option(metavar="FILE", help="File whose first line is the new passphrase.", dir_okay=False)
    ],
    is_json: JsonFlag = False,
) -> None:
    """Replace the repository's passphrase. Recovery keys stay valid."""
    door = door_of(context)
    with door.manager() as manager:
        manager.vault.change_passphrase(manager.repository, new_passphrase_file)
        repository_id = manager.repository.id
    door.screen.answer(
        {"id": repository_id},
        "The new passphrase opens the repository, and the old one does not.",
        "If the old passphrase may have leaked, run 'twinhull repository keys rotate', too.",
    )


@app.command(epilog=examples("twinhull repository keys recovery"))
def recovery(
    context: typer.Context,
    *,
    is_json: JsonFlag = False,
) -> None:
    """Create a recovery key for paper. It is shown once.

    It opens the repository wherever the passphrase does.
    """
    door = door_of(context)
    with door.manager() as manager:
        key = manager.repository.add_recovery_key()
    door.screen.answer(
        {"recovery_key": key},
        key,
        "Print it and lock it away: it is shown only once. Use it like the passphrase.",
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
    """Encrypt everything that is written from now on with a new key.

    For the case that a passphrase leaked. Existing recovery keys stop working; 'twinhull repository keys recovery'
    creates a new one. Stored points stay readable.
    """
    door = door_of(context)
    with door.manager() as manager:
        repository = manager.repository
        door.confirm("Rotate the keys? Existing recovery keys will stop working.", is_yes=is_yes)
        manager.vault.rotate_keys(repository, new_passphrase_file)
        number = repository.keys.number
    door.screen.answer(
        {"key_number": number},
        f"Key {number} is in use. A running 'twinhull serve' switches to it, if the new passphrase is where the "
        "old one was.",
    )
