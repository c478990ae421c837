"""The powered-off twin: defining it, making its disks follow, opening them, forgetting its files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import libvirt

from twinhull.blocks.nbd import NbdAddress, NbdDisk
from twinhull.blocks.servers import Image, serving
from twinhull.model.errors import AlreadyExists, NotFound, NotSupportedHere
from twinhull.model.machine import DiskKey, DiskSpec, MachineId, MachineSpec
from twinhull.platforms.contract import ReplicaChanges
from twinhull.platforms.hosts import check
from twinhull.platforms.libvirt.connection import told
from twinhull.platforms.libvirt.domains import Definition, ImageFile
from twinhull.platforms.libvirt.finding import definition_of, find, require_off
from twinhull.platforms.libvirt.holding import holding
from twinhull.platforms.libvirt.images import ImageInfo, create, exact_sizes, grow
from twinhull.platforms.libvirt.place import Place
from twinhull.platforms.standings import StandingFiles


def define(place: Place, xml: str, name: str) -> None:
    """Define a machine, or define it anew; raises AlreadyExists where another one has its name."""
    with told(place.site, f"defining machine '{name}'"):
        try:
            place.connection.get().defineXML(xml)
        except libvirt.libvirtError as error:
            if "already exists with uuid" not in str(error):
                raise
            raise AlreadyExists(
                f"Site '{place.site}' has another machine called '{name}'; no replica was defined.",
                hint="Rename one of the two.",
            ) from error


def create_disks(place: Place, machine_id: MachineId, disks: Sequence[DiskSpec], owner: str) -> dict[DiskKey, str]:
    """Empty images at the disks' places; what lies there (of a definition that got lost) is replaced."""
    paths = {disk.key: place.image(machine_id, disk.key) for disk in disks}
    create(place.host, {paths[disk.key]: disk.size_bytes for disk in disks}, owner)
    return paths


def follow_disks(
    place: Place, definition: Definition, infos: Sequence[ImageInfo], spec: MachineSpec, owner: str
) -> ReplicaChanges:
    """Make a stopped machine's images what the spec wants; an image that is gone is made anew.

    ``infos`` are what was seen in the definition's disks.

    Raises:
        SiteError: an image is there and cannot be looked at.
    """
    gone = [image for image, info in zip(definition.disks, infos, strict=True) if info.is_gone and image.path]
    here = replace(definition, disks=tuple(image for image in definition.disks if image not in gone))
    seen = [info for image, info in zip(definition.disks, infos, strict=True) if image not in gone]
    sizes = exact_sizes(place.host, here, seen)
    grown = [disk for disk in spec.disks if 0 < sizes.get(disk.key, 0) < disk.size_bytes]
    new = [disk for disk in spec.disks if not 0 < sizes.get(disk.key, 0) <= disk.size_bytes]
    removed = [image.key for image in definition.disks if spec.disk(image.key) is None]
    for disk in grown:
        _grow(place, definition, disk)
    doomed = {*removed, *(disk.key for disk in new)}
    left = _forget_images(place, spec.machine_id, [image for image in here.disks if image.key in doomed])
    create_disks(place, spec.machine_id, new, owner)
    lost = [f"The image {image.path} of disk {image.key} is gone: the disk is made anew." for image in gone]
    return ReplicaChanges(
        is_new=False,
        new_disks=tuple(disk.key for disk in new),
        grown_disks=tuple(disk.key for disk in grown),
        removed_disks=tuple(removed),
        reasons=(*lost, *left),
    )


def _grow(place: Place, definition: Definition, disk: DiskSpec) -> None:
    image = definition.disk(disk.key)
    if image is None or not image.path:
        raise NotSupportedHere(f"Disk {disk.key} of machine '{definition.name}' is no file and cannot be grown.")
    grow(place.host, image, disk.size_bytes)


def _forget_images(place: Place, machine_id: MachineId, images: Collection[ImageFile]) -> list[str]:
    """Remove the images of disks that go, if we made them; say which were left."""
    ours = [image.path for image in images if place.is_ours(machine_id, image.key, image.path)]
    if ours:
        check(place.host, ["rm", "-f", "--", *ours])
    return [
        f"Disk {image.key} was taken out of the machine; its image {image.path} was left."
        for image in images
        if image.path and image.path not in ours
    ]


def remove_files(place: Place, machine_id: MachineId) -> None:
    """Remove a replica's images and logs; safe to repeat."""
    check(place.host, ["rm", "-rf", "--", place.replica(machine_id)])


def forget(place: Place, standings: StandingFiles, machine_id: MachineId) -> None:
    """Remove what the host keeps of a replica that is no longer defined; safe to repeat."""
    remove_files(place, machine_id)
    standings.remove(machine_id)


@contextmanager
def open_disk(
    place: Place,
    machine_id: MachineId,
    key: DiskKey,
    *,
    is_writable: bool,
    locks: Sequence[tuple[str, str]] = (),
    owner: str = "",
) -> Iterator[Callable[[], NbdDisk]]:
    """Serve a stopped machine's disk; ``locks`` are held meanwhile, ``owner`` owns the server's directory.

    Raises:
        StillRunning: it runs.
        NotFound: there is no such disk.
    """
    domain = find(place, machine_id)
    image = definition_of(place, domain).disk(key)
    if image is None or not image.path:
        raise NotFound(f"Machine {machine_id} has no disk '{key}' with an image on site '{place.site}'.")
    label = f"{'write' if is_writable else 'read'}-{key}-{place.clock.monotonic()}"
    served = Image(image.path, image.format, is_writable=is_writable)
    with holding(place, machine_id, label, locks, owner) as scratch:
        require_off(place, domain)
        with (
            serving(place.host.start, served, f"{scratch}/nbd") as socket,
            place.host.forward(socket) as local,
        ):
            yield lambda: NbdDisk(NbdAddress(local))
