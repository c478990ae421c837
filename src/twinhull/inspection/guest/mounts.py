"""Which of a guest's files name a disk in a way that does not hold on its other site.

Sources: fstab(5), crypttab(5), systemd.mount(5), the kernel's admin-guide/kernel-parameters (``root=``, ``resume=``)
and the Boot Loader Specification (loader/entries).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from twinhull.inspection.guest.devices import DeviceNames, shown
from twinhull.inspection.guest.ext import ExtFiles
from twinhull.inspection.readiness import Finding
from twinhull.model.lacks import Consequence

LARGEST_COUNT = 64
"""Files of one kind that are read."""

_GRUB_CONFIGS = ("/boot/grub/grub.cfg", "/boot/grub2/grub.cfg", "/grub/grub.cfg", "/grub2/grub.cfg")
_ENTRIES = ("/boot/loader/entries", "/loader/entries")
_COMMAND_LINES = ("/etc/kernel/cmdline", "/boot/grub2/grubenv", "/grub2/grubenv")
_RESUME = "/etc/initramfs-tools/conf.d"
_UNITS = "/etc/systemd/system"

_PARAMETER = re.compile(r"(?<![\w.])(root|resume|RESUME)=(\S{1,300})")
_WHAT = re.compile(r"^What=(\S{1,300})$", re.MULTILINE)

_BY_UUID = "Use UUID=… there instead: blkid shows it."


def lines_of(text: str) -> Iterator[list[str]]:
    """The words of each line that is no comment."""
    for line in text.splitlines():
        words = line.split("#")[0].split()
        if words:
            yield words


def grub_configs(files: ExtFiles) -> list[str]:
    """GRUB's configurations on a volume."""
    return [text for path in _GRUB_CONFIGS if (text := files.text(path))]


def command_lines(files: ExtFiles) -> Iterator[tuple[str, str]]:
    """Paths and texts of what says how kernels are started."""
    entries = [
        f"{folder}/{name}" for folder in _ENTRIES for name in files.names(folder)[:LARGEST_COUNT] if "conf" in name
    ]
    for path in (*_GRUB_CONFIGS, *entries, *_COMMAND_LINES):
        if text := files.text(path):
            yield path, text


def fstab(files: ExtFiles, names: DeviceNames) -> Iterator[Finding]:
    """What is mounted at boot by a name that changes."""
    for device, *rest in lines_of(files.text("/etc/fstab")):
        if change := names.change(device):
            where, kind, options = (*rest, "", "", "")[:3]
            is_optional = kind == "swap" or bool({"nofail", "noauto"} & set(options.split(",")))
            what = "uses swap" if kind == "swap" else f"mounts {shown(where)}"
            yield Finding(f"/etc/fstab {what} from {shown(device)}, {change}.", _BY_UUID, _boots(without=is_optional))


def crypttab(files: ExtFiles, names: DeviceNames) -> Iterator[Finding]:
    """What is decrypted at boot by a name that changes."""
    for name, *rest in lines_of(files.text("/etc/crypttab")):
        device, _, options = (*rest, "", "", "")[:3]
        if change := names.change(device):
            is_optional = bool({"nofail", "noauto", "swap"} & set(options.split(",")))
            text = f"/etc/crypttab opens {shown(name)} from {shown(device)}, {change}."
            yield Finding(text, _BY_UUID, _boots(without=is_optional))


def units(files: ExtFiles, names: DeviceNames) -> Iterator[Finding]:
    """What systemd mounts by units by a name that changes."""
    units = [name for name in files.names(_UNITS) if name.endswith((".mount", ".swap"))]
    for name in units[:LARGEST_COUNT]:
        text = files.text(f"{_UNITS}/{name}")
        for device in _WHAT.findall(text):
            if change := names.change(device):
                is_required = name.endswith(".mount") and "RequiredBy=" in text
                path = f"{_UNITS}/{shown(name)}"
                yield Finding(
                    f"{path} mounts {shown(device)}, {change}.",
                    "Use What=/dev/disk/by-uuid/… there instead: blkid shows the UUID.",
                    _boots(without=not is_required),
                )


def parameters(files: ExtFiles, names: DeviceNames) -> Iterator[Finding]:
    """What kernels are told by a name that changes."""
    resumes = [f"{_RESUME}/{name}" for name in files.names(_RESUME)[:LARGEST_COUNT]]
    for path, text in (*command_lines(files), *((path, files.text(path)) for path in resumes)):
        for parameter, value in sorted(set(_PARAMETER.findall(text))):
            if change := names.change(value):
                yield _parameter(path, parameter.lower(), value, change)


def _parameter(path: str, parameter: str, value: str, change: str) -> Finding:
    if parameter == "root":
        return Finding(
            f"The kernel's command line in {shown(path)} names its root by {shown(value)}, {change}.",
            "Let GRUB name it by UUID: remove GRUB_DISABLE_LINUX_UUID from /etc/default/grub, run update-grub;"
            " with loader entries: grubby --update-kernel=ALL --args=root=UUID=….",
            Consequence.WILL_NOT_BOOT,
        )
    return Finding(
        f"{shown(path)} names the swap space that the machine resumes from by {shown(value)}, {change}.",
        "Use resume=UUID=… there instead: blkid shows it.",
        Consequence.BOOTS_WITHOUT,
    )


def _boots(*, without: bool) -> Consequence:
    return Consequence.BOOTS_WITHOUT if without else Consequence.WILL_NOT_BOOT
