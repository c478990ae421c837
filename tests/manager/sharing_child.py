"""A process that works on machines which another process, with a state directory of its own, works on, too.

    sharing_child.py STATE WORK forward|backward [FAULT]

FAULT is ``die:MACHINE:STEP``, or ``after:MACHINE``: begin when a process works on that machine. It ends when each
machine has a run that is done, whichever process made it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tests.manager.engine_child import ACTIONS, Folder
from twinhull.manager.catalog.records import RunRecord, RunState
from twinhull.manager.catalog.state import StateDirectory
from twinhull.manager.record.claims import Claim, Claims, machine_claim
from twinhull.manager.record.database import RunsDatabase
from twinhull.manager.record.history import RunHistory
from twinhull.manager.record.location import locate
from twinhull.manager.runs.engine import Engine, Execution
from twinhull.model.machine import MachineId, RunId
from twinhull.model.ports import system_ports
from twinhull.runs.leash import Leash

MACHINES = tuple(MachineId(f"m{number}") for number in range(6))
DEADLINE_SECONDS = 90.0


class Sharer:
    def __init__(self, database: RunsDatabase, claims: Claims, work: Path, fault: str) -> None:
        self.history, self.claims, self.work, self.fault = RunHistory(database), claims, work, fault
        self.engine = Engine(database, claims, ACTIONS, system_ports())
        self.deadline = time.monotonic() + DEADLINE_SECONDS

    def share(self, machines: tuple[MachineId, ...]) -> None:
        while not all(self.history.latest_done(machine, "plain") for machine in machines):
            assert time.monotonic() < self.deadline
            for machine in machines:
                claim = self.claims.try_take(machine_claim(machine), self.claims.process_name)
                if claim:
                    with claim:
                        self.work_on(machine, claim)

    def work_on(self, machine: MachineId, claim: Claim) -> None:
        if self.history.latest_done(machine, "plain"):
            return
        execution = self.execution(machine, claim)
        assert execution.is_over(60)
        execution.result()

    def execution(self, machine: MachineId, claim: Claim) -> Execution:
        @contextmanager
        def opened(_: Leash) -> Iterator[Folder]:
            folder = self.work / machine
            folder.mkdir(exist_ok=True)
            step = self.fault.removeprefix(f"die:{machine}:") if self.fault.startswith(f"die:{machine}:") else ""
            yield Folder(folder, f"die:{step}" if step else "")

        for left in self.history.unfinished_runs(machine):
            return self.engine.resume(left, claim, Leash(left.run_id), opened)
        run_id, now = RunId(f"plain-{machine}-{os.getpid()}"), datetime.now(UTC)
        origin = str(os.getpid())
        run = RunRecord(run_id, "plain", machine, machine, origin, {"greeting": "hello"}, RunState.RUNNING, now)
        return self.engine.start(run, claim, Leash(run_id), opened)


def main(state_path: str, work: str, order: str, fault: str = "") -> int:
    state = StateDirectory(Path(state_path))
    state.make()
    with (
        closing(RunsDatabase(locate(state, os.environ))) as database,
        closing(Claims(database, system_ports())) as claims,
    ):
        sharer = Sharer(database, claims, Path(work), fault)
        while fault.startswith("after:") and not (Path(work) / fault.removeprefix("after:")).exists():
            assert time.monotonic() < sharer.deadline
            time.sleep(0.01)
        with closing(sharer.engine):
            sharer.share(MACHINES if order == "forward" else MACHINES[::-1])
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
