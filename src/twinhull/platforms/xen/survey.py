"""All that the host's files say of its machines, in one command: standings, sidecars, images.

Behind ssh each command costs as much as all that it does; and a Xen host's dom0 is often small and slow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from twinhull.model.machine import DiskKey, MachineId, MachineSpec, Standing
from twinhull.platforms.hosts import check
from twinhull.platforms.libvirt.domains import Definition
from twinhull.platforms.libvirt.images import INFO, ImageInfo, info_arguments, parse_infos
from twinhull.platforms.libvirt.place import Place
from twinhull.platforms.standings import parse_standing
from twinhull.platforms.xen.sidecar import parse_sidecar

_SURVEY = (
    INFO
    + """
cat -- "$1"/standings/$2.json 2>/dev/null
printf '\\0'
cat -- "$1"/machines/$2.json 2>/dev/null
printf '\\0'
shift 2
while [ $# -gt 0 ]; do info "$1" "$2"; shift 2; done
exit 0
"""
)


@dataclass(frozen=True, slots=True)
class XenMachine:
    """A machine as it is known here. ``made`` is the description that we keep of it, where we made it."""

    definition: Definition
    made: MachineSpec | None
    infos: Sequence[ImageInfo]
    standing: Standing | None

    def sizes(self) -> dict[DiskKey, int]:
        """The sizes of its disks; what cannot be looked at is absent."""
        disks = zip(self.definition.disks, self.infos, strict=True)
        return {image.key: info.size_bytes for image, info in disks if info.size_bytes is not None}

    def describe(self, sizes: Mapping[DiskKey, int]) -> MachineSpec:
        """The neutral description, with these sizes; what Xen does not know (see ``sidecar``) is kept by ours."""
        read, made = self.definition.spec(sizes), self.made
        buses = {disk.key: disk.bus for disk in made.disks} if made else {}
        # Xen's own buses are no hint for another platform.
        disks = tuple(replace(disk, bus=buses.get(disk.key, "virtio")) for disk in read.disks)
        if made is None:
            return replace(read, disks=disks)
        here = {nic.mac: nic.network for nic in read.nics}
        nics = tuple(replace(nic, network=here.get(nic.mac.lower(), nic.network)) for nic in made.nics)
        return replace(read, firmware=made.firmware, disks=disks, nics=nics)


def survey(place: Place, definitions: Sequence[Definition], machine_id: MachineId | None = None) -> list[XenMachine]:
    """What the host's files say of these machines; ``machine_id`` where it is one only."""
    images = [image for definition in definitions for image in definition.disks]
    arguments = [place.directory, machine_id or "*", *info_arguments(images)]
    answer = check(place.host, ["sh", "-c", _SURVEY, "twinhull-survey", *arguments])
    told_standings, told_made, told_infos = answer.split(b"\0", 2)
    standings = {item.machine_id: item for item in map(parse_standing, told_standings.splitlines())}
    made = {item.machine_id: item for item in map(parse_sidecar, told_made.splitlines())}
    infos = iter(parse_infos(told_infos))
    return [
        XenMachine(
            definition=definition,
            made=made.get(definition.machine_id),
            infos=[next(infos) for _ in definition.disks],
            standing=standings.get(definition.machine_id),
        )
        for definition in definitions
    ]
