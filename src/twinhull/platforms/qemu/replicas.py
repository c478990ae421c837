"""The powered-off twin: making it, following its machine, removing it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import libvirt

from twinhull.model.errors import NotFound, NotSupportedHere
from twinhull.model.lacks import Lack
from twinhull.model.machine import BootMode, MachineId
from twinhull.platforms.contract import ReplicaChanges, ReplicaRequest
from twinhull.platforms.guard.standings import StandingFiles
from twinhull.platforms.libvirt.connection import qemu_identity, told
from twinhull.platforms.libvirt.definition.domains import read_definition
from twinhull.platforms.libvirt.definition.xml import parse_xml
from twinhull.platforms.libvirt.finding import (
    definition_of,
    find,
    forget_saved_memory,
    require_off,
    stored_xml,
    with_volumes,
)
from twinhull.platforms.libvirt.images import look_into
from twinhull.platforms.libvirt.place import Place
from twinhull.platforms.libvirt.replicas import create_disks, define, follow_name, following_disks, forget, making
from twinhull.platforms.qemu.definition import followed_definition, has_board_of, new_definition
from twinhull.platforms.qemu.keeping import lacks

_UNDEFINE = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
)


class QemuReplicas:
    """Replicas on one site. ``domain_type`` tells what a new machine runs on: ``kvm`` or ``qemu`` (emulated)."""

    def __init__(self, place: Place, standings: StandingFiles, domain_type: Callable[[], tuple[str, str]]) -> None:
        self._place = place
        self._standings = standings
        self._domain_type = domain_type

    def prepare(self, request: ReplicaRequest) -> ReplicaChanges:
        """Create the replica, or make it follow the spec; raises StillRunning, SiteFull, NotSupportedHere."""
        _require_hvm(request)
        domain = self._find(request)
        return self._create(request) if domain is None else self._follow(domain, request)

    def lacks(self, request: ReplicaRequest) -> Sequence[Lack]:
        """What the replica lacks of its machine; nothing where its owner's own definition is here."""
        _require_hvm(request)
        domain = self._find(request)
        is_ours = domain is None or definition_of(self._place, domain).is_ours
        return self._lacks(request) if is_ours else ()

    def _lacks(self, request: ReplicaRequest) -> Sequence[Lack]:
        return lacks(request.spec, request.networks, self._architectures())

    def _architectures(self) -> set[str]:
        """Those for which the host has a QEMU."""
        with told(self._place.site, "asking what it can run"):
            capabilities = parse_xml(self._place.connection.get().getCapabilities())
        return {element.get("name", "") for element in capabilities.findall("./guest/arch")}

    def _find(self, request: ReplicaRequest) -> libvirt.virDomain | None:
        try:
            return find(self._place, request.spec.machine_id)
        except NotFound:
            return None

    def _create(self, request: ReplicaRequest) -> ReplicaChanges:
        spec = request.spec
        domain_type, reason = self._domain_type()
        with making(self._place, spec.machine_id):
            paths = create_disks(self._place, spec.machine_id, spec.disks, self._owner())
            define(self._place, self._anew(request, domain_type), spec.name)
        return ReplicaChanges(
            is_new=True,
            new_disks=tuple(paths),
            reasons=(reason,) if reason else (),
            lacks=tuple(self._lacks(request)),
        )

    def _anew(self, request: ReplicaRequest, domain_type: str) -> str:
        spec = request.spec
        return new_definition(
            spec,
            {disk.key: self._place.image(spec.machine_id, disk.key) for disk in spec.disks},
            request.networks,
            domain_type=domain_type,
            serial_path=f"{self._place.replica(spec.machine_id)}/serial.log",
            architectures=self._architectures(),
        )

    def _owner(self) -> str:
        return qemu_identity(self._place.connection.get())

    def _follow(self, domain: libvirt.virDomain, request: ReplicaRequest) -> ReplicaChanges:
        spec = request.spec
        require_off(self._place, domain)
        said = [*forget_saved_memory(self._place, domain), *follow_name(self._place, domain, spec.name)]
        xml = stored_xml(self._place, find(self._place, spec.machine_id))
        definition = with_volumes(self._place, read_definition(xml))
        infos = look_into(self._place.host, definition.disks)
        is_another_board = definition.is_ours and not has_board_of(definition, spec, self._architectures())
        if is_another_board:
            said.append("The replica is defined anew: its machine has another firmware, chipset or controller now.")
        with following_disks(
            self._place, definition, infos, spec, self._owner(), is_ours=definition.is_ours
        ) as changes:
            if is_another_board:
                followed = self._anew(
                    replace(request, spec=replace(spec, name=definition.name)), definition.domain_type
                )
            else:
                paths = {key: self._place.image(spec.machine_id, key) for key in changes.new_disks}
                removed = set(changes.removed_disks)
                followed = followed_definition(xml, spec, request.networks, new_disks=paths, removed_disks=removed)
            define(self._place, followed, spec.name)
        found = tuple(self._lacks(request)) if definition.is_ours else ()
        return replace(changes, reasons=(*said, *changes.reasons), lacks=found)

    def remove(self, machine_id: MachineId) -> None:
        """Remove a replica that we made, its disks and its standing; safe to repeat. Raises StillRunning."""
        try:
            domain = find(self._place, machine_id)
        except NotFound:
            forget(self._place, self._standings, machine_id)
            return
        if not definition_of(self._place, domain).is_ours:
            return
        require_off(self._place, domain)
        with told(self._place.site, f"removing machine {machine_id}"):
            domain.undefineFlags(_UNDEFINE)
        forget(self._place, self._standings, machine_id)


def _require_hvm(request: ReplicaRequest) -> None:
    if request.boot_mode not in (None, BootMode.HVM):
        raise NotSupportedHere(f"A QEMU site boots machines as hvm only, not as {request.boot_mode}.")
