"""One machine on all of its sites, as they tell it right now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from twinhull.model.machine import MachineId, MachineStatus, PowerState, SiteName, Standing
from twinhull.platforms.contract import GuardGrade


@dataclass(frozen=True, slots=True)
class Side:
    """One site's view. ``status`` is None if the machine is not there.

    ``reason`` says why a site is silent, or why its standing (``Role.UNREADABLE``) cannot be read. ``guard`` is how
    strong the site's guard is, if that is known.
    """

    site: SiteName
    is_reachable: bool
    standing: Standing | None = None
    status: MachineStatus | None = None
    reason: str = ""
    guard: GuardGrade | None = None

    @property
    def is_running(self) -> bool:
        """Whether the machine executes here, as far as is known: a site that does not answer says nothing."""
        return self.status is not None and not self.status.power.is_off

    @property
    def power(self) -> PowerState | None:
        """The power state, None where there is no machine or no answer."""
        return self.status.power if self.status else None


@dataclass(frozen=True, slots=True)
class Situation:
    """All sides. ``known_epoch`` is the highest epoch that is known otherwise (from the machine's points).

    ``known_primary`` is the site that captured the latest point of that epoch.
    """

    machine_id: MachineId
    sides: Sequence[Side]
    known_epoch: int = 0
    known_primary: SiteName | None = None

    @property
    def name(self) -> str:
        """What to call the machine: its name on the first side that shows it, else its id."""
        return next((side.status.spec.name for side in self.sides if side.status), self.machine_id)

    def side(self, site: str) -> Side:
        """The side of that site."""
        return next(side for side in self.sides if side.site == site)
