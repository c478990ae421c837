"""A process that a terminal shows: command lines are read from its input, and answered on a simulated world.

terminal_child.py STATE
"""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import replace

from tests.guesses import make_guesses_cheap
from tests.manager.world import PASSPHRASE, spec
from twinhull.cli.main import call
from twinhull.model.machine import DiskKey, DiskSpec
from twinhull.model.units import MIB
from twinhull.platforms import simulated
from twinhull.platforms.simulated import SimulatedPlatform, SimulatedWorld


def main(state: str) -> None:
    world = SimulatedWorld(seed=1)
    simulated.PLATFORM = SimulatedPlatform(world)
    shop = replace(spec(0), name="shop-database", disks=(DiskSpec(DiskKey("vda"), 32 * MIB),))
    machine = world.host("headquarters").add_machine(shop)
    for mib in range(24):
        machine.write("vda", mib * MIB, os.urandom(MIB))
    world.host("elsewhere").networks.add("lan")
    os.environ["TWINHULL_PASSPHRASE"] = PASSPHRASE
    make_guesses_cheap()
    for line in sys.stdin:
        print(f"<{call(['--state', state, *shlex.split(line)])}>", flush=True)  # noqa: T201 - the test reads it


if __name__ == "__main__":
    main(*sys.argv[1:])
