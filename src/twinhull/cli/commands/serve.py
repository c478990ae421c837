"""``twinhull serve``: keep every plan within its RPO, until stopped."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from twinhull.cli.door import door_of
from twinhull.cli.options import JsonFlag, commands, examples
from twinhull.cli.screen.screen import reader_left
from twinhull.cli.stopping import stopping
from twinhull.model.units import parse_duration

if TYPE_CHECKING:
    from twinhull.cli.screen.screen import Screen
    from twinhull.model.ports import Clock

app = commands()
APPS = {"serve": app}


@app.command(
    epilog=examples(
        "twinhull serve", "twinhull serve --json >> /var/log/twinhull.jsonl", "twinhull serve --max-runs 8 --look 5s"
    )
)
def serve(
    context: typer.Context,
    *,
    max_runs: Annotated[int, typer.Option(min=1, metavar="N", help="So many machines at once.")] = 4,
    max_runs_per_site: Annotated[int, typer.Option(min=1, metavar="N", help="So many of them on one site.")] = 4,
    look: Annotated[str, typer.Option(metavar="DURATION", help="How often sites are looked at.")] = "15s",
    grace: Annotated[
        str,
        typer.Option(
            metavar="DURATION",
            help="How long runs that cannot be undone get to end when it is stopped; the next start goes on with them.",
        ),
    ] = "60s",
    is_json: JsonFlag = False,
) -> None:
    """Keep every plan within its RPO by itself, in the foreground, until SIGTERM or Ctrl-C.

    Each decision is printed with its reason, with --json as one JSON object a line. Runs that were left unfinished are
    gone on with first. A second serve on the same state directory is refused (exit code 52).
    """
    from twinhull.manager.serve.facts import Limits  # noqa: PLC0415 - loaded when called
    from twinhull.manager.serve.serve import Server  # noqa: PLC0415 - as above

    door = door_of(context)
    door.screen.indent = None
    with door.manager(origin="serve") as manager:
        print_event = _teller(door.screen, manager.ports.clock)

        def tell(word: str, facts: dict[str, object]) -> None:
            print_event(word, facts)
            if reader_left.is_set():  # 'serve --json | head': it ends as on SIGTERM
                server.stop.set()

        server = Server(
            manager,
            Limits(max_runs, max_runs_per_site),
            tell,
            look_seconds=parse_duration(look),
            grace_seconds=parse_duration(grace),
        )
        with stopping(server.stop, manager.ports.clock):
            server.serve()


def _teller(screen: Screen, clock: Clock) -> Callable[[str, dict[str, object]], None]:
    def tell(word: str, facts: dict[str, object]) -> None:
        now = clock.now()
        about = facts.get("machine") or facts.get("site") or ""
        run = f" ({facts['run']})" if facts.get("run") else ""
        screen.answer(
            {"timestamp": now.isoformat(), "event": word, **facts},
            f"{now:%Y-%m-%d %H:%M:%S} UTC  {word:<9}  {about}{': ' if about else ''}{facts['reason']}{run}",
        )

    return tell
