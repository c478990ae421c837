"""Will a machine come up on its other site? What is asked of its disks, and what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from twinhull.model.lacks import Consequence
from twinhull.model.steps import JsonValue

LARGEST_TEXT = 1000
"""Characters of a finding or a remedy."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that stands in the way, or may, and what to do in the guest about it before an outage.

    ``consequence`` says what follows if nothing is done; None if that is not known.
    """

    finding: str
    remedy: str
    consequence: Consequence | None = None


@dataclass(frozen=True, slots=True)
class SeenDisk:
    """A disk by the names that a Linux guest has for it: ``here`` now (``vda``), and ``there`` on the other site.

    ``keeps_id`` says whether its name below /dev/disk/by-id is the same on both. ``driver`` is the kernel module that
    it needs there, ``driver_option`` the kernel option that builds it in; both are empty if that is not known.
    """

    key: str
    here: str
    there: str
    keeps_id: bool = False
    driver: str = ""
    driver_option: str = ""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The machine's hardware on both sites, as far as its files may name it. Disks are in boot order.

    ``keeps_card_slots`` and ``keeps_disk_slots`` say whether they are plugged in at the same places on both, and so
    keep the names that are made of these; None if it is not known. ``is_paravirtual`` says whether the other site boots
    it by reading its GRUB menu (pygrub).
    """

    disks: tuple[SeenDisk, ...]
    is_same_platform: bool
    keeps_card_slots: bool | None = None
    keeps_disk_slots: bool | None = None
    is_paravirtual: bool = False


def surroundings_to_json(surroundings: Surroundings) -> JsonValue:
    """The question as JSON."""
    shape: dict[str, JsonValue] = asdict(surroundings)
    return {**shape, "disks": [asdict(disk) for disk in surroundings.disks]}


def finding_to_json(finding: Finding) -> dict[str, JsonValue]:
    """A finding as JSON: what the child sends, and what ``machine show --json`` prints."""
    consequence = finding.consequence.value if finding.consequence else None
    return {"finding": finding.finding, "remedy": finding.remedy, "consequence": consequence}


def finding_from_json(raw: object) -> Finding:
    """What the child sent, checked: printable text of bounded length. Raises ValueError."""
    if not isinstance(raw, Mapping) or set(raw) != {"finding", "remedy", "consequence"}:
        raise ValueError("not a finding")
    consequence = None if raw["consequence"] is None else Consequence(raw["consequence"])
    return Finding(_text(raw["finding"]), _text(raw["remedy"]), consequence)


def _text(raw: object) -> str:
    if not isinstance(raw, str) or not 0 < len(raw) <= LARGEST_TEXT or not raw.isprintable():
        raise ValueError("not a text of a finding")
    return raw
