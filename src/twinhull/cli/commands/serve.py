"""``twinhull serve``: keep every plan within its RPO, until stopped."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from twinhull.cli.door import door_of
from twinhull.cli.options import JsonFlag, commands, examples
from twinhull.cli.screen.screen import Told, is_terminal, reader_left
from twinhull.cli.stopping import stopping
from twinhull.model.errors import TwinhullError
from twinhull.model.redaction import note_secrets_of
from twinhull.model.units import parse_duration

app = commands()
APPS = {"serve": app}


class LogFormat(StrEnum):
    """How events are printed."""

    AUTO = "auto"
    TEXT = "text"
    JSON = "json"


@app.command(
    epilog=examples(
        "twinhull serve", "twinhull serve >> /var/log/twinhull.jsonl", "twinhull serve --max-runs 8 --look 5s"
    )
)
def serve(
    context: typer.Context,
    *,
    max_runs: Annotated[int, typer.Option(min=1, metavar="N", help="Most machines to work on at once.")] = 4,
    max_runs_per_site: Annotated[
        int, typer.Option(min=1, metavar="N", help="Most machines to work on at once per site.")
    ] = 4,
    look: Annotated[str, typer.Option(metavar="DURATION", help="How often to poll sites.")] = "15s",
    grace: Annotated[
        str,
        typer.Option(
            metavar="DURATION",
            help="Time that runs get to finish when serve is stopped; the next start resumes the rest.",
        ),
    ] = "60s",
    log_format: Annotated[
        LogFormat,
        typer.Option("--log-format", help="How to print events; auto: text on a terminal, JSON lines anywhere else."),
    ] = LogFormat.AUTO,
    is_json: JsonFlag = False,
) -> None:
    """Keep every plan within its RPO, in the foreground, until SIGTERM or Ctrl-C.

    Unfinished runs are resumed first. Each event is printed as one line with its reason; secrets are hidden. A second
    serve on the same state directory is refused (exit code 52). docs/operations.md explains the events.
    """
    from twinhull.cli.screen.event_log import EventLog  # noqa: PLC0415 - loaded when called
    from twinhull.manager.serve.facts import Limits  # noqa: PLC0415 - as above
    from twinhull.manager.serve.serve import Server  # noqa: PLC0415 - as above

    door = door_of(context)
    door.screen.is_json = is_json or _is_json(log_format)
    note_secrets_of(door.environment)
    log = EventLog(door.screen, door.ports.clock)

    def tell(word: str, facts: dict[str, object]) -> None:
        log.event(word, facts)
        if reader_left.is_set():  # 'serve --json | head': it ends as on SIGTERM
            server.stop.set()

    try:
        with door.manager(origin="serve") as manager:
            server = Server(
                manager,
                Limits(max_runs, max_runs_per_site),
                tell,
                look_seconds=parse_duration(look),
                grace_seconds=parse_duration(grace),
            )
            with stopping(server.stop, manager.ports.clock):
                server.serve()
    except TwinhullError as error:
        log.end_by(error)
        raise Told(error) from error


def _is_json(log_format: LogFormat) -> bool:
    return log_format is LogFormat.JSON or (log_format is LogFormat.AUTO and not is_terminal(sys.stdout))
