"""A process whose run writes files, and which can be told to die, fail or stop at any step.

    engine_child.py STATE WORK start|resume KIND [FAULT]

FAULT is a list of ``die:STEP`` (SIGKILL at its end), ``pause:STEP`` (at its end, until there is a file
``go``; the process does not beat) and ``fail:STEP``; undo steps are ``undo-STEP``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from twinhull.manager.catalog.records import RunRecord, RunState
from twinhull.manager.catalog.state import StateDirectory
from twinhull.manager.record import claims as claiming
from twinhull.manager.record.claims import Claims, Place
from twinhull.manager.record.database import RunsDatabase
from twinhull.manager.record.history import RunHistory
from twinhull.manager.record.location import locate
from twinhull.manager.runs.engine import Engine
from twinhull.model.errors import SiteError, TwinhullError
from twinhull.model.machine import MachineId, RunId
from twinhull.model.ports import Ports, system_ports
from twinhull.model.steps import Action, Facts, Step
from twinhull.runs.leash import Leash

STEPS = ("open", "write", "switch", "tidy")
MACHINE = MachineId("11111111-1111-4111-8111-111111111111")
RUN = RunId("test-1")
UNDO_PAUSES_SECONDS = (0.0, 0.0, 0.01)


@dataclass(frozen=True)
class Folder:
    path: Path
    fault: str

    def note(self, line: str) -> None:
        with (self.path / "log").open("a") as log:
            log.write(line + "\n")

    def trip(self, name: str) -> None:
        if f"die:{name}" in self.fault.split(","):
            os.kill(os.getpid(), signal.SIGKILL)
        if f"pause:{name}" in self.fault.split(","):
            (self.path.parent / "paused").touch()
            while not (self.path.parent / "go").exists():
                time.sleep(0.02)
        if f"fail:{name}" in self.fault.split(","):
            raise SiteError(f"the site refused at {name}", hint="ask it again")
        if (
            f"once:{name}" in self.fault.split(",")
            and (self.path / "log").read_text().count(name.replace("-", " ")) == 1
        ):
            raise SiteError(f"the site refused at {name}, once", hint="ask it again")


def _do(name: str) -> object:
    def do(folder: Folder, facts: Facts) -> Facts:
        assert facts["greeting"] == "hello"
        folder.note(f"do {name}")
        (folder.path / name).touch()
        folder.trip(name)
        return {f"{name}_was": len(facts)}

    return do


def _undo(name: str) -> object:
    def undo(folder: Folder, _: Facts) -> None:
        folder.note(f"undo {name}")
        (folder.path / name).unlink(missing_ok=True)
        folder.trip(f"undo-{name}")

    return undo


def _action(kind: str, no_return: str | None) -> Action[Folder]:
    steps: tuple[Step[Folder], ...] = tuple(
        Step(name, _do(name), _undo(name), is_point_of_no_return=name == no_return)  # type: ignore[arg-type]
        for name in STEPS
    )
    return Action(kind, steps)


ACTIONS = {action.kind: action for action in (_action("plain", None), _action("switching", "switch"))}


def main(
    state_path: str,
    work: str,
    verb: str,
    kind: str,
    fault: str = "",
    *,
    place: Place | None = None,
    ports: Ports | None = None,
) -> int:
    """``place`` and ``ports`` let it be another host's process, with another clock."""
    state = StateDirectory(Path(state_path))
    state.make()
    database = RunsDatabase(locate(state, os.environ))
    history, claims = RunHistory(database), Claims(database, ports or system_ports(), place)
    engine = Engine(database, claims, ACTIONS, system_ports())
    claim = claims.take("machine", "the test", is_unwanted=lambda: ports is None)
    assert claim
    leash = Leash(RUN, undo_pauses_seconds=UNDO_PAUSES_SECONDS)

    @contextmanager
    def opened(_: Leash) -> Iterator[Folder]:
        yield Folder(Path(work), fault)

    try:
        if verb == "start":
            now = datetime.now(UTC)
            run = RunRecord(RUN, kind, MACHINE, "m", "test", {"greeting": "hello"}, RunState.RUNNING, now)
            execution = engine.start(run, claim, leash, opened)
        else:
            execution = engine.resume(history.run(RUN), claim, leash, opened)
        assert execution.is_over(60)
        try:
            print(  # noqa: T201 - the test reads it
                json.dumps({"state": "done", "facts": dict(execution.result().result)})
            )
        except TwinhullError as error:
            print(  # noqa: T201 - the test reads it
                json.dumps({"state": history.run(RUN).state.value, "error": type(error).__name__, "text": str(error)})
            )
            return error.exit_code
        return 0
    finally:
        engine.close()
        claims.close()
        database.close()


if __name__ == "__main__":
    claiming.BEAT_SECONDS = 3600.0
    sys.exit(main(*sys.argv[1:]))
