"""Which of the names that a guest has for its disks stay the same on its other site."""

from __future__ import annotations

import re

from twinhull.inspection.readiness import Surroundings

_KERNEL_NAME = re.compile(r"/dev/((?:vd|xvd|sd|hd)[a-z]{1,3})(\d{0,3})")
_NVME_NAME = re.compile(r"/dev/nvme\d{1,3}n\d{1,3}(p\d{1,3})?")
_BY_PATH = "/dev/disk/by-path/"
_BY_ID = "/dev/disk/by-id/"
_OWN_IDS = ("dm-", "md-", "lvm-pv-uuid-")
"""Names by an id that the disk's content has, not its hardware."""
_SHOWN = 100


def shown(text: str) -> str:
    """A guest's word as a finding may quote it: printable, and not too long."""
    short = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    # No codec is looked up for it: the confined child cannot load one.
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in short)


class DeviceNames:
    """Answers for one machine."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._names = {disk.here: disk.there for disk in surroundings.disks}

    def change(self, device: str) -> str:
        """What becomes of a name on the other site, as the end of a sentence about it; empty if it stays."""
        if match := _KERNEL_NAME.fullmatch(device):
            return self._kernel_change(match[1], match[2])
        if _NVME_NAME.fullmatch(device):
            return "and there are no NVMe disks there"
        if device.startswith(_BY_PATH):
            return self._path_change()
        if device.startswith(_BY_ID):
            is_own = device.removeprefix(_BY_ID).startswith(_OWN_IDS)
            keeps = is_own or all(disk.keeps_id for disk in self._surroundings.disks)
            return "" if keeps else "which names the disk by its hardware, and that differs there"
        return ""

    def _kernel_change(self, disk: str, partition: str) -> str:
        there = self._names.get(disk)
        if there:
            return "" if there == disk else f"which is /dev/{there}{partition} there"
        return "" if self._surroundings.is_same_platform else "a name that may differ there"

    def _path_change(self) -> str:
        keeps = self._surroundings.keeps_disk_slots
        if keeps:
            return ""
        return f"which names the disk by its slot, and slots {'may ' if keeps is None else ''}differ there"
