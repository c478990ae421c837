"""Will a machine come up on the other platform? Findings from its description and its disk, each with what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from twinhull.manager.inside.boot import Readiness, inspect_disk
from twinhull.manager.records import Plan
from twinhull.model.machine import BootMode, Firmware, MachineSpec, MachineStatus
from twinhull.platforms.contract import Capability, Support
from twinhull.repository import Point, Repository


def judge(
    status: MachineStatus, plan: Plan, target_capabilities: Mapping[Capability, Support], *, is_homewards: bool
) -> list[Readiness]:
    """What the machine's description, its plan and the other site's capabilities say."""
    spec = status.spec
    boot_mode = BootMode(plan.boot_mode) if plan.boot_mode and not is_homewards else None
    return [
        *_firmware(spec, target_capabilities),
        *_boot_mode(boot_mode, spec, target_capabilities),
        *_networks(spec, plan, is_homewards=is_homewards),
        *_agent(status),
    ]


def _firmware(spec: MachineSpec, capabilities: Mapping[Capability, Support]) -> Iterator[Readiness]:
    wanted = Capability.BOOT_UEFI if spec.firmware is Firmware.UEFI else Capability.BOOT_BIOS
    support = capabilities[wanted]
    if not support.is_supported:
        yield Readiness(
            f"It boots by {spec.firmware.value.upper()}, which the other site cannot: {support.reason}",
            "Choose another site, or convert the guest's boot loader.",
        )


def _boot_mode(
    boot_mode: BootMode | None, spec: MachineSpec, capabilities: Mapping[Capability, Support]
) -> Iterator[Readiness]:
    if boot_mode is not BootMode.PV:
        return
    support = capabilities[Capability.BOOT_PV]
    if not support.is_supported:
        yield Readiness(
            f"The plan wants a paravirtual boot, which the other site cannot: {support.reason}",
            "Leave --boot-mode out of the plan.",
        )
    if spec.firmware is Firmware.UEFI:
        yield Readiness(
            "A paravirtual boot reads the boot loader's menu from the disk; UEFI's boot entries are not followed.",
            "See that the guest has a grub.cfg on its boot partition.",
        )


def _networks(spec: MachineSpec, plan: Plan, *, is_homewards: bool) -> Iterator[Readiness]:
    known = set(plan.networks.values()) if is_homewards else set(plan.networks)
    for network in dict.fromkeys(nic.network for nic in spec.nics):
        if network not in known:
            yield Readiness(
                f"The plan does not say what the network '{network}' is called on the other site.",
                f"If it has another name there, make the plan with --network {network}=NAME.",
            )


def _agent(status: MachineStatus) -> Iterator[Readiness]:
    if not status.has_agent:
        yield Readiness(
            "It has no guest agent, so captures are crash-consistent.",
            "Install qemu-guest-agent in the guest, and give the machine an agent channel.",
        )


def look_inside(repository: Repository, point: Point) -> list[Readiness]:
    """What the files on the boot disk say, as the latest point holds them; nothing on a site is touched."""
    if not point.document.disks:
        return []
    root = point.document.disks[0].root
    reader = repository.reader()

    def read(offset_bytes: int, length_bytes: int) -> bytes:
        length = max(min(length_bytes, root.size_bytes - offset_bytes), 0)
        return reader.read(root, offset_bytes, length).ljust(length_bytes, b"\0") if length else bytes(length_bytes)

    return inspect_disk(read)
