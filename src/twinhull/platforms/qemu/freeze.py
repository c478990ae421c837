"""Freezing a guest's file systems for an instant, and thawing them on every way out.

Source: QEMU Guest Agent Protocol Reference (``guest-fsfreeze-freeze``, ``-status``, ``-thaw``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import libvirt
import libvirt_qemu

from twinhull.model.errors import SiteError
from twinhull.model.machine import Consistency, PowerState
from twinhull.platforms.libvirt.definition.domains import Definition
from twinhull.platforms.qemu.keeper import Keeper

FREEZE_SECONDS = 8
"""How long a guest may take to freeze; Windows itself ends a freeze after ten."""

THAW_COMMAND_SECONDS = 8
PING_SECONDS = 2


@dataclass(slots=True)
class Frozen:
    """What the freeze reached. Ask for ``consistency`` after the thaw: only then is it known that the freeze held."""

    consistency: Consistency = Consistency.CRASH
    reasons: list[str] = field(default_factory=list)
    is_frozen: bool = False


def _agent(domain: libvirt.virDomain, command: str, seconds: int) -> int:
    """Run one agent command with its own time limit and return its number; raises libvirtError."""
    answer = libvirt_qemu.qemuAgentCommand(domain, json.dumps({"execute": command}), seconds, 0)
    result = json.loads(answer).get("return")
    return result if isinstance(result, int) else 0


def thaw(domain: libvirt.virDomain) -> int:
    """Thaw a guest's file systems and return how many; raises libvirtError, also where the agent does not answer.

    libvirt's own thaw waits for its agent without an end.
    """
    return _agent(domain, "guest-fsfreeze-thaw", THAW_COMMAND_SECONDS)


@contextmanager
def frozen(domain: libvirt.virDomain, definition: Definition, power: PowerState, keeper: Keeper) -> Iterator[Frozen]:
    """Freeze for the length of the context. What does not work is a reason, never an error; the thaw is made sure."""
    state = Frozen()
    why_not = _why_not(definition, power, keeper)
    if why_not:
        state.reasons.append(f"{why_not}: the capture is crash-consistent.")
        yield state
        return
    _freeze(domain, keeper, state)
    try:
        yield state
    finally:
        _thaw(domain, keeper, state)


def _why_not(definition: Definition, power: PowerState, keeper: Keeper) -> str:
    if not definition.has_agent:
        return "The machine has no guest agent channel"
    if power is not PowerState.RUNNING:
        return "The machine is paused, so that its agent cannot answer"
    if not keeper.can_thaw:
        return "The site's host has no virsh, so that the thaw could not be made sure and the guest was not frozen"
    return ""


def _freeze(domain: libvirt.virDomain, keeper: Keeper, state: Frozen) -> None:
    try:
        _agent(domain, "guest-ping", PING_SECONDS)
    except libvirt.libvirtError as error:
        state.reasons.append(f"The guest agent does not answer ({error}): the capture is crash-consistent.")
        return
    keeper.arm(domain.ID())
    state.is_frozen = True
    try:
        count = _agent(domain, "guest-fsfreeze-freeze", FREEZE_SECONDS)
    except libvirt.libvirtError as error:
        # It may have frozen all the same, or may yet: the thaw follows in any case.
        state.reasons.append(f"The guest could not be frozen ({error}): the capture is crash-consistent.")
        return
    if count > 0:
        state.consistency = Consistency.FILESYSTEM
    else:
        state.reasons.append("The guest agent froze no file system: the capture is crash-consistent.")


def _thaw(domain: libvirt.virDomain, keeper: Keeper, state: Frozen) -> None:
    if not state.is_frozen:
        return
    try:
        count = thaw(domain)
    except libvirt.libvirtError as error:
        state.consistency = Consistency.CRASH
        state.reasons.append(f"The thaw was not confirmed ({error}); the keeper on the host goes on thawing.")
        return
    if state.consistency is Consistency.FILESYSTEM and count <= 0:
        state.consistency = Consistency.CRASH
        state.reasons.append("The freeze had ended before the capture was begun: the capture is crash-consistent.")
    try:
        keeper.disarm()
    except SiteError as error:
        state.reasons.append(f"{error.message} The guest is thawed.")
