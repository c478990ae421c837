"""Options of a Xen host."""

from __future__ import annotations

from dataclasses import dataclass

from twinhull.model.machine import BootMode
from twinhull.platforms.contract import option
from twinhull.platforms.libvirt.options import LibvirtOptions


def _boot_mode(word: str) -> BootMode:
    if word not in (BootMode.HVM.value, BootMode.PV.value):
        raise ValueError("hvm or pv is expected")
    return BootMode(word)


@dataclass(frozen=True, slots=True)
class XenOptions(LibvirtOptions):
    """With how machines boot that no plan says it of."""

    boot_mode: BootMode = option(BootMode.HVM, _boot_mode, "hvm or pv, for new machines")
