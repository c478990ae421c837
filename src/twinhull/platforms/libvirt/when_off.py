"""What would keep a machine from being worked on once it is switched off: asked before anything is stopped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from twinhull.model.errors import NotSupportedHere
from twinhull.model.machine import DiskSpec, MachineId
from twinhull.platforms.libvirt.connection import told
from twinhull.platforms.libvirt.definition.domains import Definition, ImageFile
from twinhull.platforms.libvirt.finding import definition_of, find
from twinhull.platforms.libvirt.images import ImageInfo, look_into
from twinhull.platforms.libvirt.place import Place

if TYPE_CHECKING:
    import libvirt


def obstacles_when_off(
    place: Place, machine_id: MachineId, disks: Sequence[DiskSpec], *, is_capturing: bool = True
) -> list[str]:
    """One sentence each, with what to do about it; ``disks`` are those that the machine shall get. Raises NotFound.

    An image that is gone cannot be captured; what is given to the machine instead is made anew (``following_disks``).
    """
    domain = find(place, machine_id)
    definition = definition_of(place, domain)
    found = [*_forgotten(place, domain), *(_unopenable(image) for image in definition.disks if not can_open(image))]
    images = [image for image in definition.disks if can_open(image)]
    for image, info in zip(images, look_into(place.host, images), strict=True):
        if info.is_gone and not is_capturing:
            continue
        wanted = next((disk for disk in disks if disk.key == image.key), None)
        found += _unusable(image, info, wanted)
    return found


def can_open(image: ImageFile) -> bool:
    """Whether a disk can be opened by its path alone while its machine is off."""
    return bool(image.path) and image.is_plain


def require_openable(site: str, definition: Definition) -> None:
    """Refuse to capture a stopped machine of which a disk would be left out, or be read as what it is not."""
    for image in definition.disks:
        if not can_open(image):
            raise NotSupportedHere(
                f"Machine '{definition.name}' on site '{site}' cannot be captured while it is off: {_unopenable(image)}"
            )


def _unopenable(image: ImageFile) -> str:
    if image.volume and not image.path:
        pool, volume = image.volume
        return f"Disk {image.key} is the volume '{volume}' of the pool '{pool}', which is no file there now: start it."
    why = "encrypted, or a part of a file" if image.path else "on a network, or no file"
    return (
        f"Disk {image.key} is {why}: it can be opened only while the machine runs."
        " Move it to an image of its own (virsh blockcopy), or take it out of the machine."
    )


def _forgotten(place: Place, domain: libvirt.virDomain) -> Iterator[str]:
    with told(place.site, "looking at a machine"):
        is_persistent, name = bool(domain.isPersistent()), domain.name()
    if not is_persistent:
        yield (
            f"The machine is transient: {place.site} forgets it when it is switched off."
            f" Define it there: virsh dumpxml {name} --security-info >m.xml && virsh define m.xml"
        )


def _unusable(image: ImageFile, info: ImageInfo, wanted: DiskSpec | None) -> Iterator[str]:
    if info.size_bytes is None:
        yield f"The image {image.path} of disk {image.key} cannot be looked at. Make it readable, or take it out."
    elif wanted and info.is_device and info.size_bytes < wanted.size_bytes:
        yield (
            f"Disk {image.key} is on the device {image.path}, which is smaller ({info.size_bytes} bytes) than the disk"
            f" that it is to hold ({wanted.size_bytes} bytes). Make the device larger there."
        )
