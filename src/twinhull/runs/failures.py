"""Errors as plain data, so that a run can record one and a later process can raise it again."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path

from twinhull.model.errors import RunFailed, TwinhullError
from twinhull.model.steps import JsonValue


def encode(error: BaseException) -> dict[str, JsonValue]:
    """The error as facts; one that is not ours becomes a RunFailed that says where it came from."""
    if isinstance(error, TwinhullError):
        return {"kind": type(error).__name__, "message": error.message, "hint": error.hint}
    return {"kind": RunFailed.__name__, "message": _tell(error), "hint": ""}


def decode(facts: Mapping[str, JsonValue]) -> TwinhullError:
    """The error again, of its own class where this Twinhull has it."""
    classes = {kind.__name__: kind for kind in all_errors()}
    kind = classes.get(str(facts.get("kind")), RunFailed)
    return kind(str(facts.get("message", "")), hint=str(facts.get("hint", "")))


def all_errors(root: type[TwinhullError] = TwinhullError) -> Iterator[type[TwinhullError]]:
    """Every class of the error tree that is loaded, from the root down."""
    yield root
    for child in root.__subclasses__():
        yield from all_errors(child)


def _tell(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}: {error}"
