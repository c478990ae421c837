"""A process that restores a point into a file and is killed in one of its steps.

restore_child.py STEP before|amid|after TWINHULL-ARGUMENT...
"""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace

from twinhull.actions.context import Context
from twinhull.cli.main import call
from twinhull.manager.runs.kinds import restore
from twinhull.manager.runs.kinds.registry import KINDS
from twinhull.model.steps import Action, Facts, Step
from twinhull.recovery.restore.action import RESTORE


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed(step: Step[Context], when: str) -> Step[Context]:
    def do(context: Context, facts: Facts) -> Facts:
        if when == "before":
            die()
        found = step.do(replace(context, on_progress=die) if when == "amid" else context, facts)
        if when == "after":
            die()
        return found

    return replace(step, do=do)


def main(name: str, when: str, *words: str) -> None:
    steps = tuple(killed(step, when) if step.name == name else step for step in RESTORE.steps)
    KINDS.forget(restore.RESTORE.word)
    KINDS.register(replace(restore.RESTORE, action=Action(restore.RESTORE.word, steps)))
    sys.exit(call(words))


if __name__ == "__main__":
    main(*sys.argv[1:])
