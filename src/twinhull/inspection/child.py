"""The confined child: one task on some disks, then the end.

It is started afresh for each look, with an empty environment and three open pipes, as
``python -I -m twinhull.inspection.child TASK MEMORY_BYTES CPU_SECONDS``. It loads its task, confines itself, says that
it is ready, and only then is sent the question and the first byte of a disk.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module

from twinhull.inspection.confinement import ChildLimits, confine
from twinhull.inspection.guest.disk import Line, PipedDisk
from twinhull.inspection.tasks import MODULES
from twinhull.inspection.wire import Kind


def main(task: str, memory_bytes: str, cpu_seconds: str) -> None:
    """Carry out a task; it returns when the inspector knows how it ended."""
    module = import_module(MODULES[task])
    line = Line(sys.stdin.fileno(), sys.stdout.fileno())
    try:
        confine(ChildLimits(int(memory_bytes), int(cpu_seconds)))
    except OSError as error:
        line.send(Kind.GIVEN_UP, f"this machine cannot confine a process: {error.strerror}".encode())
        return
    line.send(Kind.READY)
    asked = json.loads(line.receive(Kind.QUESTION))
    disks = [PipedDisk(line, index, size) for index, size in enumerate(asked["disks"])]
    try:
        for record in module.run(disks, asked["question"]):
            line.send(Kind.RECORD, json.dumps(record).encode())
    except MemoryError:
        line.send(Kind.GIVEN_UP, b"its memory was not enough")
    except Exception as error:  # noqa: BLE001 - whatever a guest's bytes provoke is told in one word
        line.send(Kind.GIVEN_UP, f"its file systems cannot be parsed ({type(error).__name__})".encode())
    else:
        line.send(Kind.OVER)


if __name__ == "__main__":
    main(*sys.argv[1:])
    # Nothing is left to tidy up, and the confined process could not.
    os._exit(0)
