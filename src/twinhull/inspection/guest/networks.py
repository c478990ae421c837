"""Which of a guest's network configurations name a card in a way that does not hold on its other site.

Sources: interfaces(5), netplan's reference, systemd.network(5), systemd.net-naming-scheme(7), nm-settings-keyfile(5),
nm-settings-ifcfg-rh(5).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from twinhull.inspection.guest.devices import shown
from twinhull.inspection.guest.ext import ExtFiles
from twinhull.inspection.guest.mounts import LARGEST_COUNT
from twinhull.inspection.readiness import Finding, Surroundings
from twinhull.model.lacks import Consequence

_FOLDERS = (
    "/etc/network/interfaces.d",
    "/etc/netplan",
    "/etc/systemd/network",
    "/etc/NetworkManager/system-connections",
    "/etc/sysconfig/network-scripts",
    "/etc/sysconfig/network",
)
_SLOT_NAME = re.compile(r"\ben(?:o\d{1,5}|s\d{1,5}\w{0,20}|p\d{1,5}s\d{1,5}\w{0,20})\b")
_PLAIN_NAME = re.compile(r"\beth\d{1,3}\b")
_BY_MAC = re.compile(r"\b(?:permanent)?(?:mac-?address|hwaddr)\b", re.IGNORECASE)
_NO_NAMES = "net.ifnames=0"


def named_cards(files: ExtFiles, surroundings: Surroundings, command_lines: Iterable[str]) -> Iterator[Finding]:
    """All that names a network card by a name that changes; ``command_lines`` say how the kernels are started."""
    keeps_plain = any(_NO_NAMES in line for line in command_lines) or bool(files.names("/etc/udev/rules.d"))
    for path in _paths(files):
        text = _uncommented(f"{path.rpartition('/')[2]}\n{files.text(path)}")
        if not _BY_MAC.search(text):
            yield from _slots(path, text, surroundings)
            if not keeps_plain and not surroundings.is_same_platform:
                yield from _plain(path, text)


def _slots(path: str, text: str, surroundings: Surroundings) -> Iterator[Finding]:
    names = sorted(set(_SLOT_NAME.findall(text)))
    if names and not surroundings.keeps_card_slots:
        may = "may have" if surroundings.keeps_card_slots is None else "has"
        yield Finding(
            f"{shown(path)} names network cards by their slot ({shown(', '.join(names))}); the other site {may} other"
            " slots.",
            "Match the card by its MAC address, which carries over, or boot with net.ifnames=0 and use eth0.",
            Consequence.BOOTS_WITHOUT,
        )


def _plain(path: str, text: str) -> Iterator[Finding]:
    if used := _PLAIN_NAME.search(text):
        yield Finding(
            f"{shown(path)} uses {used.group()}, a name that may change on the other platform.",
            "Boot with net.ifnames=0, or match the card by its MAC address.",
            Consequence.BOOTS_WITHOUT,
        )


def _uncommented(text: str) -> str:
    return "\n".join(line.split("#")[0] for line in text.splitlines())


def _paths(files: ExtFiles) -> Iterator[str]:
    yield "/etc/network/interfaces"
    for folder in _FOLDERS:
        names = [name for name in files.names(folder) if not name.startswith(".")]
        if folder.startswith("/etc/sysconfig"):
            names = [name for name in names if name.startswith("ifcfg-")]
        yield from (f"{folder}/{name}" for name in names[:LARGEST_COUNT])
