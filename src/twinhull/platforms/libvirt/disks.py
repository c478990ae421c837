"""Opening the disks of a stopped machine, and keeping others away meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from twinhull.blocks.nbd import NbdAddress, NbdDisk
from twinhull.blocks.servers import Image, serving
from twinhull.model.errors import NotFound
from twinhull.model.machine import DiskKey, MachineId
from twinhull.platforms.libvirt.finding import definition_of, find, require_off
from twinhull.platforms.libvirt.holding import holding
from twinhull.platforms.libvirt.place import Place
from twinhull.platforms.libvirt.when_off import can_open

Locks = Sequence[tuple[str, str]]
"""Lock files on the host, each with flock's option for the kind of lock."""


class LibvirtDisks:
    """Disks of one site's stopped machines. ``locks`` are held, besides QEMU's own image locks, while one is open."""

    def __init__(self, place: Place, locks: Callable[[MachineId], Locks] = lambda _: ()) -> None:
        self._place = place
        self._locks = locks

    def writing(self, machine_id: MachineId, key: DiskKey) -> AbstractContextManager[Callable[[], NbdDisk]]:
        """Open a stopped machine's disk for reading and writing; raises StillRunning, NotFound."""
        return self._open(machine_id, key, is_writable=True)

    def reading(self, machine_id: MachineId, key: DiskKey) -> AbstractContextManager[Callable[[], NbdDisk]]:
        """Open a stopped machine's disk for reading; raises StillRunning, NotFound."""
        return self._open(machine_id, key, is_writable=False)

    @contextmanager
    def _open(self, machine_id: MachineId, key: DiskKey, *, is_writable: bool) -> Iterator[Callable[[], NbdDisk]]:
        place, domain = self._place, find(self._place, machine_id)
        image = definition_of(place, domain).disk(key)
        if image is None or not can_open(image):
            raise NotFound(f"Machine {machine_id} has no disk '{key}' with an image on site '{place.site}'.")
        label = f"{'write' if is_writable else 'read'}-{key}-{place.clock.monotonic()}"
        served = Image(image.path, image.format, is_writable=is_writable)
        with holding(place, machine_id, label, self._locks(machine_id)) as scratch:
            require_off(place, domain)
            with (
                serving(place.host.start, served, f"{scratch}/nbd") as socket,
                place.host.forward(socket) as local,
            ):
                yield lambda: NbdDisk(NbdAddress(local))
