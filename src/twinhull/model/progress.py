"""How far a phase of long work is: what whoever waits for it is told, and where it can be told to stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a phase is. ``phase`` is a word (``read``, ``apply``, ``verify``); ``subject`` is what it works on.

    ``done_bytes`` of ``total_bytes`` (None while it is not known).
    """

    phase: str
    subject: str
    done_bytes: int
    total_bytes: int | None = None


OnProgress = Callable[[Progress], None]
"""Called often, from any thread, and quick. What it raises ends the work."""


def nobody_listens(_: Progress) -> None:
    """For work that nobody waits for."""
