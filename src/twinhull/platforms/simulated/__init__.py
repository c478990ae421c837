"""A site in memory: the whole platform contract, with machines that write a known history and accidents on demand.

For tests, for simulation at scale, and for trying Twinhull out (``simulated:NAME``; all is gone with the process)::

    world = SimulatedWorld(seed=1)
    web = world.host("a").add_machine(spec)          # a running guest
    web.write("vda", 0, b"hello")                     # its history is known
    site = SimulatedPlatform(world).open(SiteSettings(SiteName("a"), "simulated", "simulated:a"), world.ports)
    world.kill_at = 17                                # kill -9 of ourselves at the 17th tick
"""

from __future__ import annotations

from twinhull.model.ports import Ports
from twinhull.model.sealing import FindKeys, no_keys
from twinhull.platforms.contract import NoOptions, Site, SiteSettings
from twinhull.platforms.simulated.connection import SimulatedPart
from twinhull.platforms.simulated.disks import SimulatedDisk
from twinhull.platforms.simulated.inventory import SimulatedInventory
from twinhull.platforms.simulated.leftovers import SimulatedLeftovers
from twinhull.platforms.simulated.machines import History, SimulatedMachine, Write
from twinhull.platforms.simulated.opening import SimulatedDisks
from twinhull.platforms.simulated.outer import SeededRandomness, SimulatedClock, simulated_ports
from twinhull.platforms.simulated.power import SimulatedPower
from twinhull.platforms.simulated.site import SimulatedCaptures, SimulatedReplicas, SimulatedSite
from twinhull.platforms.simulated.standings import SimulatedStandings
from twinhull.platforms.simulated.world import Captured, Killed, SimulatedHost, SimulatedWorld

_SHARED = SimulatedWorld()


class SimulatedPlatform:
    """The platform ``simulated``; without a world of its own it uses one that the whole process shares."""

    name = "simulated"
    options = NoOptions

    def __init__(self, world: SimulatedWorld | None = None) -> None:
        self._world = world or _SHARED

    def open(
        self,
        settings: SiteSettings,
        ports: Ports,  # noqa: ARG002 - the world brings its own
        *,
        keys: FindKeys = no_keys,  # noqa: ARG002 - a simulated host keeps standings, and no files
        is_looking: bool = False,
    ) -> Site:
        """Connect to the host of the site's name; raises SiteUnreachable."""
        site = SimulatedSite(self._world, settings)
        site.inventory.machines()
        if not is_looking:
            site.prepare()
        return site


PLATFORM = SimulatedPlatform()
"""The platform, as the manager finds it."""

__all__ = [
    "PLATFORM",
    "Captured",
    "History",
    "Killed",
    "SeededRandomness",
    "SimulatedCaptures",
    "SimulatedClock",
    "SimulatedDisk",
    "SimulatedDisks",
    "SimulatedHost",
    "SimulatedInventory",
    "SimulatedLeftovers",
    "SimulatedMachine",
    "SimulatedPart",
    "SimulatedPlatform",
    "SimulatedPower",
    "SimulatedReplicas",
    "SimulatedSite",
    "SimulatedStandings",
    "SimulatedWorld",
    "Write",
    "simulated_ports",
]
