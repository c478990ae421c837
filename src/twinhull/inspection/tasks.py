"""What a confined child can be asked: each task is one entry here and one module that only the child loads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from twinhull.inspection.readiness import Finding, Surroundings, finding_from_json, surroundings_to_json
from twinhull.model.steps import JsonValue

Question = TypeVar("Question")
Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class Task(Generic[Question, Record]):
    """One kind of look into disks.

    ``module`` has ``run(disks, question)``, which yields records as JSON values. It runs in the child; what it yields
    is foreign, and ``parse`` makes a checked record of it or raises ValueError.
    """

    name: str
    module: str
    to_json: Callable[[Question], JsonValue]
    parse: Callable[[object], Record]


READINESS: Task[Surroundings, Finding] = Task(
    "readiness", "twinhull.inspection.guest.readiness", surroundings_to_json, finding_from_json
)

MODULES: Mapping[str, str] = {READINESS.name: READINESS.module}
"""What the child loads for each task."""
