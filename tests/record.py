"""The record of runs, for tests that hold a machine as another process would, or write a run that none has made."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager

import sqlalchemy as sa

from twinhull.manager.catalog.records import RunRecord, StepRecord
from twinhull.manager.catalog.state import StateDirectory
from twinhull.manager.record.claims import Claim, Claims, Place, machine_claim
from twinhull.manager.record.database import RunsDatabase, outputs, tokens
from twinhull.manager.record.history import RunHistory
from twinhull.manager.record.location import locate
from twinhull.manager.runs.older import insert
from twinhull.model.machine import MachineId
from twinhull.model.ports import system_ports
from twinhull.model.steps import JsonValue


@contextmanager
def opened(state: StateDirectory, environment: Mapping[str, str] | None = None) -> Iterator[RunsDatabase]:
    with closing(RunsDatabase(locate(state, environment or {}))) as database:
        yield database


@contextmanager
def history_of(state: StateDirectory, environment: Mapping[str, str] | None = None) -> Iterator[RunHistory]:
    with opened(state, environment) as database:
        yield RunHistory(database)


@contextmanager
def claims_of(database: RunsDatabase, place: Place | None = None) -> Iterator[Claims]:
    with closing(Claims(database, system_ports(), place)) as claims:
        yield claims


@contextmanager
def claimed(state: StateDirectory, machine_id: MachineId | str, holder: str) -> Iterator[Claim]:
    """The machine's claim, as another process of this host holds it."""
    with opened(state) as database, claims_of(database) as claims:
        claim = claims.try_take(machine_claim(MachineId(machine_id)), holder)
        assert claim
        yield claim


def remember(database: RunsDatabase, run: RunRecord, steps: Sequence[StepRecord] = ()) -> None:
    """Write a run as if it had been made; the engine has made its tables."""
    with database.writing() as connection:
        rise = sa.update(tokens).values(latest=tokens.c.latest + 1).returning(tokens.c.latest)
        insert(connection, run, steps, int(connection.execute(rise).scalar_one()))


def rewrite_result(database: RunsDatabase, run: RunRecord, result: Mapping[str, JsonValue]) -> None:
    """Let an ended run have found that."""
    is_it = outputs.c.workflow_uuid == run.run_id
    with database.writing() as connection:
        end = json.loads(connection.execute(sa.select(outputs.c.output).where(is_it)).scalar_one())
        told = json.dumps({**end, "result": dict(result)})
        connection.execute(sa.update(outputs).where(is_it).values(output=told))
