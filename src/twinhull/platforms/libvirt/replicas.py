"""The powered-off twin: defining it, making its disks follow, opening them, forgetting its files."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import libvirt

from twinhull.hosts.host import check
from twinhull.model.errors import AlreadyExists, MachineBusy, NotSupportedHere, SiteUnreachable, TwinhullError
from twinhull.model.machine import DiskKey, DiskSpec, MachineId, MachineSpec
from twinhull.platforms.contract import ReplicaChanges
from twinhull.platforms.guard.standings import StandingFiles
from twinhull.platforms.libvirt.connection import told
from twinhull.platforms.libvirt.definition.domains import Definition, ImageFile
from twinhull.platforms.libvirt.images import ImageInfo, create, exact_sizes, grow
from twinhull.platforms.libvirt.place import Place


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


def follow_name(place: Place, domain: libvirt.virDomain, name: str) -> list[str]:
    """Rename a stopped machine as it is called at home; one that cannot be renamed keeps its name, and that is said."""
    old = domain.name()
    if old == name:
        return []
    try:
        domain.rename(name)
    except libvirt.libvirtError as error:
        return [f"The machine is still called '{old}' on {place.site}: it could not be renamed to '{name}' ({error})."]
    return []


def create_disks(place: Place, machine_id: MachineId, disks: Sequence[DiskSpec], owner: str) -> dict[DiskKey, str]:
    """Empty images at the disks' places; what lies there (of a definition that got lost) is replaced."""
    paths = {disk.key: place.image(machine_id, disk.key) for disk in disks}
    create(place.host, {paths[disk.key]: disk.size_bytes for disk in disks}, owner)
    return paths


@contextmanager
def making(place: Place, machine_id: MachineId) -> Iterator[None]:
    """Make a replica; what cannot be defined leaves nothing behind.

    Where it is not known who made what lies there, it is left: the next try makes it anew.
    """
    try:
        yield
    except (MachineBusy, SiteUnreachable):
        raise
    except TwinhullError:
        remove_files(place, machine_id)
        raise


@contextmanager
def following_disks(
    place: Place, definition: Definition, infos: Sequence[ImageInfo], spec: MachineSpec, owner: str, *, is_ours: bool
) -> Iterator[ReplicaChanges]:
    """Make a stopped machine's images what the spec wants; the machine is defined anew within the context.

    An image that is gone is made anew. Images of disks that go are removed when the new definition holds, and those of
    disks that come where it was refused. ``infos`` are what was seen in the definition's disks. The reasons are whole
    before the context ends.

    Raises:
        SiteError: an image is there and cannot be looked at.
    """
    gone = [image for image, info in zip(definition.disks, infos, strict=True) if info.is_gone and image.path]
    here = replace(definition, disks=tuple(image for image in definition.disks if image not in gone))
    seen = [info for image, info in zip(definition.disks, infos, strict=True) if image not in gone]
    sizes = exact_sizes(place.host, here, seen)
    grown = [disk for disk in spec.disks if 0 < sizes.get(disk.key, 0) < disk.size_bytes]
    new = [disk for disk in spec.disks if not 0 < sizes.get(disk.key, 0) <= disk.size_bytes]
    removed = disks_that_go(definition, spec, is_ours=is_ours)
    for disk in grown:
        _grow(place, definition, disk)
    replaced = {disk.key for disk in new}
    doomed = [image for image in here.disks if image.key in removed or image.key in replaced]
    paths = create_disks(place, spec.machine_id, new, owner)
    lost = [f"The image {image.path} of disk {image.key} is gone: the disk is made anew." for image in gone]
    try:
        yield ReplicaChanges(
            is_new=False,
            new_disks=tuple(disk.key for disk in new),
            grown_disks=tuple(disk.key for disk in grown),
            removed_disks=tuple(removed),
            reasons=(*lost, *_left(place, spec.machine_id, doomed)),
        )
    except SiteUnreachable:
        raise  # what was defined is not known
    except TwinhullError:
        _remove_images(place, [path for key, path in paths.items() if definition.disk(key) is None])
        raise
    left_over = [image for image in doomed if image.key not in replaced]
    _remove_images(place, [image.path for image in left_over if _is_ours(place, spec.machine_id, image)])


def disks_that_go(definition: Definition, spec: MachineSpec, *, is_ours: bool) -> list[DiskKey]:
    """Those that the spec does not have; ``is_ours`` tells whether we made the machine.

    An owner's read-only disk stays: the points of older versions do not know it.
    """
    return [
        image.key
        for image in definition.disks
        if spec.disk(image.key) is None and (is_ours or not image.traits.is_read_only)
    ]


def _grow(place: Place, definition: Definition, disk: DiskSpec) -> None:
    image = definition.disk(disk.key)
    if image is None or not image.path:
        raise NotSupportedHere(f"Disk {disk.key} of machine '{definition.name}' is no file and cannot be grown.")
    grow(place.host, image, disk.size_bytes)


def _is_ours(place: Place, machine_id: MachineId, image: ImageFile) -> bool:
    return bool(image.path) and place.is_ours(machine_id, image.key, image.path)


def _left(place: Place, machine_id: MachineId, images: Collection[ImageFile]) -> list[str]:
    """Images of disks that go and that we did not make are left."""
    return [
        f"Disk {image.key} was taken out of the machine; its image {image.path} was left."
        for image in images
        if image.path and not _is_ours(place, machine_id, image)
    ]


def _remove_images(place: Place, paths: Sequence[str]) -> None:
    if paths:
        check(place.host, ["rm", "-f", "--", *paths])


def remove_files(place: Place, machine_id: MachineId) -> None:
    """Remove a replica's images and logs; safe to repeat."""
    check(place.host, ["rm", "-rf", "--", place.replica(machine_id)])


def forget(place: Place, standings: StandingFiles, machine_id: MachineId) -> None:
    """Remove what the host keeps of a replica that is no longer defined; safe to repeat."""
    remove_files(place, machine_id)
    standings.remove(machine_id)
