"""The command ``twinhull``: each word goes to the one command that answers, errors are told in one place."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.exceptions import TyperException

from twinhull import __version__
from twinhull.cli.door import Door, door_of
from twinhull.cli.lazy import LazyGroup
from twinhull.cli.options import PassphraseFileOption, RepositoryOption, StateOption, examples
from twinhull.cli.screen.screen import Screen, Told, leave, reader_left
from twinhull.cli.stopping import interrupt_on_stop
from twinhull.model.errors import TwinhullError, UsageError
from twinhull.model.ports import system_ports
from twinhull.model.secrecy import keep_memory_private

_INTERRUPTED = 130
_PIPE_CLOSED = 141
"""As of a program that SIGPIPE has ended (128 + 13)."""

app = typer.Typer(
    name="twinhull",
    cls=LazyGroup,
    help="Keep virtual machines in step on two different hypervisors, take over, and bring them home.",
    epilog=examples(
        "twinhull repository create /srv/points --generate",
        "twinhull site add here qemu:///system",
        "twinhull site add there xen+ssh://root@xen1/",
        "twinhull plan create shop --machine web1 --from here --to there --rpo 15m",
        "twinhull sync shop",
        "twinhull status",
        "twinhull failover web1 --planned",
    ),
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _tell_version(context: typer.Context, value: bool) -> None:  # noqa: FBT001 - the library calls it so
    if value:
        door_of(context).screen.line(f"twinhull {__version__}")
        raise typer.Exit


@app.callback()
def _begin(
    context: typer.Context,
    *,
    state: StateOption = None,
    repository: RepositoryOption = None,
    passphrase_file: PassphraseFileOption = None,
    is_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document to stdout, errors included.")
    ] = False,
    is_version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_tell_version, is_eager=True)
    ] = False,
) -> None:
    keep_memory_private()  # before a passphrase is read
    door = door_of(context)
    door.state, door.repository_url, door.passphrase_file = state, repository, passphrase_file
    door.screen.is_json |= is_json


def call(arguments: Sequence[str], door: Door | None = None) -> int:
    """Run the command line; returns the exit code. ``door`` brings another outer world (tests)."""
    words = list(arguments) or ["--help"]
    # Errors in the words themselves happen before any option is read.
    opened = door or Door()
    opened.screen = Screen(is_json="--json" in words)
    reader_left.clear()
    status = _answered(words, opened)
    return _PIPE_CLOSED if reader_left.is_set() and not status else status


def _answered(words: Sequence[str], opened: Door) -> int:
    try:
        return app(args=words, prog_name="twinhull", standalone_mode=False, obj=opened) or 0
    except BrokenPipeError:  # what a library prints
        leave(sys.stdout)
        return _PIPE_CLOSED
    except TwinhullError as error:
        opened.screen.error(error)
        return error.exit_code
    except Told as error:
        return error.exit_code
    except TyperException as error:
        told = _told(error)
        opened.screen.error(told)
        return told.exit_code
    except (typer.Abort, KeyboardInterrupt):
        opened.screen.message("Stopped.")
        return _INTERRUPTED


def _told(error: TyperException) -> TwinhullError:
    call = getattr(error, "ctx", None)
    where = call.command_path if call else "twinhull"
    return UsageError(error.format_message(), hint=f"Run '{where} --help' for help.")


def main() -> None:
    """What the installed script calls."""
    # Threads too: what ends one unexpectedly is printed as a traceback, and that may quote foreign text.
    sys.excepthook = lambda _kind, error, _trace: Screen().crash(error)
    threading.excepthook = lambda ended: Screen().crash(ended.exc_value) if ended.exc_value else None
    interrupt_on_stop(system_ports().clock)
    status = call(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    if threading.active_count() > 1:
        # A run that is left to the next start, or a look at a site that hangs, must not keep the process.
        os._exit(status)
    sys.exit(status)


if __name__ == "__main__":
    main()
