"""A platform that offers an inventory and a power switch, and nothing else: what the smallest driver looks like."""

from __future__ import annotations

from collections.abc import Sequence

from twinhull.model.machine import DiskKey, DiskSpec, MachineId, MachineSpec, MachineStatus, PowerState
from twinhull.model.ports import Ports
from twinhull.model.units import MIB
from twinhull.platforms.contract import NoOptions, Parts, Site, SiteIdentity, SiteSettings
from twinhull.platforms.native_ids import Native, NativeIds

POWER = {"vm-1": PowerState.RUNNING, "vm-2": PowerState.OFF}
"""The whole environment."""

IDS = NativeIds("toy", "toy-1", lambda: [Native(name) for name in POWER])


class ToyInventory:
    """Machines with ids of their own."""

    def machines(self) -> Sequence[MachineStatus]:
        return [self.machine(machine_id) for machine_id in IDS.all()]

    def machine(self, machine_id: MachineId) -> MachineStatus:
        native = IDS.native(machine_id)
        spec = MachineSpec(machine_id, native, 1, 64 * MIB, disks=(DiskSpec(DiskKey("vda"), MIB),))
        return MachineStatus(spec, POWER[native], native_id=native)


class ToyPower:
    """Switches that obey."""

    def state(self, machine_id: MachineId) -> PowerState:
        return POWER[IDS.native(machine_id)]

    def start(self, machine_id: MachineId, epoch: int) -> None:
        POWER[IDS.native(machine_id)] = PowerState.RUNNING

    def obstacles(self, machine_id: MachineId) -> Sequence[str]:
        IDS.native(machine_id)
        return ()

    def obstacles_when_off(self, machine_id: MachineId, *_: object, **__: object) -> Sequence[str]:
        return self.obstacles(machine_id)

    def stop(self, machine_id: MachineId, grace_seconds: float) -> bool:
        self.kill(machine_id)
        return True

    def kill(self, machine_id: MachineId) -> None:
        POWER[IDS.native(machine_id)] = PowerState.OFF

    def set_autostart(self, machine_id: MachineId, *, is_on: bool) -> bool:
        IDS.native(machine_id)
        return False


class ToySite(Site):
    def __init__(self, settings: SiteSettings) -> None:
        super().__init__(settings)
        self.parts = Parts(inventory=ToyInventory(), power=ToyPower())

    def identity(self) -> SiteIdentity:
        return SiteIdentity("toy-1", "")


class ToyPlatform:
    name = "toy"
    options = NoOptions

    def open(self, settings: SiteSettings, ports: Ports, **_: object) -> Site:
        return ToySite(settings)


PLATFORM = ToyPlatform()
