"""Will a machine come up on the other platform? Findings from its description, each with what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from twinhull.inspection import Finding
from twinhull.manager.catalog.records import Plan
from twinhull.model.errors import SiteError
from twinhull.model.lacks import Consequence
from twinhull.model.machine import BootMode, Firmware, MachineSpec, MachineStatus
from twinhull.platforms.contract import Capability, ReplicaRequest, Site, Support

_CHOOSE = "Change it on the machine, or choose another target site."
_ACCEPT = "Nothing, if the guest can do without it."


def judge(
    status: MachineStatus, plan: Plan, target_capabilities: Mapping[Capability, Support], *, is_homewards: bool
) -> list[Finding]:
    """What the machine's description, its plan and the other site's capabilities say."""
    spec = status.spec
    boot_mode = BootMode(plan.boot_mode) if plan.boot_mode and not is_homewards else None
    return [
        *_firmware(spec, target_capabilities),
        *_boot_mode(boot_mode, spec, target_capabilities),
        *_networks(spec, plan, is_homewards=is_homewards),
        *_agent(status),
    ]


def lacking(site: Site, spec: MachineSpec, plan: Plan, boot_mode: BootMode | None) -> list[Finding]:
    """What a replica on the target site lacks of the machine, as it is described now."""
    try:
        lacks = site.replicas.lacks(ReplicaRequest(spec, plan.networks, boot_mode))
    except SiteError as error:
        return [Finding(error.message, error.hint or _CHOOSE, Consequence.WILL_NOT_BOOT)]
    return [
        Finding(lack.reason, _CHOOSE if lack.consequence is Consequence.WILL_NOT_BOOT else _ACCEPT, lack.consequence)
        for lack in lacks
    ]


def _firmware(spec: MachineSpec, capabilities: Mapping[Capability, Support]) -> Iterator[Finding]:
    wanted = Capability.BOOT_UEFI if spec.firmware is Firmware.UEFI else Capability.BOOT_BIOS
    support = capabilities[wanted]
    if not support.is_supported:
        yield Finding(
            f"It boots by {spec.firmware.value.upper()}, which the other site cannot: {support.reason}",
            "Choose another site, or convert the guest's boot loader.",
            Consequence.WILL_NOT_BOOT,
        )


def _boot_mode(
    boot_mode: BootMode | None, spec: MachineSpec, capabilities: Mapping[Capability, Support]
) -> Iterator[Finding]:
    if boot_mode is not BootMode.PV:
        return
    support = capabilities[Capability.BOOT_PV]
    if not support.is_supported:
        yield Finding(
            f"The plan wants a paravirtual boot, which the other site cannot: {support.reason}",
            "Leave --boot-mode out of the plan.",
            Consequence.WILL_NOT_BOOT,
        )
    if spec.firmware is Firmware.UEFI:
        yield Finding(
            "A paravirtual boot reads the boot loader's menu from the disk; UEFI's boot entries are not followed.",
            "See that the guest has a grub.cfg on its boot partition.",
        )


def _networks(spec: MachineSpec, plan: Plan, *, is_homewards: bool) -> Iterator[Finding]:
    known = set(plan.networks.values()) if is_homewards else set(plan.networks)
    for network in dict.fromkeys(nic.network for nic in spec.nics):
        if network not in known:
            pair = f"NAME={network}" if is_homewards else f"{network}=NAME"
            yield Finding(
                f"The plan does not say what the network '{network}' is called on the other site.",
                f"If it has another name there: twinhull plan network {plan.name} {pair}",
                Consequence.BOOTS_WITHOUT,
            )


def _agent(status: MachineStatus) -> Iterator[Finding]:
    if not status.has_agent:
        yield Finding(
            "It has no guest agent, so captures are crash-consistent.",
            "Install qemu-guest-agent in the guest, and give the machine an agent channel.",
        )
