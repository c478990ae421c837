"""Finding and removing what killed processes left behind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from twinhull.model.errors import SiteError
from twinhull.model.machine import MachineId

TRACKER = "tracker"
"""The kind of a leftover that counts changes on a disk, whatever the platform."""


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something of ours that a killed process left on a site."""

    kind: str
    name: str
    machine_id: MachineId | None = None


OnTrouble = Callable[[MachineId, SiteError], None]
"""Hears of one machine that cannot be looked at; raises, or lets the look go on to the others."""


def raising(_: MachineId, error: SiteError) -> None:
    """Give the whole look up for one machine."""
    raise error


class Leftovers(Protocol):
    """What killed processes left on a site."""

    def find(
        self, machine_id: MachineId | None, kept_trackers: Sequence[str], on_trouble: OnTrouble = raising
    ) -> Sequence[Leftover]:
        """All that carries our label and belongs to nothing that is alive.

        Only of that machine, where one is named. Trackers in ``kept_trackers`` are no leftovers; with
        ``machine_id`` None trackers are not looked at, and a machine that was never captured is not opened.
        ``on_trouble`` hears of a machine that cannot be looked at; the others are looked at if it returns.
        """
        ...

    def clean(self, leftover: Leftover) -> None:
        """Remove one. Safe to repeat."""
        ...
