"""A process that syncs a machine, once or as a server, while a program of its own works for the capture.

signal_child.py STATE sync|serve
"""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager

from tests.guesses import make_guesses_cheap
from tests.manager.world import PASSPHRASE, machine_id, spec, with_captures
from twinhull.cli.main import call, main
from twinhull.hosts.host import LocalHost, check
from twinhull.model.ports import Ports, system_ports
from twinhull.platforms import simulated
from twinhull.platforms.contract import Capture, CaptureRequest, NoOptions, Site, SiteSettings
from twinhull.platforms.simulated import SimulatedCaptures, SimulatedSite, SimulatedWorld


class WorkingCaptures(SimulatedCaptures):
    """They need a program that runs until the gate is opened, and fail if it is ended before."""

    def capture(self, request: CaptureRequest) -> AbstractContextManager[Capture]:
        check(LocalHost(system_ports()), ["cat", os.environ["GATE"]])
        return super().capture(request)


class Platform:
    """Opens such sites of one world."""

    name = "simulated"
    options = NoOptions

    def __init__(self, world: SimulatedWorld) -> None:
        self.world = world

    def open(self, settings: SiteSettings, ports: Ports, **_: object) -> Site:
        return with_captures(SimulatedSite(self.world, settings), WorkingCaptures)


def run(state: str, command: str) -> None:
    os.environ["TWINHULL_PASSPHRASE"] = PASSPHRASE
    make_guesses_cheap()
    platform = Platform(SimulatedWorld(seed=1))
    simulated.PLATFORM = platform  # type: ignore[assignment]
    platform.world.host("here").add_machine(spec(0))
    words = ["--state", state]
    assert call([*words, "repository", "create", f"{state}-points"]) == 0
    for site in ("here", "there"):
        assert call([*words, "site", "add", site, f"simulated:{site}"]) == 0
    assert call([*words, "plan", "create", "p", "-m", machine_id(0), "--from", "here", "--to", "there"]) == 0
    sys.argv = ["twinhull", *words, *({"sync": ["sync", machine_id(0)], "serve": ["serve"]}[command])]
    main()


if __name__ == "__main__":
    run(*sys.argv[1:])
