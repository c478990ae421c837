"""Long work that can be told to stop: it ends where it is, by an error; the next run goes on from what is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Check = Callable[[], None]
"""Called often by what takes long, and quick: what it raises ends the work."""

ITEMS_PER_CHECK = 1024
"""How many small things are done between two checks: a few milliseconds' worth."""

_Item = TypeVar("_Item")


def never() -> None:
    """Nobody tells it to stop."""


def stoppable(items: Iterable[_Item], check: Check, items_per_check: int = ITEMS_PER_CHECK) -> Iterator[_Item]:
    """The items, with a check before the first of them and every so many."""
    for number, item in enumerate(items):
        if number % items_per_check == 0:
            check()
        yield item
