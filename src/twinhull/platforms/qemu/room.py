"""The room that a running machine's capture needs, and a machine that stands still because there is none left.

What the guest overwrites while it is captured is copied to the scratch directory first. Where that is full, its write
fails, and QEMU stops the machine as if its own disk were full: it stands still until somebody lets it go on. So do
other machines whose images lie beside that directory. So the room is watched, and a capture is called off before it is
used up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager

import libvirt

from twinhull.hosts.host import check
from twinhull.model.errors import SiteFull, TwinhullError
from twinhull.model.machine import MachineSpec
from twinhull.model.names import canonical_machine_id
from twinhull.model.units import GIB, format_bytes
from twinhull.platforms.libvirt.connection import told
from twinhull.platforms.libvirt.finding import find_again
from twinhull.platforms.libvirt.place import Place

LEAST_BYTES = GIB
"""The room without which no capture begins, where the machine's disks are not smaller: what is overwritten while they
are read is not known before. A capture is called off when half of it is left."""

WATCH_SECONDS = 2.0
"""How often it is looked whether a machine stands still; for so long, and no longer, its capture may hold it up."""

_HELD_UP = (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_IOERROR)
_HINT = "Free space there, or give the site another directory."


def require_room(place: Place, scratch: str, spec: MachineSpec) -> None:
    """Refuse to begin where there is next to no room; raises SiteFull."""
    wanted, free = _wanted_bytes(spec), _free_bytes(place, scratch)
    if free < wanted:
        raise SiteFull(
            f"{scratch} on {place.host.name} has {format_bytes(free)} free; to capture machine '{spec.name}' while it"
            f" runs, {format_bytes(wanted)} are wanted for what it overwrites meanwhile. Nothing was begun.",
            hint=_HINT,
        )


def is_running_out(place: Place, scratch: str, spec: MachineSpec) -> bool:
    """Whether so little room is left that a capture must end, before a machine stands still for it."""
    return _free_bytes(place, scratch) < _wanted_bytes(spec) // 2


def _wanted_bytes(spec: MachineSpec) -> int:
    return min(sum(disk.size_bytes for disk in spec.disks), LEAST_BYTES)


def _free_bytes(place: Place, scratch: str) -> int:
    return int(check(place.host, ["df", "--output=avail", "-B1", "--", scratch]).split()[-1])


def is_held_up(place: Place, domain: libvirt.virDomain) -> bool:
    """Whether a machine stands still because a write of it failed."""
    with told(place.site, "asking for a machine's state"):
        return tuple(domain.state()[:2]) == _HELD_UP


def held_up(place: Place) -> set[str]:
    """The UUIDs of all machines that stand still because a write of theirs failed."""
    with told(place.site, "looking for machines that stand still"):
        paused = place.connection.get().listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_PAUSED)
        return {domain.UUIDString() for domain in paused if tuple(domain.state()[:2]) == _HELD_UP}


def let_go_on(place: Place, domain: libvirt.virDomain) -> bool:
    """Let a machine go on that stands still because a write failed; its write is tried again. True if it was so."""
    if not is_held_up(place, domain):
        return False
    with told(place.site, f"letting machine '{domain.name()}' go on"):
        domain.resume()
    return True


def let_all_go_on(place: Place, before: Collection[str]) -> list[str]:
    """Let all machines go on that stand still by now and did not ``before``; returns their names."""
    names = []
    for uuid in held_up(place) - set(before):
        domain = find_again(place, canonical_machine_id(uuid))
        if domain is not None and let_go_on(place, domain):
            names.append(str(domain.name()))
    return sorted(names)


def called_off(place: Place, name: str, scratch: str, held: Sequence[str]) -> SiteFull:
    """The error of a capture that ended for want of room; ``held`` are the machines that stood still for it."""
    stood = f"{', '.join(held)} stood still because a write failed, and by now" if held else "Every machine"
    return SiteFull(
        f"The capture of machine '{name}' on site '{place.site}' was called off: the room in {scratch} on"
        f" {place.host.name} is nearly used up. {stood} {'go on' if held else 'goes on'}. Nothing was published.",
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
