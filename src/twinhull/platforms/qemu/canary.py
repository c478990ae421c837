"""The canary: does the guard at libvirt's power switch really refuse? Asked by trying it.

A libvirtd that found no hook when it started asks none, whatever lies in its directory now; so that a guard is in place
proves nothing. A tiny machine without disks, which by its standing may not start, is started paused, and must be
refused.

What a check that is killed leaves does not stay: libvirt ends the canary with the connection that started it,
and its standing has the same name at each check of a site, so that the next one takes it away.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import libvirt

from twinhull.model.errors import MachineBusy
from twinhull.model.machine import MachineId, Role, Standing
from twinhull.platforms.guard.standings import StandingFiles
from twinhull.platforms.libvirt.connection import told
from twinhull.platforms.libvirt.place import Place
from twinhull.platforms.qemu.keeper import keeping

OTHER_CHECK_SECONDS = 30.0
"""How long another check of the site may hold the canary; it takes about a second."""

_XML = """\
<domain type='qemu'><name>twinhull-canary-{short}</name><uuid>{uuid}</uuid><memory unit='MiB'>16</memory>
<os><type arch='x86_64'>hvm</type></os></domain>"""


def canary_id(place: Place) -> MachineId:
    """The canary's UUID: one for each site, whoever checks it."""
    return MachineId(str(uuid.uuid5(uuid.NAMESPACE_URL, f"twinhull-canary:{place.site}:{place.directory}")))


def is_guarded(place: Place, standings: StandingFiles) -> bool:
    """Whether a machine that may not start is refused by libvirt itself; leaves nothing behind.

    Raises:
        SiteError: the canary could not be started for another reason.
    """
    canary = canary_id(place)
    with _alone(place, canary):
        standings.write(Standing(canary, Role.REPLICA, epoch=1))
        try:
            return _is_refused(place, _XML.format(short=canary[:8], uuid=canary))
        finally:
            standings.remove(canary)


@contextmanager
def _alone(place: Place, canary: MachineId) -> Iterator[None]:
    """Wait for another check of this site that tries the same canary; raises MachineBusy when that takes too long."""
    deadline = place.clock.monotonic() + OTHER_CHECK_SECONDS
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(keeping(place, canary))
                break
            except MachineBusy:
                if place.clock.monotonic() > deadline:
                    raise
                place.clock.sleep(0.5)
        yield


def _is_refused(place: Place, xml: str) -> bool:
    flags = libvirt.VIR_DOMAIN_START_PAUSED | libvirt.VIR_DOMAIN_START_AUTODESTROY
    with told(place.site, "trying its guard"):
        try:
            domain = place.connection.get().createXML(xml, flags)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_HOOK_SCRIPT_FAILED:
                return True
            raise
        domain.destroy()
    return False
