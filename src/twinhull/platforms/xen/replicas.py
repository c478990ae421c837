"""The powered-off twin on a Xen host: making it, following its machine, opening its disks, removing it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import libvirt

from twinhull.blocks.nbd import NbdAddress, NbdDisk
from twinhull.blocks.servers import Image, serving
from twinhull.model.errors import AlreadyExists, NotFound, NotSupportedHere, StillRunning
from twinhull.model.machine import BootMode, DiskKey, DiskSpec, MachineId, MachineSpec
from twinhull.platforms.contract import ReplicaChanges, ReplicaRequest
from twinhull.platforms.hosts import check
from twinhull.platforms.libvirt_connection import told
from twinhull.platforms.xen.definition import Written, followed_definition, new_definition, target_of
from twinhull.platforms.xen.leftovers import Scratch
from twinhull.platforms.xen.machines import Machines, XenMachine
from twinhull.platforms.xen.place import Place
from twinhull.platforms.xen.sidecar import Made

_CREATE = """
set -e
mkdir -p -m 0711 -- "$(dirname -- "$1")"
qemu-img create -q -f qcow2 -- "$1.new" "$2"
sync "$1.new"
mv -- "$1.new" "$1"
sync "$(dirname -- "$1")"
"""


class XenReplicas:
    """Replicas on one host. ``boot_mode`` is how a machine boots here when nobody says how."""

    def __init__(self, place: Place, machines: Machines, boot_mode: BootMode) -> None:
        self._place = place
        self._machines = machines
        self._boot_mode = boot_mode
        self._scratch = Scratch(place)

    def prepare(self, request: ReplicaRequest) -> ReplicaChanges:
        """Create the replica, or make it follow the spec; raises StillRunning, SiteFull, NotSupportedHere."""
        machine_id = request.spec.machine_id
        try:
            self._check_off(machine_id)
        except NotFound:
            return self._create(request)
        machine = self._machines.look(machine_id)
        return self._follow(machine, request) if machine.made else self._follow_foreign(machine, request)

    def _create(self, request: ReplicaRequest) -> ReplicaChanges:
        spec = replace(request.spec, boot_mode=request.boot_mode or self._boot_mode)
        # What cannot boot here is refused before anything is made.
        self._written(spec, {disk.key: "" for disk in spec.disks}, request)
        paths = {disk.key: self._new_image(spec, disk) for disk in spec.disks}
        written = self._written(spec, paths, request)
        self._machines.sidecars.write(Made(spec, paths))
        self._define(written, spec)
        return ReplicaChanges(is_new=True, new_disks=tuple(paths), reasons=tuple(written.reasons))

    def _written(self, spec: MachineSpec, paths: Mapping[DiskKey, str], request: ReplicaRequest) -> Written:
        serial_path = f"{self._directory(spec.machine_id)}/serial.log"
        return new_definition(spec, paths, request.networks, serial_path=serial_path)

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
        check(self._place.host, ["sh", "-c", _CREATE, "twinhull-create", path, str(disk.size_bytes)])
        return path

    def _follow(self, machine: XenMachine, request: ReplicaRequest) -> ReplicaChanges:
        """A machine that we made: its definition is made anew from the spec."""
        if machine.made is None:
            raise NotSupportedHere(f"Machine '{machine.definition.name}' was not made by Twinhull.")
        spec = replace(request.spec, boot_mode=request.boot_mode or machine.definition.boot_mode)
        changes = self._follow_disks(machine, request.spec)
        kept = {key: path for key, path in machine.made.paths.items() if spec.disk(key)}
        paths = kept | {key: f"{self._directory(spec.machine_id)}/{key}.qcow2" for key in changes.new_disks}
        written = self._written(spec, paths, request)
        self._machines.sidecars.write(Made(spec, paths))
        self._define(written, spec)
        return replace(changes, reasons=(*changes.reasons, *written.reasons))

    def _follow_foreign(self, machine: XenMachine, request: ReplicaRequest) -> ReplicaChanges:
        """A machine that was here before us: what the spec does not speak of stays as it is."""
        spec = request.spec
        changes = self._follow_disks(machine, spec)
        free = [target_of(index, machine.definition.boot_mode) for index in range(26)]
        free = [name for name in free if all(image.target != name for image in machine.definition.disks)]
        new_disks: dict[str, str] = {}
        for key in changes.new_disks:
            image = machine.image(key)
            target = image.target if image else (key if key in free else free.pop(0))
            new_disks[target] = f"{self._directory(spec.machine_id)}/{key}.qcow2"
        domain = self._machines.domain(spec.machine_id)
        with told(self._place.site, "reading a machine's definition"):
            xml = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE)
        written = followed_definition(xml, spec, new_disks=new_disks, removed_targets=set(changes.removed_disks))
        self._define(written, spec)
        return changes

    def _follow_disks(self, machine: XenMachine, spec: MachineSpec) -> ReplicaChanges:
        sizes = self._machines.images.sizes(machine.definition.disks)
        have = {machine.key_of(image): sizes.get(image.path, 0) for image in machine.definition.disks}
        grown = [disk for disk in spec.disks if 0 < have.get(disk.key, 0) < disk.size_bytes]
        new = [disk for disk in spec.disks if not 0 < have.get(disk.key, 0) <= disk.size_bytes]
        removed = [key for key in have if spec.disk(key) is None]
        for disk in grown:
            self._grow(machine, disk)
        reasons = self._forget_images(machine, {*removed, *(disk.key for disk in new)})
        for disk in new:
            self._new_image(spec, disk)
        return ReplicaChanges(
            is_new=False,
            new_disks=tuple(disk.key for disk in new),
            grown_disks=tuple(disk.key for disk in grown),
            removed_disks=tuple(removed),
            reasons=tuple(reasons),
        )

    def _grow(self, machine: XenMachine, disk: DiskSpec) -> None:
        image = machine.image(disk.key)
        if image is None:
            raise NotSupportedHere(f"Disk {disk.key} of machine '{machine.definition.name}' cannot be grown.")
        command = ["qemu-img", "resize", "-q", "-f", image.format, "--", image.path, str(disk.size_bytes)]
        check(self._place.host, command)

    def _forget_images(self, machine: XenMachine, keys: set[DiskKey]) -> list[str]:
        """Remove the images of disks that go, if we made them; say which were left."""
        reasons = []
        for image in machine.definition.disks:
            key = machine.key_of(image)
            if key not in keys:
                continue
            if image.path.startswith(f"{self._place.directory}/replicas/"):
                check(self._place.host, ["rm", "-f", "--", image.path])
            else:
                reasons.append(f"Disk {key} was taken out of the machine; its image {image.path} was left.")
        return reasons

    def remove(self, machine_id: MachineId) -> None:
        """Remove a replica that we made, its disks and its standing; safe to repeat. Raises StillRunning."""
        made = self._machines.sidecars.read(machine_id)
        try:
            domain = self._machines.domain(machine_id)
        except NotFound:
            self._remove_files(machine_id)
            return
        if made is None:
            return
        self._check_off(machine_id)
        with told(self._place.site, f"removing machine {machine_id}"):
            domain.undefine()
        self._remove_files(machine_id)

    def _remove_files(self, machine_id: MachineId) -> None:
        check(self._place.host, ["rm", "-rf", "--", self._directory(machine_id)])
        self._machines.sidecars.remove(machine_id)
        self._machines.standings.remove(machine_id)

    def _check_off(self, machine_id: MachineId) -> None:
        if not self._machines.power(machine_id).is_off:
            raise StillRunning(
                f"Machine {machine_id} runs on site '{self._place.site}'; it and its disks were left as they are.",
                hint="Switch it off first, if it is not needed there.",
            )

    @contextmanager
    def open_disk(self, machine_id: MachineId, key: DiskKey, *, is_writable: bool) -> Iterator[Callable[[], NbdDisk]]:
        """Serve a stopped machine's disk; while it is open, the guard does not let the machine start."""
        with self._place.holding(self._place.disks_lock(machine_id), is_shared=True):
            self._check_off(machine_id)
            image = self._machines.look(machine_id).image(key)
            if image is None or not image.path:
                raise NotFound(f"Machine {machine_id} has no disk '{key}' with an image on site '{self._place.site}'.")
            label = f"{'write' if is_writable else 'read'}-{key}-{self._place.clock.monotonic()}"
            served = Image(image.path, image.format, is_writable=is_writable)
            with (
                self._scratch.opened(machine_id, label) as scratch,
                serving(self._place.host.start, served, f"{scratch}/nbd") as socket,
                self._place.host.forward(socket) as local,
            ):
                yield lambda: NbdDisk(NbdAddress(local))
