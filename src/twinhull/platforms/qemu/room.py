"""The room that a running machine's capture needs, and a machine that stands still because there is none left.

What the guest overwrites while it is captured is copied to the scratch directory first. Where that is full, its write
fails, and QEMU stops the machine as if its own disk were full: it stands still until somebody lets it go on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import libvirt

from twinhull.model.errors import SiteFull, TwinhullError
from twinhull.model.machine import MachineSpec
from twinhull.model.units import GIB, format_bytes
from twinhull.platforms.hosts import check
from twinhull.platforms.libvirt.connection import told
from twinhull.platforms.libvirt.place import Place

LEAST_BYTES = GIB
"""The room without which no capture begins, where the machine's disks are not smaller: what is overwritten while they
are read is not known before."""

WATCH_SECONDS = 2.0
"""How often it is looked whether a machine stands still; for so long, and no longer, its capture may hold it up."""

_HELD_UP = (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR)
_HINT = "Free space there, or give the site another directory."


def require_room(place: Place, scratch: str, spec: MachineSpec) -> None:
    """Refuse to begin where there is next to no room; raises SiteFull."""
    wanted = min(sum(disk.size_bytes for disk in spec.disks), LEAST_BYTES)
    free = int(check(place.host, ["df", "--output=avail", "-B1", "--", scratch]).split()[-1])
    if free < wanted:
        raise SiteFull(
            f"{scratch} on {place.host.name} has {format_bytes(free)} free; to capture machine '{spec.name}' while it"
            f" runs, {format_bytes(wanted)} are wanted for what it overwrites meanwhile. Nothing was begun.",
            hint=_HINT,
        )


def is_held_up(place: Place, domain: libvirt.virDomain) -> bool:
    """Whether a machine stands still because a write of it failed."""
    with told(place.site, "asking for a machine's state"):
        return tuple(domain.state()[:2]) == _HELD_UP


def let_go_on(place: Place, domain: libvirt.virDomain) -> bool:
    """Let a machine go on that stands still because a write failed; its write is tried again. True if it was so."""
    if not is_held_up(place, domain):
        return False
    with told(place.site, f"letting machine '{domain.name()}' go on"):
        domain.resume()
    return True


def was_held_up(place: Place, name: str, scratch: str) -> SiteFull:
    """The error of a capture for which its machine stood still."""
    return SiteFull(
        f"Machine '{name}' on site '{place.site}' stood still while it was captured, because a write of it failed: the"
        f" room in {scratch} on {place.host.name} is used up, most likely. The capture was called off, and the machine"
        " goes on.",
        hint=_HINT,
    )


@contextmanager
def watching(look: Callable[[], bool]) -> Iterator[None]:
    """Call ``look`` now and then in a thread, until it says True or the context ends."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(WATCH_SECONDS):
            try:
                if look():
                    return
            except TwinhullError:
                continue  # whoever ends the capture meets the same site, and tells

    thread = threading.Thread(target=watch, name="twinhull-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
