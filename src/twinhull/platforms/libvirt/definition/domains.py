"""What libvirt says of a machine, in our words: its definition's XML, its state's numbers."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass, field

from twinhull.model.checks import MAX_TEXT, checked_text, number_in
from twinhull.model.hardware import DiskTraits, Hardware
from twinhull.model.machine import BootMode, DiskKey, DiskSpec, Firmware, MachineId, MachineSpec, NicSpec, PowerState
from twinhull.model.names import (
    canonical_machine_id,
    checked_cpu_count,
    checked_disk_key,
    checked_disk_keys,
    checked_mac,
    checked_machine_name,
    checked_memory_bytes,
    checked_network,
    checked_word,
)
from twinhull.platforms.libvirt.definition.hardware import boot_orders, read_hardware, read_traits
from twinhull.platforms.libvirt.definition.slots import read_slots
from twinhull.platforms.libvirt.definition.xml import BadDefinition, parse_xml

AGENT_CHANNEL = "org.qemu.guest_agent.0"
NAMESPACE = "https://twinhull.org/xml/machine/1"
"""Our element in a machine's libvirt metadata: it says that we made the machine."""

_UNITS = {"b": 1, "bytes": 1, "KB": 1000, "k": 1024, "KiB": 1024, "MB": 10**6, "M": 2**20, "MiB": 2**20}
_UNITS |= {"GB": 10**9, "G": 2**30, "GiB": 2**30, "TB": 10**12, "T": 2**40, "TiB": 2**40}


_BOOT_MODES = {"linux": BootMode.PV, "xen": BootMode.PV, "xenpvh": BootMode.PVH}


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A disk as its site keeps it: ``path`` is its file or device, empty where it is neither.

    ``target`` is its device name there. ``key`` is the same, but for the disk of a replica that we made: its file is
    called after the disk's key, whatever its name on this platform. ``volume`` is the pool and volume of libvirt's
    storage that it is, empty where it is none; ``path`` is empty then until it was looked up there. ``is_plain`` is
    false for what cannot be opened by its path alone: it is encrypted, or a part of a file.
    """

    key: DiskKey
    target: str
    path: str
    format: str
    bus: str
    traits: DiskTraits = field(default_factory=DiskTraits)
    volume: tuple[str, str] | None = None
    is_plain: bool = True

    @property
    def can_track(self) -> bool:
        """Whether QEMU can keep a dirty bitmap in it."""
        return self.format == "qcow2" and bool(self.path) and self.is_plain and not self.traits.is_read_only


@dataclass(frozen=True, slots=True)
class Definition:
    """A machine's libvirt definition, read; ``disks`` leaves out CD-ROMs and floppies."""

    machine_id: MachineId
    name: str
    cpu_count: int
    memory_bytes: int
    firmware: Firmware
    boot_mode: BootMode
    disks: tuple[ImageFile, ...]
    other_devices: tuple[str, ...]
    nics: tuple[NicSpec, ...]
    has_agent: bool
    serial_path: str | None
    has_screen: bool
    is_ours: bool
    domain_type: str
    hardware: Hardware
    slots: Mapping[str, str]

    def spec(self, sizes: Mapping[DiskKey, int]) -> MachineSpec:
        """The machine's neutral description, with the sizes that were asked from the site."""
        disks = tuple(
            DiskSpec(disk.key, sizes[disk.key], disk.bus, disk.traits) for disk in self.disks if disk.key in sizes
        )
        return MachineSpec(
            machine_id=self.machine_id,
            name=self.name,
            cpu_count=self.cpu_count,
            memory_bytes=self.memory_bytes,
            firmware=self.firmware,
            boot_mode=self.boot_mode,
            disks=disks,
            nics=self.nics,
            hardware=self.hardware,
        )

    def disk(self, key: DiskKey) -> ImageFile | None:
        """The disk of that key, if there is one."""
        return next((disk for disk in self.disks if disk.key == key), None)


def read_definition(xml: str, stored_xml: str = "") -> Definition:
    """Read a libvirt domain's XML; raises BadDefinition.

    ``stored_xml`` is what a running machine will be started from the next time: its hardware is read there, because
    the running definition has much that libvirt added.
    """
    root = parse_xml(xml)
    stored = parse_xml(stored_xml) if stored_xml else root
    try:
        return _read(root, stored)
    except ValueError as error:
        raise BadDefinition(
            f"The definition of machine {_shown_name(root)} cannot be worked with: {error}",
            hint="Correct it there: virsh edit.",
        ) from error


def _shown_name(root: ET.Element) -> str:
    return repr((root.findtext("name") or "without a name")[:MAX_TEXT])


def _read(root: ET.Element, stored: ET.Element) -> Definition:
    disks, cards = root.findall("./devices/disk"), root.findall("./devices/interface")
    machine_id = canonical_machine_id(root.findtext("uuid"))
    data_disks = [disk for disk in disks if _is_data_disk(disk)]
    is_ours = root.find(f"./metadata/{{{NAMESPACE}}}machine") is not None
    orders = _boot_orders(stored)
    images = tuple(_image(disk, machine_id, orders.get(_target(disk), 0)) for disk in data_disks)
    checked_disk_keys(image.key for image in images)
    return Definition(
        machine_id=machine_id,
        name=checked_machine_name(root.findtext("name")),
        cpu_count=_cpu_count(root),
        memory_bytes=_memory_bytes(root),
        firmware=_firmware(root),
        boot_mode=_BOOT_MODES.get(root.findtext("./os/type") or "", BootMode.HVM),
        disks=images,
        other_devices=tuple(checked_disk_key(_target(disk)) for disk in disks if not _is_data_disk(disk)),
        nics=tuple(_nic(nic, orders.get(_mac(nic), 0), is_ours=is_ours) for nic in cards),
        has_agent=any(t.get("name") == AGENT_CHANNEL for t in root.findall("./devices/channel/target")),
        serial_path=_serial_path(root),
        has_screen=root.find("./devices/video") is not None,
        is_ours=is_ours,
        domain_type=checked_word(root.get("type", "qemu")),
        hardware=read_hardware(stored, root),
        slots=read_slots(root),
    )


