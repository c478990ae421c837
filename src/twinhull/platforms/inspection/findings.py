"""What in a machine's own files keeps it from coming up on the other platform, each with what to do."""

from __future__ import annotations

import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import zstandard

from twinhull.blocks.disk import Disk
from twinhull.model.machine import BootMode
from twinhull.platforms.inspection.filesystem import ExtFiles, ext_partitions
from twinhull.platforms.inspection.partitions import partitions

LARGEST_INITRAMFS_BYTES = 1024 * 2**20
"""How far an initramfs is unpacked."""

DRIVERS = {
    "xen": ("xen_blkfront", "CONFIG_XEN_BLKDEV_FRONTEND"),
    "qemu": ("virtio_blk", "CONFIG_VIRTIO_BLK"),
}
"""The disk driver that a Linux guest needs early on each platform, and the kernel option that builds it in."""

_BY_NAME = re.compile(r"/dev/(?:[shv]d[a-z]|xvd[a-z])\d*")
_SLOT_NAMED = re.compile(r"\ben(?:o\d+|s\d+\w*|p\d+s\d+\w*)\b")
_GRUB_CONFIGS = ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg", "/grub/grub.cfg", "/grub2/grub.cfg")
_METADATA_CSUM, _64BIT = 0x400, 0x80


Decompress = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that stands in the way, or may; ``remedy`` says what to do, in the guest, before the day."""

    finding: str
    remedy: str


def inspect_disk(disk: Disk, platform: str, boot_mode: BootMode | None = None) -> list[Finding]:
    """Look into a system disk (read-only; its machine off, or captured) for what ``platform`` will not like.

    Linux on ext file systems is looked into; what cannot be is a finding too.
    """
    systems = [ExtFiles(disk, partition) for partition in ext_partitions(disk, partitions(disk))]
    found: list[Finding] = []
    try:
        for files in systems:
            found += [*_fstab(files), *_boot_loader(files, boot_mode), *_networks(files), *_drivers(files, platform)]
        if not any(files.text("/etc/fstab") or files.names("/etc") for files in systems):
            found.append(_blind())
    finally:
        for files in systems:
            files.close()
    return list(dict.fromkeys(found))


def _blind() -> Finding:
    return Finding(
        "No Linux root file system that can be looked into was found on the disk (only ext file systems can).",
        "Check by a drill that it boots on the other platform.",
    )


def _fstab(files: ExtFiles) -> Iterator[Finding]:
    for line in files.text("/etc/fstab").splitlines():
        device = line.split("#")[0].split()[:2]
        if device and _BY_NAME.fullmatch(device[0]):
            yield Finding(
                f"/etc/fstab mounts {device[-1]} from {device[0]}, a name that differs on the other platform.",
                f"Use UUID=… there instead: blkid {device[0]} tells it.",
            )


def _boot_loader(files: ExtFiles, boot_mode: BootMode | None) -> Iterator[Finding]:
    configs = [text for path in _GRUB_CONFIGS if (text := files.text(path))]
    for text in configs:
        roots = {match for match in re.findall(r"\broot=(\S+)", text) if _BY_NAME.fullmatch(match)}
        for root in sorted(roots):
            yield Finding(
                f"The kernel's command line names its root by {root}, which differs on the other platform.",
                "Let GRUB name it by UUID: remove GRUB_DISABLE_LINUX_UUID from /etc/default/grub, run update-grub.",
            )
    if boot_mode is not BootMode.PV or not (configs or files.names("/boot")):
        return
    if not any("menuentry" in text for text in configs):
        yield Finding(
            "A paravirtual boot needs a GRUB menu with a menuentry, and there is none.",
            "Run update-grub in the guest, or boot it as HVM.",
        )
    if files.read_only_compatible & _METADATA_CSUM or files.incompatible & _64BIT:
        yield Finding(
            "The boot file system has ext4 features (metadata_csum, 64bit) that pygrub of Xen 4.17 may not read.",
            "Boot it as HVM, or keep /boot on a file system of its own without them.",
        )


def _networks(files: ExtFiles) -> Iterator[Finding]:
    """Names by slot change with the virtual hardware; eth0 stays only where the kernel is told so."""
    texts = {path: files.text(path) for path in _network_files(files)}
    grub = " ".join(files.text(path) for path in _GRUB_CONFIGS)
    for path, text in texts.items():
        names = sorted(set(_SLOT_NAMED.findall(_uncommented(text))))
        if names and "match:" not in text and "MACAddress" not in text:
            yield Finding(
                f"{path} names network cards by their slot ({', '.join(names)}); the other platform has other slots.",
                "Match the card by its MAC address, which carries over, or boot with net.ifnames=0 and use eth0.",
            )
        uses_eth = re.search(r"\beth\d+\b", _uncommented(text))
        if uses_eth and "net.ifnames=0" not in grub and not files.names("/etc/udev/rules.d"):
            yield Finding(
                f"{path} uses {uses_eth.group()}, and nothing keeps that name on the other platform.",
                "Boot with net.ifnames=0, or match the card by its MAC address.",
            )


def _uncommented(text: str) -> str:
    return "\n".join(line.split("#")[0] for line in text.splitlines())


def _network_files(files: ExtFiles) -> Iterator[str]:
    yield "/etc/network/interfaces"
    for folder in ("/etc/network/interfaces.d", "/etc/netplan", "/etc/systemd/network"):
        yield from (f"{folder}/{name}" for name in files.names(folder) if not name.startswith("."))


def _drivers(files: ExtFiles, platform: str) -> Iterator[Finding]:
    if platform not in DRIVERS:
        return
    module, option = DRIVERS[platform]
    folder = "/boot" if files.names("/boot") else ""
    for name in files.names(folder or "/"):
        if not name.startswith(("initrd", "initramfs")) or name.endswith(".old"):
            continue
        inside = modules_in(files.read(f"{folder}/{name}") or b"")
        version = re.sub(r"^(initrd\.img-|initramfs-)|\.img$", "", name)
        is_built_in = f"{option}=y" in files.text(f"{folder}/config-{version}")
        # Some initramfs put a number before the name, to load modules in order.
        is_inside = any(name.endswith(module) for name in inside)
        if inside and not is_inside and not is_built_in:
            yield Finding(
                f"{folder}/{name} has no driver {module}: there, the kernel would not find its disk.",
                "In Debian set MODULES=most in /etc/initramfs-tools/initramfs.conf and run update-initramfs -u -k all;"
                " with dracut, run dracut --force --no-hostonly --regenerate-all.",
            )


class _Names:
    """Kernel module names seen in a stream of bytes."""

    _MODULE = re.compile(rb"([a-z0-9_-]{3,40})\.ko")

    def __init__(self) -> None:
        self.found: set[str] = set()
        self._tail = b""

    def feed(self, piece: bytes) -> None:
        window = self._tail + piece
        self.found.update(match.decode().replace("-", "_") for match in self._MODULE.findall(window))
        self._tail = window[-64:]


def modules_in(image: bytes) -> set[str]:
    """The kernel modules in an initramfs, with underscores: uncompressed archives first, then a compressed one."""
    names = _Names()
    names.feed(image)
    for magic, unpack in ((b"\x28\xb5\x2f\xfd", _zstd), (b"\x1f\x8b\x08", _gzip), (b"\xfd7zXZ\x00", _xz)):
        start = image.find(magic)
        while start >= 0:
            if unpack(image, start, names):
                return names.found
            start = image.find(magic, start + 1)
    return names.found


def _zstd(image: bytes, start: int, names: _Names) -> bool:
    return _feed_all(zstandard.ZstdDecompressor().decompressobj().decompress, image, start, names)


def _gzip(image: bytes, start: int, names: _Names) -> bool:
    return _feed_all(zlib.decompressobj(31).decompress, image, start, names)


def _xz(image: bytes, start: int, names: _Names) -> bool:
    return _feed_all(lzma.LZMADecompressor().decompress, image, start, names)


def _feed_all(decompress: Decompress, image: bytes, start: int, names: _Names) -> bool:
    """Unpack to the end or to the bound; False where it is no archive after all."""
    total = 0
    for offset in range(start, len(image), 1 << 16):
        try:
            piece = decompress(image[offset : offset + (1 << 16)])
        except (zlib.error, lzma.LZMAError, EOFError, zstandard.ZstdError):
            return total > 0
        total += len(piece)
        names.feed(piece)
        if total > LARGEST_INITRAMFS_BYTES:
            break
    return total > 0
