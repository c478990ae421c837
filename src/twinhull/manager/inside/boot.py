"""What in a guest's own files would keep it from coming up on another platform, each with what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from twinhull.manager.inside.ext4 import Ext4, NotReadable
from twinhull.manager.inside.partitions import Read, starts

_DISK_NAME = re.compile(r"/dev/(?:vd|sd|xvd|hd)[a-z]+\d*", re.ASCII)
_NIC_BY_PLACE = re.compile(r"\b(?:en[sopx]\w+|eth\d+)\b", re.ASCII)
_DRIVERS = {
    "CONFIG_XEN_BLKDEV_FRONTEND": "Xen's disks",
    "CONFIG_XEN_NETDEV_FRONTEND": "Xen's network cards",
    "CONFIG_VIRTIO_BLK": "virtio disks",
    "CONFIG_VIRTIO_NET": "virtio network cards",
}


@dataclass(frozen=True, slots=True)
class Readiness:
    """Something that stands in the way, or may."""

    finding: str
    remedy: str


def inspect_disk(read: Read) -> list[Readiness]:
    """Look into a boot disk; what cannot be read is a finding too, and no error."""
    try:
        return _look(read)
    except NotReadable as error:
        return [Readiness(f"Its boot disk could not be looked into: {error}", "Check the guest by hand.")]


def _look(read: Read) -> list[Readiness]:
    systems = list(_file_systems(read))
    root = next((system for system in systems if "etc" in system.names("/")), None)
    if not root:
        return [
            Readiness(
                "No ext4 root file system was found on its boot disk, so its files were not looked into.",
                "Check by hand: disks by UUID in fstab, drivers for both platforms in the initramfs, NICs by MAC.",
            )
        ]
    boot = next((system for system in systems if system is not root and "grub" in system.names("/")), root)
    prefix = "/boot" if boot is root else ""
    return [
        *_fstab(root),
        *_boot_loader(boot.text(f"{prefix}/grub/grub.cfg")),
        *_initramfs(root),
        *_drivers(boot, prefix),
        *_nics(root),
    ]


def _file_systems(read: Read) -> Iterator[Ext4]:
    for start in starts(read):
        try:
            yield Ext4(read, start)
        except NotReadable:
            # Swap, EFI and other partitions are no findings: only a missing root is one.
            continue


def _fstab(root: Ext4) -> Iterator[Readiness]:
    lines = [line for line in (root.text("/etc/fstab") or "").splitlines() if not line.lstrip().startswith("#")]
    for name in dict.fromkeys(found for line in lines for found in _DISK_NAME.findall(line)):
        yield Readiness(
            f"/etc/fstab names the disk {name}, which may have another name on the other platform.",
            f"Write UUID=… instead ('blkid {name}' tells it).",
        )


def _boot_loader(config: str | None) -> Iterator[Readiness]:
    for name in dict.fromkeys(re.findall(r"root=(/dev/(?:vd|sd|xvd|hd)\w+)", config or "", re.ASCII)):
        yield Readiness(
            f"The boot loader names the root disk {name}, which may have another name on the other platform.",
            "Leave GRUB_DISABLE_LINUX_UUID out of /etc/default/grub, and run update-grub.",
        )


def _initramfs(root: Ext4) -> Iterator[Readiness]:
    config = root.text("/etc/initramfs-tools/initramfs.conf") or ""
    if re.search(r"^\s*MODULES=dep\b", config, re.MULTILINE):
        yield Readiness(
            "Its initramfs holds drivers for the present hardware only (MODULES=dep).",
            "Set MODULES=most in /etc/initramfs-tools/initramfs.conf, and run 'update-initramfs -u'.",
        )


def _drivers(boot: Ext4, prefix: str) -> Iterator[Readiness]:
    for name in boot.names(prefix or "/"):
        if not name.startswith("config-"):
            continue
        config = boot.text(f"{prefix}/{name}") or ""
        for option, what in _DRIVERS.items():
            if f"{option}=" not in config:
                kernel = name.removeprefix("config-")
                yield Readiness(
                    f"The kernel {kernel} has no driver for {what}.", "Install the distribution's general kernel."
                )


def _nics(root: Ext4) -> Iterator[Readiness]:
    links = [name for name in root.names("/etc/systemd/network") if name.endswith(".link")]
    if any("MACAddress" in (root.text(f"/etc/systemd/network/{name}") or "") for name in links):
        return
    paths = ["/etc/network/interfaces"]
    paths += [f"/etc/network/interfaces.d/{name}" for name in root.names("/etc/network/interfaces.d")]
    for path in paths:
        lines = [line for line in (root.text(path) or "").splitlines() if not line.lstrip().startswith("#")]
        for name in dict.fromkeys(found for line in lines for found in _NIC_BY_PLACE.findall(line)):
            yield Readiness(
                f"{path} names the network card {name}, which has another name on other hardware.",
                "Name it by its MAC address, which stays: a .link file in /etc/systemd/network with MACAddress=.",
            )
