"""What libvirt's XML says of a Xen machine, in our words."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass

from twinhull.model.errors import SiteError
from twinhull.model.machine import BootMode, Firmware, MachineId, NicSpec, PowerState

_UNITS = {"b": 1, "bytes": 1, "KiB": 2**10, "k": 2**10, "MiB": 2**20, "M": 2**20, "GiB": 2**30, "G": 2**30}
_BOOT_MODES = {"linux": BootMode.PV, "xen": BootMode.PV, "xenpvh": BootMode.PVH, "hvm": BootMode.HVM}


@dataclass(frozen=True, slots=True)
class XenImage:
    """A disk as the host keeps it. ``target`` is its device name there (``sda``, ``xvda``)."""

    target: str
    path: str
    format: str
    driver: str
    bus: str

    @property
    def is_served_by_qemu(self) -> bool:
        """Whether a QEMU in dom0 serves the disk, so that it can be captured while the machine runs."""
        return self.driver == "qemu"


@dataclass(frozen=True, slots=True)
class Definition:
    """A machine's libvirt definition, read; ``disks`` leaves out CD-ROMs and read-only disks."""

    machine_id: MachineId
    name: str
    cpu_count: int
    memory_bytes: int
    firmware: Firmware
    boot_mode: BootMode
    disks: tuple[XenImage, ...]
    nics: tuple[NicSpec, ...]
    serial_path: str | None


def read_definition(xml: str) -> Definition:
    """Read a libvirt domain's XML; raises SiteError where it is none."""
    try:
        root = ET.fromstring(xml)  # noqa: S314 - the XML comes from the site's own libvirt
    except ET.ParseError as error:
        raise SiteError(f"libvirt described a machine in a way that cannot be read: {error}") from error
    vcpu, memory = root.find("vcpu"), root.find("memory")
    unit = _UNITS.get(memory.get("unit", "KiB"), 2**10) if memory is not None else 1
    loader = root.findtext("./os/loader") or ""
    disks = [disk for disk in root.findall("./devices/disk") if _is_data_disk(disk)]
    return Definition(
        machine_id=MachineId((root.findtext("uuid") or "").lower()),
        name=root.findtext("name") or "",
        cpu_count=int((vcpu.get("current") or vcpu.text or 1) if vcpu is not None else 1),
        memory_bytes=int(memory.text or 0) * unit if memory is not None else 0,
        firmware=Firmware.UEFI if "ovmf" in loader.lower() else Firmware.BIOS,
        boot_mode=_BOOT_MODES.get(root.findtext("./os/type") or "", BootMode.HVM),
        disks=tuple(_image(disk) for disk in disks),
        nics=tuple(_nic(nic) for nic in root.findall("./devices/interface")),
        serial_path=_serial_path(root),
    )


def _is_data_disk(disk: ET.Element) -> bool:
    return disk.get("device", "disk") == "disk" and disk.find("readonly") is None


def _image(disk: ET.Element) -> XenImage:
    source, target, driver = disk.find("source"), disk.find("target"), disk.find("driver")
    path = (source.get("file") or source.get("dev") or "") if source is not None else ""
    return XenImage(
        target=target.get("dev", "") if target is not None else "",
        path=path,
        format=driver.get("type", "raw") if driver is not None else "raw",
        driver=driver.get("name", "") if driver is not None else "",
        bus=target.get("bus", "xen") if target is not None else "xen",
    )


def _nic(nic: ET.Element) -> NicSpec:
    mac, source = nic.find("mac"), nic.find("source")
    kind = nic.get("type", "")
    words = ("network", "bridge", "dev")
    where = next((source.get(word) for word in words if source.get(word)), "") if source is not None else ""
    return NicSpec(
        mac=mac.get("address", "").lower() if mac is not None else "", network=f"{kind}:{where}" if where else kind
    )


def _serial_path(root: ET.Element) -> str | None:
    for serial in root.findall("./devices/serial"):
        source = serial.find("source")
        if serial.get("type") == "file" and source is not None and source.get("path"):
            return source.get("path")
    return None


_STATES = {
    0: PowerState.RUNNING,  # libxl gives no state to a domain that does not run at this very moment
    1: PowerState.RUNNING,
    2: PowerState.RUNNING,
    3: PowerState.PAUSED,
    4: PowerState.RUNNING,  # being shut down, but still running
    5: PowerState.OFF,
    6: PowerState.CRASHED,
    7: PowerState.PAUSED,
}
_OFF_BY_CRASH = 3


def power_of(state: int, reason: int, *, is_active: bool) -> PowerState:
    """The power state of libvirt's numbers. A domain that is said to be off is off once it is no longer active."""
    power = _STATES.get(state, PowerState.RUNNING)
    if is_active:
        return PowerState.RUNNING if power.is_off else power
    return PowerState.CRASHED if reason == _OFF_BY_CRASH else PowerState.OFF
