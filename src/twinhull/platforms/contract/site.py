"""A site: the parts that it offers, and what every site has.

::

    site.power.kill(machine_id)      uses a part; raises NotSupportedHere, with the reason, if the site has none
    site.parts.power                 the part, or why it is absent
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from twinhull.platforms.contract.capabilities import PART_OF, Capability, Support
from twinhull.platforms.contract.captures import Captures
from twinhull.platforms.contract.disks import Disks
from twinhull.platforms.contract.guard import Guard
from twinhull.platforms.contract.inventory import Inventory
from twinhull.platforms.contract.leftovers import Leftovers
from twinhull.platforms.contract.parts import Absent, Parts
from twinhull.platforms.contract.power import Power
from twinhull.platforms.contract.replicas import Replicas
from twinhull.platforms.contract.screen import Screen
from twinhull.platforms.contract.serial_log import SerialLog
from twinhull.platforms.contract.settings import SiteIdentity, SiteSettings
from twinhull.platforms.contract.standings import Standings

Part = TypeVar("Part")


class _Needed(Generic[Part]):
    """A part that the caller cannot do without; ``what`` completes "the site cannot …"."""

    def __init__(self, what: str, find: Callable[[Parts], Part | Absent]) -> None:
        self._what = what
        self._find = find

    def __get__(self, site: Site, _: type[Site]) -> Part:
        part = self._find(site.parts)
        if isinstance(part, Absent):
            raise part.error(site.settings.name, self._what)
        return part


class Site(ABC):
    """One connected virtualization environment. A platform's own site sets ``parts``."""

    parts: Parts

    inventory = _Needed[Inventory]("list machines", lambda parts: parts.inventory)
    power = _Needed[Power]("switch machines on or off", lambda parts: parts.power)
    captures = _Needed[Captures]("capture machines", lambda parts: parts.captures)
    replicas = _Needed[Replicas]("hold replicas", lambda parts: parts.replicas)
    disks = _Needed[Disks]("open a stopped machine's disks", lambda parts: parts.disks)
    standings = _Needed[Standings]("hold standings", lambda parts: parts.standings)
    guard = _Needed[Guard]("guard its machines' power switches", lambda parts: parts.guard)
    leftovers = _Needed[Leftovers]("look for leftovers", lambda parts: parts.leftovers)
    serial_log = _Needed[SerialLog]("read a serial log", lambda parts: parts.serial_log)
    screen = _Needed[Screen]("take a screenshot", lambda parts: parts.screen)

    def __init__(self, settings: SiteSettings) -> None:
        self.settings = settings

    @abstractmethod
    def identity(self) -> SiteIdentity:
        """Which host and which directory this is."""

    def prepare(self) -> None:  # noqa: B027 - a site that needs nothing need not say so
        """Make the site ready to be worked on; until then nothing is changed there. Safe to repeat.

        Standings of the manager's own machines that an older version left there are sealed for this host.
        """

    def close(self) -> None:  # noqa: B027 - as above
        """Close the connection; what is captured or exported must be closed before. Safe to repeat."""

    def limits(self) -> Mapping[Capability, Support]:
        """What it cannot do within the parts that it offers, or only within limits. It may have to ask the host."""
        return {}

    def capabilities(self) -> Mapping[Capability, Support]:
        """What it can do; every capability is named."""
        limits = {**self._guarding(), **self.limits()}
        return {each: self._support(each, limits) for each in Capability}

    def _guarding(self) -> Mapping[Capability, Support]:
        guard = self.parts.guard
        if isinstance(guard, Absent):
            return {}
        found = guard.grade()
        return {Capability.GUARD: Support(found.is_refusing, found.reason)}

    def _support(self, capability: Capability, limits: Mapping[Capability, Support]) -> Support:
        part = getattr(self.parts, PART_OF[capability])
        if isinstance(part, Absent):
            return Support(is_supported=False, reason=part.reason)
        return limits.get(capability, Support(is_supported=True))
