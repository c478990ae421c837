"""The simulated hosts that the archive's state directory knows, built again from ``world.json``."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from twinhull.model.codec import spec_from_json, standing_from_json
from twinhull.model.machine import DiskKey, MachineId, PowerState
from twinhull.platforms.simulated import SimulatedClock, SimulatedHost, SimulatedWorld
from twinhull.platforms.simulated.machines import Tracker
from twinhull.platforms.simulated.world import Held

Raw = Mapping[str, Any]


def world_from_json(raw: Raw) -> SimulatedWorld:
    """The hosts as the killed processes left them, at the archive's time."""
    world = SimulatedWorld(seed=1)
    world.ports = replace(world.ports, clock=SimulatedClock(datetime.fromisoformat(raw["now"])))
    for name, host in raw["hosts"].items():
        _fill(world.host(name), host)
    return world


def _fill(host: SimulatedHost, raw: Raw) -> None:
    for machine in raw["machines"]:
        _add_machine(host, machine)
    host.networks = set(raw["networks"])
    standings = [standing_from_json(standing) for standing in raw["standings"]]
    host.standings = {standing.machine_id: standing for standing in standings}
    # The process that held it is dead.
    host.held = [Held(kind, name, MachineId(machine_id), process=0) for kind, name, machine_id in raw["held"]]


def _add_machine(host: SimulatedHost, raw: Raw) -> None:
    machine = host.add_machine(spec_from_json(raw["spec"]), is_running=False)
    machine.is_ours = raw["is_ours"]
    machine.power = PowerState(raw["power"])
    for key, pages in raw["disks"].items():
        machine.disks[DiskKey(key)].pages = {int(number): base64.b64decode(page) for number, page in pages.items()}
        machine.disks[DiskKey(key)].flush()
    for key, trackers in raw["trackers"].items():
        machine.trackers[DiskKey(key)] = {
            name: Tracker(set(changed), is_broken=is_broken) for name, (changed, is_broken) in trackers.items()
        }