def _boot_orders(stored: ET.Element) -> dict[str, int]:
    """The boot order of disks by their device names and of cards by their addresses, as the next start will have it."""
    disks = [disk for disk in stored.findall("./devices/disk") if _is_data_disk(disk)]
    cards = stored.findall("./devices/interface")
    orders = boot_orders(stored, disks, cards)
    return {(_mac(item) if item.tag == "interface" else _target(item)): order for item, order in orders.items()}


def _mac(nic: ET.Element) -> str:
    mac = nic.find("mac")
    return mac.get("address", "").lower() if mac is not None else ""


def _cpu_count(root: ET.Element) -> int:
    vcpu = root.find("vcpu")
    if vcpu is None:
        return 1
    return checked_cpu_count(number_in(vcpu.get("current") or vcpu.text))


def _memory_bytes(root: ET.Element) -> int:
    memory = root.find("memory")
    if memory is None:
        return 0
    return checked_memory_bytes(number_in(memory.text) * _UNITS.get(memory.get("unit", "KiB"), 1024))


def _firmware(root: ET.Element) -> Firmware:
    os = root.find("os")
    loader = root.find("./os/loader")
    is_efi = os is not None and os.get("firmware") == "efi"
    is_loaded = loader is not None and (loader.get("type") == "pflash" or "ovmf" in (loader.text or "").lower())
    return Firmware.UEFI if is_efi or is_loaded else Firmware.BIOS


def _is_data_disk(disk: ET.Element) -> bool:
    return disk.get("device", "disk") in ("disk", "lun")


def _target(disk: ET.Element) -> str:
    target = disk.find("target")
    return target.get("dev", "") if target is not None else ""


def _image(disk: ET.Element, machine_id: MachineId, boot_order: int) -> ImageFile:
    source, driver = disk.find("source"), disk.find("driver")
    path = (source.get("file") or source.get("dev") or "") if source is not None else ""
    target = disk.find("target")
    return ImageFile(
        key=checked_disk_key(_own_name(path, machine_id) or _target(disk)),
        target=checked_disk_key(_target(disk)),
        path=path,
        format=checked_word(driver.get("type", "raw") if driver is not None else "raw"),
        bus=checked_word(target.get("bus", "virtio") if target is not None else "virtio"),
        traits=read_traits(disk, boot_order),
        volume=_volume(source),
        is_plain=not any(disk.find(path) is not None for path in ("encryption", "source/encryption", "source/slices")),
    )


def _volume(source: ET.Element | None) -> tuple[str, str] | None:
    if source is None or not source.get("pool"):
        return None
    return checked_text(source.get("pool")), checked_text(source.get("volume"))


def _own_name(path: str, machine_id: MachineId) -> str:
    """What the file of a replica's disk is called, or nothing where it is no such file."""
    own, _, name = path.rpartition(f"/replicas/{machine_id}/")
    return name.removesuffix(".qcow2") if own and "/" not in name else ""


def _nic(nic: ET.Element, boot_order: int, *, is_ours: bool) -> NicSpec:
    """A card. One of ours that is on no network of its host is so for lack of a network, not on purpose."""
    model, source = nic.find("model"), nic.find("source")
    link = nic.find("link")
    kind = nic.get("type", "")
    where = (
        next((source.get(word) for word in ("network", "bridge", "dev") if source.get(word)), "")
        if (source is not None)
        else ""
    )
    return NicSpec(
        mac=checked_mac(_mac(nic)),
        network=checked_network(f"{kind}:{where}" if where else kind),
        model=checked_word(model.get("type", "virtio") if model is not None else "virtio"),
        boot_order=boot_order,
        is_unplugged=link is not None and link.get("state") == "down" and not (is_ours and kind == "user"),
    )


def _serial_path(root: ET.Element) -> str | None:
    for serial in [*root.findall("./devices/serial"), *root.findall("./devices/console")]:
        log, source = serial.find("log"), serial.find("source")
        if log is not None and log.get("file"):
            return log.get("file")
        if serial.get("type") == "file" and source is not None and source.get("path"):
            return source.get("path")
    return None


_STANDING_STILL = (3, 6, 7)  # paused; crashed and kept as it is; suspended by the guest
_SHUT_OFF, _BY_CRASH = 5, 3


def power_of(state: int, reason: int, *, is_active: bool) -> PowerState:
    """The power state of libvirt's numbers (virDomainState, virDomainShutoffReason).

    A machine is off once it is no longer active, whatever its state: libxl calls one shut off while it is torn down,
    and gives no state to one that does not execute at this very moment.
    """
    if is_active:
        return PowerState.PAUSED if state in _STANDING_STILL else PowerState.RUNNING
    return PowerState.CRASHED if (state, reason) == (_SHUT_OFF, _BY_CRASH) else PowerState.OFF
