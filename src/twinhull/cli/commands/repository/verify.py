"""``twinhull repository verify``: is all of it there, and is it what was written?"""

from __future__ import annotations

from typing import Annotated

import typer

from twinhull.cli.door import door_of
from twinhull.cli.options import JsonFlag, examples
from twinhull.cli.screen.progress import watching
from twinhull.model.errors import UsageError

EXAMPLES = examples(
    "twinhull repository verify",
    "twinhull repository verify --read-data",
    "twinhull repository verify --sample 10 --json",
)
_WHOLE_PERCENT = 100.0


def verify(
    context: typer.Context,
    *,
    is_reading: Annotated[bool, typer.Option("--read-data", help="Read everything, and check every byte.")] = False,
    sample: Annotated[
        float | None,
        typer.Option(
            metavar="PERCENT",
            help="Read this percentage: never-verified data first, then the longest unverified.",
            min=0.1,
            max=_WHOLE_PERCENT,
        ),
    ] = None,
    is_json: JsonFlag = False,
) -> None:
    """Check that everything the points need exists, and optionally read it.

    The exit code is 34 if something is damaged. 'twinhull serve' reads a thirtieth of the data each day. What was read
    is noted, even if Ctrl-C ends it. Damaged data is read again each time until it is repaired.
    """
    from twinhull.manager.repository.verifying import Verdict  # noqa: PLC0415 - loaded when called
    from twinhull.manager.runs.kinds.verify import want_verify  # noqa: PLC0415 - loaded when called

    if is_reading and sample is not None:
        raise UsageError("--read-data reads everything, and --sample a share.", hint="Use only one of them.")
    door = door_of(context)
    with door.manager() as manager, watching(door.screen) as ears:
        want = want_verify(
            manager.desk,
            is_reading=is_reading or sample is not None,
            sample=(sample or _WHOLE_PERCENT) / _WHOLE_PERCENT,
        )
        run = manager.dispatcher.carry_out(want, ears)
    verdict = Verdict.of(run.result)
    door.screen.judge({**verdict.shape(), "run_id": run.run_id}, verdict.lines(), verdict.damage())
