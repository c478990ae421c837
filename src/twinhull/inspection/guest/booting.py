"""Whether a guest's kernels find their disks on the other site, and whether its GRUB menu can be read there."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from twinhull.inspection.guest.devices import shown
from twinhull.inspection.guest.ext import ExtFiles
from twinhull.inspection.guest.initramfs import NotUnderstood, modules_in
from twinhull.inspection.guest.mounts import grub_configs
from twinhull.inspection.readiness import Finding, SeenDisk
from twinhull.model.lacks import Consequence

LARGEST_COUNT = 8
"""Kernels of one volume whose initramfs is unpacked."""

_METADATA_CSUM, _64BIT = 0x400, 0x80
_REBUILD = (
    "In Debian set MODULES=most in /etc/initramfs-tools/initramfs.conf and run update-initramfs -u -k all;"
    " with dracut, run dracut --force --no-hostonly --regenerate-all."
)


def missing_drivers(files: ExtFiles, disks: Sequence[SeenDisk]) -> Iterator[Finding]:
    """Each initramfs on a volume that has no driver for one of the disks that must be found early."""
    needed = dict.fromkeys((disk.driver, disk.driver_option) for disk in disks if disk.driver)
    folder = "/boot" if files.names("/boot") else ""
    for name in [name for name in files.names(folder or "/") if _is_initramfs(name)][:LARGEST_COUNT]:
        path = f"{folder}/{name}"
        config = files.text(f"{folder}/config-{_version(name)}")
        try:
            inside = modules_in(files.pieces(path))
        except NotUnderstood as reason:
            yield _not_seen(path, str(reason))
            continue
        for driver, option in needed:
            # Some initramfs put a number before a module's name, to load modules in order.
            is_inside = any(module.endswith(driver) for module in inside)
            if inside and not is_inside and f"{option}=y" not in config:
                yield Finding(
                    f"{shown(path)} has no driver {driver}: there, the kernel would not find its disk.",
                    _REBUILD,
                    Consequence.WILL_NOT_BOOT,
                )


def _is_initramfs(name: str) -> bool:
    return name.startswith(("initrd", "initramfs")) and not name.endswith((".old", "kdump.img"))


def _version(name: str) -> str:
    return re.sub(r"^(initrd\.img-|initramfs-)|\.img$", "", name)


def _not_seen(path: str, reason: str) -> Finding:
    return Finding(
        f"{shown(path)} could not be inspected: {reason}. It is unknown whether it has the drivers for the other site.",
        "Restore it there and start it once: twinhull restore MACHINE:N --to site:NAME --name test",
    )


def unreadable_menus(files: ExtFiles) -> Iterator[Finding]:
    """What pygrub, which reads the guest's disk for a paravirtual boot, will not find or not understand."""
    configs = grub_configs(files)
    if not (configs or files.names("/boot")):
        return
    if not any("menuentry" in text for text in configs):
        yield Finding(
            "A paravirtual boot needs a GRUB menu with a menuentry, and there is none.",
            "Run update-grub in the guest, or boot it as HVM.",
            Consequence.WILL_NOT_BOOT,
        )
    if files.read_only_compatible & _METADATA_CSUM or files.incompatible & _64BIT:
        yield Finding(
            "The boot file system has ext4 features (metadata_csum, 64bit) that pygrub of Xen 4.17 may not read.",
            "Boot it as HVM, or put /boot on a separate file system without them.",
        )
