"""What can be seen of a running machine: the end of its serial log, a picture of its console."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from twinhull.hosts.host import check
from twinhull.model.errors import NotSupportedHere, SiteError
from twinhull.model.machine import MachineId
from twinhull.platforms.libvirt.connection import told
from twinhull.platforms.libvirt.finding import definition_of, find
from twinhull.platforms.libvirt.place import Place

if TYPE_CHECKING:
    import libvirt

LARGEST_SCREENSHOT_BYTES = 64 * 2**20


class QemuSerialLog:
    """Serial consoles that libvirt writes to files."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def read(self, machine_id: MachineId, last_bytes: int) -> str:
        """The end of what the guest wrote to its serial console; raises NotSupportedHere."""
        path = definition_of(self._place, find(self._place, machine_id)).serial_path
        if not path:
            raise NotSupportedHere(
                f"Machine {machine_id} writes no serial log on site '{self._place.site}'.",
                hint="Give it <serial type='file'> or a <log file='…'/> in its serial device.",
            )
        return check(self._place.host, ["tail", "-c", str(last_bytes), "--", path]).decode(errors="replace")


class QemuScreen:
    """Machines' consoles."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def screenshot(self, machine_id: MachineId) -> bytes:
        """The console as PNG; raises NotSupportedHere."""
        place, domain = self._place, find(self._place, machine_id)
        if not definition_of(place, domain).has_screen:
            raise NotSupportedHere(f"Machine {machine_id} has no screen on site '{place.site}'.")
        connection = place.connection.get()
        with told(place.site, f"taking a screenshot of machine {machine_id}"):
            stream = connection.newStream(0)
            kind = domain.screenshot(stream, 0, 0)
            picture = b"".join(_received(stream))
            stream.finish()
        if kind != "image/png":
            raise NotSupportedHere(f"Site '{place.site}' gives screenshots as {kind} only: its QEMU is older than 7.1.")
        return picture


def _received(stream: libvirt.virStream) -> Iterator[bytes]:
    total = 0
    while piece := stream.recv(256 * 1024):
        total += len(piece)
        if total > LARGEST_SCREENSHOT_BYTES:
            raise SiteError("A screenshot was larger than any screen; it was given up.")
        yield piece
