"""All that the host's files say of its machines, in one command: standings, sidecars, images.

Behind ssh each command costs as much as all that it does; and a Xen host's dom0 is often small and slow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from twinhull.hosts.host import FILES, check, parse_files
from twinhull.model.errors import DataError
from twinhull.model.machine import DiskKey, DiskSpec, MachineId, MachineSpec, Standing
from twinhull.platforms.guard.standings import parse_standings
from twinhull.platforms.libvirt.definition.domains import Definition
from twinhull.platforms.libvirt.images import INFO, ImageInfo, info_arguments, parse_infos
from twinhull.platforms.libvirt.place import Place
from twinhull.platforms.xen.sidecar import parse_sidecar

_SURVEY = (
    INFO
    + FILES
    + """
files "$1"/standings "$2".json
files "$1"/machines "$2".json
shift 2
while [ $# -gt 0 ]; do info "$1" "$2"; shift 2; done
exit 0
"""
)


@dataclass(frozen=True, slots=True)
class XenMachine:
    """A machine as it is known here. ``made`` is the description that we keep of it, where we made it.

    ``complaint`` says why that description cannot be understood; empty where it can, and where there is none.
    """

    definition: Definition
    made: MachineSpec | None
    infos: Sequence[ImageInfo]
    standing: Standing | None
    complaint: str = ""

    def sizes(self) -> dict[DiskKey, int]:
        """The sizes of its disks; what cannot be looked at is absent."""
        disks = zip(self.definition.disks, self.infos, strict=True)
        return {image.key: info.size_bytes for image, info in disks if info.size_bytes is not None}

    def describe(self, sizes: Mapping[DiskKey, int]) -> MachineSpec:
        """The neutral description, with these sizes; what Xen does not know (see ``sidecar``) is kept by ours."""
        read, made = self.definition.spec(sizes), self.made
        if made is None:
            # Xen's own buses are no hint for another platform.
            return replace(read, disks=tuple(replace(disk, bus="virtio") for disk in read.disks))
        here = {nic.mac: nic.network for nic in read.nics}
        nics = tuple(replace(nic, network=here.get(nic.mac.lower(), nic.network)) for nic in made.nics)
        return replace(
            read, firmware=made.firmware, disks=_as_made(read.disks, made.disks), nics=nics, hardware=made.hardware
        )


def survey(place: Place, definitions: Sequence[Definition], machine_id: MachineId | None = None) -> list[XenMachine]:
    """What the host's files say of these machines; ``machine_id`` where it is one only."""
    images = [image for definition in definitions for image in definition.disks]
    arguments = [place.directory, machine_id or "*", *info_arguments(images)]
    answer = check(place.host, ["sh", "-c", _SURVEY, "twinhull-survey", *arguments])
    told_standings, rest = parse_files(answer)
    told_made, told_infos = parse_files(rest)
    standings = {item.machine_id: item for item in parse_standings(told_standings, place.keys())}
    made = {PurePosixPath(path).stem: parse_sidecar(content) for path, content in told_made.items()}
    infos = iter(parse_infos(told_infos))
    return [
        XenMachine(
            definition=definition,
            made=_spec(made.get(definition.machine_id)),
            infos=[next(infos) for _ in definition.disks],
            standing=standings.get(definition.machine_id),
            complaint=_complaint(made.get(definition.machine_id)),
        )
        for definition in definitions
    ]


def _as_made(read: Sequence[DiskSpec], made: Sequence[DiskSpec]) -> tuple[DiskSpec, ...]:
    """The disks that are here, as the machine has them at home: in its order, on its buses."""
    known = {disk.key: disk for disk in made}
    order = [*known, *(disk.key for disk in read if disk.key not in known)]
    found = {disk.key: disk for disk in read}
    plain = {key: replace(disk, bus="virtio") for key, disk in found.items()}
    return tuple(replace(known.get(key, plain[key]), size_bytes=found[key].size_bytes) for key in order if key in found)


def _spec(made: MachineSpec | DataError | None) -> MachineSpec | None:
    return made if isinstance(made, MachineSpec) else None


def _complaint(made: MachineSpec | DataError | None) -> str:
    return made.message if isinstance(made, DataError) else ""
