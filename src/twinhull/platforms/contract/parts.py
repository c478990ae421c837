"""The parts that a site may offer, each there or absent with its reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from twinhull.model.errors import NotSupportedHere
from twinhull.model.machine import SiteName
from twinhull.platforms.contract.captures import Captures
from twinhull.platforms.contract.disks import Disks
from twinhull.platforms.contract.guard import Guard
from twinhull.platforms.contract.inventory import Inventory
from twinhull.platforms.contract.leftovers import Leftovers
from twinhull.platforms.contract.power import Power
from twinhull.platforms.contract.replicas import Replicas
from twinhull.platforms.contract.screen import Screen
from twinhull.platforms.contract.serial_log import SerialLog
from twinhull.platforms.contract.standings import Standings


@dataclass(frozen=True, slots=True)
class Absent:
    """A part that a site does not offer: false in a condition. ``reason`` is one sentence."""

    reason: str

    def __bool__(self) -> Literal[False]:
        """A part that is there is true."""
        return False

    def error(self, site: SiteName, what: str) -> NotSupportedHere:
        """The error for a caller who needs the part; ``what`` says what cannot be done."""
        return NotSupportedHere(
            f"Site '{site}' cannot {what}. {self.reason}",
            hint=f"See what the site can do: twinhull site check {site} --look-only",
        )


def _absent(what: str) -> Absent:
    return Absent(f"Its platform offers no {what}.")


@dataclass(frozen=True, slots=True)
class Parts:
    """What one site offers. A platform names the parts that it has; the others are absent."""

    inventory: Inventory | Absent = field(default=_absent("inventory"))
    power: Power | Absent = field(default=_absent("power switch"))
    captures: Captures | Absent = field(default=_absent("captures"))
    replicas: Replicas | Absent = field(default=_absent("replicas"))
    disks: Disks | Absent = field(default=_absent("access to disks"))
    standings: Standings | Absent = field(default=_absent("place for standings"))
    guard: Guard | Absent = field(default=_absent("guard"))
    leftovers: Leftovers | Absent = field(default=_absent("search for leftovers"))
    serial_log: SerialLog | Absent = field(default=_absent("serial log"))
    screen: Screen | Absent = field(default=_absent("screenshots"))
