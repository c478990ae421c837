"""Options of a QEMU site."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from twinhull.platforms.contract import option
from twinhull.platforms.libvirt.options import LibvirtOptions


class Accelerator(StrEnum):
    """What new machines run on."""

    AS_OTHERS = ""
    """What the machines that run there already use."""
    KVM = "kvm"
    TCG = "tcg"
    """Emulation: slow, and possible everywhere."""


def _accelerator(word: str) -> Accelerator:
    known = {"": Accelerator.AS_OTHERS, "kvm": Accelerator.KVM, "tcg": Accelerator.TCG, "qemu": Accelerator.TCG}
    if word not in known:
        raise ValueError("kvm or tcg is expected")
    return known[word]


@dataclass(frozen=True, slots=True)
class QemuOptions(LibvirtOptions):
    """With what new machines run on."""

    accelerator: Accelerator = option(
        Accelerator.AS_OTHERS, _accelerator, "kvm or tcg, for new machines (default: as the others there)"
    )
