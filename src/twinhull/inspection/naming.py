"""How a Linux guest names its disks on each platform, and which driver it needs for them.

Sources: the kernel's drivers/block/virtio_blk.c (``vd``), xen-blkfront.c (``xvd``) and SCSI disk driver (``sd``, for
SCSI, SATA, IDE and USB disks), and for names below /dev/disk udev's 60-persistent-storage.rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import ascii_lowercase

from twinhull.inspection.readiness import SeenDisk, Surroundings
from twinhull.model.machine import BootMode, DiskSpec, MachineSpec, MachineStatus

_XEN = "xen"

_DRIVERS: Mapping[str, tuple[str, str]] = {
    "virtio": ("virtio_blk", "CONFIG_VIRTIO_BLK"),
    "scsi": ("virtio_scsi", "CONFIG_SCSI_VIRTIO"),
    "lsilogic": ("sym53c8xx", "CONFIG_SCSI_SYM53C8XX_2"),
    "lsisas1068": ("mptsas", "CONFIG_FUSION_SAS"),
    "lsisas1078": ("megaraid_sas", "CONFIG_MEGARAID_SAS"),
    "vmpvscsi": ("vmw_pvscsi", "CONFIG_VMWARE_PVSCSI"),
    "sata": ("ahci", "CONFIG_SATA_AHCI"),
    "ide": ("ata_piix", "CONFIG_ATA_PIIX"),
    "xen": ("xen_blkfront", "CONFIG_XEN_BLKDEV_FRONTEND"),
}
"""For each bus, or controller of SCSI disks: the kernel module, and the option that builds it into the kernel."""


def surroundings(
    spec: MachineSpec,
    *,
    here: str,
    there: str,
    boot_mode: BootMode | None = None,
    keeps_card_slots: bool | None = None,
    keeps_disk_slots: bool | None = None,
) -> Surroundings:
    """A machine's hardware on the platforms ``here`` and ``there``; ``boot_mode`` is how it boots there."""
    buses_here, buses_there = _buses(spec.disks, here), _buses(spec.disks, there)
    names = zip(spec.disks, _names(buses_here), _names(buses_there), buses_here, buses_there, strict=True)
    seen = {
        disk.key: SeenDisk(disk.key, old, new, old_bus == new_bus != _XEN, *_driver(new_bus, spec))
        for disk, old, new, old_bus, new_bus in names
    }
    is_same = here == there
    return Surroundings(
        tuple(seen[disk.key] for disk in spec.boot_disks()),
        is_same,
        keeps_card_slots=keeps_card_slots if is_same else False,
        keeps_disk_slots=keeps_disk_slots if is_same else False,
        is_paravirtual=there == _XEN and boot_mode is BootMode.PV,
    )


def keeps_slots(kind: str, here: MachineStatus, there: MachineStatus | None) -> bool | None:
    """Whether all of a machine's devices of a kind (``card``, ``disk``) are plugged in at the same places on two sites.

    None if that is not known: there is no replica yet, a site does not tell, or bridges between buses differ.
    """
    if there is None or not here.slots or not there.slots:
        return None
    own = {device: place for device, place in here.slots.items() if device.startswith(f"{kind} ")}
    shared = {device: place for device, place in here.slots.items() if device in there.slots}
    moved = {device.partition(" ")[0] for device, place in shared.items() if there.slots[device] != place}
    if kind in moved or own.keys() - shared.keys() or (kind == "disk" and "controller" in moved):
        return False
    return None if "bridge" in moved else True


def _driver(bus: str, spec: MachineSpec) -> tuple[str, str]:
    controller = spec.hardware.scsi_controller if bus == "scsi" else ""
    return _DRIVERS.get(controller) or _DRIVERS[bus]


def _buses(disks: Sequence[DiskSpec], platform: str) -> list[str]:
    """The bus of each disk as the guest's kernel sees it; QEMU gives a disk of an unknown bus a virtio one."""
    if platform == _XEN:
        return ["xen" for _ in disks]
    return [disk.bus if disk.bus in ("scsi", "sata", "ide") else "virtio" for disk in disks]


def _names(buses: Sequence[str]) -> list[str]:
    """The kernel's names, counted for each driver."""
    counts: dict[str, int] = {}
    names = []
    for bus in buses:
        prefix = {"virtio": "vd", "xen": "xvd"}.get(bus, "sd")
        names.append(prefix + _letters(counts.get(prefix, 0)))
        counts[prefix] = counts.get(prefix, 0) + 1
    return names


def _letters(index: int) -> str:
    """``a`` to ``z``, then ``aa``."""
    text = ascii_lowercase[index % 26]
    return _letters(index // 26 - 1) + text if index >= 26 else text  # noqa: PLR2004 - letters of the alphabet
