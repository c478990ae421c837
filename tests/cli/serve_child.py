"""A process that serves two simulated sites, on which a site or a capture may hang for ever.

serve_child.py STATE POINTS HANG        HANG is 'nothing', 'capture' (of m0), 'site' (lost, with m1 on it) or
                                        'leak' (lost fails, and its error quotes secrets)
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from threading import Event

from tests.manager.world import PASSPHRASE, machine_id, spec, with_captures
from twinhull.cli.main import call, main
from twinhull.model.errors import SiteUnreachable
from twinhull.model.ports import Ports
from twinhull.platforms import simulated
from twinhull.platforms.contract import Capture, CaptureRequest, NoOptions, Site, SiteSettings
from twinhull.platforms.simulated import SimulatedCaptures, SimulatedSite, SimulatedWorld


class HangingCaptures(SimulatedCaptures):
    """They never come back."""

    def capture(self, request: CaptureRequest) -> AbstractContextManager[Capture]:
        Event().wait()
        raise AssertionError(request)


class HangingPlatform:
    """Opens sites of one world, or never comes back."""

    name = "simulated"
    options = NoOptions

    def __init__(self, world: SimulatedWorld) -> None:
        self.world = world
        self.hanging = "nothing"

    def open(self, settings: SiteSettings, ports: Ports, **_: object) -> Site:
        if self.hanging == "site" and settings.name == "lost":
            Event().wait()
        if self.hanging == "leak" and settings.name == "lost":
            raise SiteUnreachable(f"cannot reach qemu+ssh://root:hunter2@lost/system with {PASSPHRASE}")
        site = SimulatedSite(self.world, settings)
        return with_captures(site, HangingCaptures) if self.hanging == "capture" else site


def serve(state: str, points: str, hang: str) -> None:
    platform = HangingPlatform(SimulatedWorld(seed=1))
    simulated.PLATFORM = platform  # type: ignore[assignment]
    platform.world.host("here").add_machine(spec(0))
    platform.world.host("lost").add_machine(spec(1))
    words = ["--state", state]
    assert call([*words, "repository", "use", points]) == 0
    for site in ("here", "there", "lost"):
        assert call([*words, "site", "add", site, f"simulated:{site}"]) == 0
    for number, home in enumerate(("here", "lost")):
        machine = machine_id(number)
        assert call([*words, "plan", "create", home, "-m", machine, "--from", home, "--to", "there"]) == 0
    platform.hanging = hang
    sys.argv = ["twinhull", *words, "serve", "--json", "--grace", "1s"]
    main()


if __name__ == "__main__":
    import os

    os.environ["TWINHULL_PASSPHRASE"] = PASSPHRASE
    serve(*sys.argv[1:])
