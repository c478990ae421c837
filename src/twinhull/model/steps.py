"""Long actions as steps: what is recorded, what is repeated, and what is undone.

::

    do 1 ── do 2 ── do 3 ── … ── done
      │       │       x fails
      │       └─ undo 2 ◀─ undo 3 (what it half did)
      └─ undo 1 ◀─┘                       … ── failed, everything as it was

    … ── do N (point of no return) ── do N+1 x fails ── stopped: repeating the run goes on at N+1

A step is safe to repeat, because a killed process repeats the one it was in. An undo is safe to repeat, and safe where
its step was never begun or half done. Steps hand on *facts*: plain JSON data, recorded when a step has ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

JsonValue = None | bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"]
"""What can be recorded."""

Facts = Mapping[str, JsonValue]
"""What the steps so far have found and made; never holds secrets."""

Context = TypeVar("Context")


@dataclass(frozen=True, slots=True)
class Step(Generic[Context]):
    """One recorded piece of an action.

    ``do`` gets the facts so far and returns the new ones (an empty mapping where there are none). ``undo`` gets the
    facts so far and takes back what ``do`` left behind. With ``is_point_of_no_return`` nothing is undone once the step
    has *begun*: from there on the way is forward only.
    """

    name: str
    do: Callable[[Context, Facts], Facts]
    undo: Callable[[Context, Facts], None] | None = None
    is_point_of_no_return: bool = False


@dataclass(frozen=True, slots=True)
class Action(Generic[Context]):
    """A kind of run: its word (``sync``, ``failover``) and its steps in order."""

    kind: str
    steps: tuple[Step[Context], ...] = field(default=())
