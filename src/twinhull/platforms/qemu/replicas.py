"""The powered-off twin: making it, following its machine, opening its disks, removing it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import libvirt

from twinhull.blocks.nbd import NbdAddress, NbdDisk
from twinhull.blocks.servers import Image, serving
from twinhull.model.errors import AlreadyExists, NotFound, NotSupportedHere, StillRunning, TwinhullError
from twinhull.model.machine import BootMode, DiskKey, DiskSpec, MachineId, MachineSpec
from twinhull.platforms.contract import ReplicaChanges, ReplicaRequest
from twinhull.platforms.hosts import check
from twinhull.platforms.libvirt_connection import qemu_identity, told
from twinhull.platforms.qemu.definition import Written, followed_definition, new_definition
from twinhull.platforms.qemu.domains import Definition, read_definition
from twinhull.platforms.qemu.inventory import Machines
from twinhull.platforms.qemu.leftovers import Scratch
from twinhull.platforms.qemu.place import Place

_CREATE = """
set -e
mkdir -p -m 0711 -- "$(dirname -- "$1")"
qemu-img create -q -f qcow2 -- "$1.new" "$2"
chown "$3" "$1.new"
sync "$1.new"
mv -- "$1.new" "$1"
sync "$(dirname -- "$1")"
"""
_UNDEFINE = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
)


class QemuReplicas:
    """Replicas on one site. ``domain_type`` tells what a new machine runs on: ``kvm`` or ``qemu`` (emulated)."""

    def __init__(self, place: Place, machines: Machines, domain_type: Callable[[], tuple[str, str]]) -> None:
        self._place = place
        self._machines = machines
        self._domain_type = domain_type
        self._scratch = Scratch(place.host, place.directory)

    def prepare(self, request: ReplicaRequest) -> ReplicaChanges:
        """Create the replica, or make it follow the spec; raises StillRunning, SiteFull, NotSupportedHere."""
        if request.boot_mode not in (None, BootMode.HVM):
            raise NotSupportedHere(f"A QEMU site boots machines as hvm only, not as {request.boot_mode}.")
        try:
            domain = self._machines.domain(request.spec.machine_id)
        except NotFound:
            return self._create(request)
        return self._follow(domain, request)

    def _create(self, request: ReplicaRequest) -> ReplicaChanges:
        """Make the images, then the machine; what cannot be defined leaves no image behind."""
        spec = request.spec
        domain_type, reason = self._domain_type()
        serial_path = f"{self._directory(spec.machine_id)}/serial.log"
        try:
            paths = {disk.key: self._new_image(spec, disk) for disk in spec.disks}
            written = new_definition(spec, paths, request.networks, domain_type=domain_type, serial_path=serial_path)
            self._define(written, spec)
        except TwinhullError:
            check(self._place.host, ["rm", "-rf", "--", self._directory(spec.machine_id)])
            raise
        reasons = (*written.reasons, *([reason] if reason else []))
        return ReplicaChanges(is_new=True, new_disks=tuple(paths), reasons=reasons)

    def _define(self, written: Written, spec: MachineSpec) -> None:
        try:
            self._place.connection.get().defineXML(written.xml)
        except libvirt.libvirtError as error:
            if "already exists with uuid" in str(error):
                raise AlreadyExists(
                    f"Site '{self._place.site}' has another machine called '{spec.name}'; no replica was defined.",
                    hint="Rename one of the two.",
                ) from error
            with told(self._place.site, f"defining machine '{spec.name}'"):
                raise

    def _directory(self, machine_id: MachineId) -> str:
        return f"{self._place.directory}/replicas/{machine_id}"

    def _new_image(self, spec: MachineSpec, disk: DiskSpec) -> str:
        """An empty image at the disk's place; one that lies there (of a definition that got lost) is replaced."""
        path = f"{self._directory(spec.machine_id)}/{disk.key}.qcow2"
        identity = qemu_identity(self._place.connection.get())
        check(self._place.host, ["sh", "-c", _CREATE, "create", path, str(disk.size_bytes), identity])
        return path

    def _follow(self, domain: libvirt.virDomain, request: ReplicaRequest) -> ReplicaChanges:
        spec = request.spec
        self._check_off(domain, spec.machine_id)
        with told(self._place.site, "reading a machine's definition"):
            xml = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE)
        definition = read_definition(xml)
        sizes, warnings = self._sizes(domain, definition)
        grown = [disk for disk in spec.disks if 0 < sizes.get(disk.key, 0) < disk.size_bytes]
        new = [disk for disk in spec.disks if not 0 < sizes.get(disk.key, 0) <= disk.size_bytes]
        removed = {disk.key for disk in definition.disks} - {disk.key for disk in spec.disks}
        for disk in grown:
            self._grow(definition, disk)
        kept_files = self._forget_images(definition, removed | {disk.key for disk in new})
        paths = {disk.key: self._new_image(spec, disk) for disk in new}
        written = followed_definition(xml, spec, request.networks, new_disks=paths, removed_disks=removed)
        self._define(written, spec)
        return ReplicaChanges(
            is_new=False,
            new_disks=tuple(paths),
            grown_disks=tuple(disk.key for disk in grown),
            removed_disks=tuple(sorted(removed)),
            reasons=(*warnings, *kept_files, *written.reasons),
        )

    def _sizes(self, domain: libvirt.virDomain, definition: Definition) -> tuple[dict[DiskKey, int], list[str]]:
        """The disks' sizes; an image that is gone is left out, and made anew. Any other failure is an error."""
        reasons = []
        here = []
        for image in definition.disks:
            is_gone = image.path and not self._place.host.run(["test", "-e", image.path]).is_ok
            if is_gone:
                reasons.append(f"The image {image.path} of disk {image.key} is gone: the disk is made anew.")
            else:
                here.append(image)
        return self._machines.exact_sizes(domain, replace(definition, disks=tuple(here))), reasons

    def _grow(self, definition: Definition, disk: DiskSpec) -> None:
        image = definition.disk(disk.key)
        if image is None or not image.path:
            raise NotSupportedHere(f"Disk {disk.key} of machine '{definition.name}' is no file and cannot be grown.")
        command = ["qemu-img", "resize", "-q", "-f", image.format, "--", image.path, str(disk.size_bytes)]
        check(self._place.host, command)

    def _forget_images(self, definition: Definition, keys: set[DiskKey]) -> list[str]:
        """Remove the images of disks that go, if we made them; say which were left."""
        reasons = []
        for image in definition.disks:
            if image.key not in keys or not image.path:
                continue
            if image.path.startswith(f"{self._place.directory}/replicas/"):
                check(self._place.host, ["rm", "-f", "--", image.path])
            else:
                reasons.append(f"Disk {image.key} was taken out of the machine; its image {image.path} was left.")
        return reasons

    def remove(self, machine_id: MachineId) -> None:
        """Remove a replica that we made, its disks and its standing; safe to repeat. Raises StillRunning."""
        try:
            domain = self._machines.domain(machine_id)
        except NotFound:
            self._remove_files(machine_id)
            return
        if not self._machines.definition(domain).is_ours:
            return
        self._check_off(domain, machine_id)
        with told(self._place.site, f"removing machine {machine_id}"):
            domain.undefineFlags(_UNDEFINE)
        self._remove_files(machine_id)

    def _remove_files(self, machine_id: MachineId) -> None:
        check(self._place.host, ["rm", "-rf", "--", self._directory(machine_id)])
        self._machines.standings.remove(machine_id)

    def _check_off(self, domain: libvirt.virDomain, machine_id: MachineId) -> None:
        if not self._machines.power_of(domain).is_off:
            raise StillRunning(
                f"Machine {machine_id} runs on site '{self._place.site}'; it and its disks were left as they are.",
                hint="Switch it off first, if it is not needed there.",
            )

    @contextmanager
    def open_disk(self, machine_id: MachineId, key: DiskKey, *, is_writable: bool) -> Iterator[Callable[[], NbdDisk]]:
        """Serve a stopped machine's disk; QEMU's image lock keeps others, and the machine itself, away meanwhile."""
        domain = self._machines.domain(machine_id)
        self._check_off(domain, machine_id)
        image = self._machines.definition(domain).disk(key)
        if image is None or not image.path:
            raise NotFound(f"Machine {machine_id} has no disk '{key}' with an image on site '{self._place.site}'.")
        identity = qemu_identity(self._place.connection.get())
        label = f"{'write' if is_writable else 'read'}-{key}-{self._place.clock.monotonic()}"
        served = Image(image.path, image.format, is_writable=is_writable)
        with (
            self._scratch.opened(machine_id, label, identity) as scratch,
            serving(self._place.host.start, served, f"{scratch}/nbd") as socket,
            self._place.host.forward(socket) as local,
        ):
            yield lambda: NbdDisk(NbdAddress(local))
