"""Looking into a machine on its site, whether it runs or not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

from twinhull.blocks.disk import Disk
from twinhull.model.machine import BootMode, MachineId
from twinhull.platforms.contract import CaptureRequest, Site
from twinhull.platforms.inspection.findings import Finding, inspect_disk


def inspect_machine(
    site: Site, machine_id: MachineId, capture_id: str, platform: str, boot_mode: BootMode | None = None
) -> list[Finding]:
    """What keeps the machine from coming up on ``platform``, by a look into its first disk.

    A running machine is captured for it, without a freeze and without leaving a tracker; ``capture_id`` labels that.

    Raises:
        NotFound: the site has no such machine.
        MachineBusy: a capture of it is under way.
        SiteError: its disk could not be opened.
    """
    with _first_disk(site, machine_id, capture_id) as disk:
        if disk is None:
            return [Finding("The machine has no disk.", "Nothing can be protected but its description.")]
        return inspect_disk(disk, platform, boot_mode)


@contextmanager
def _first_disk(site: Site, machine_id: MachineId, capture_id: str) -> Iterator[Disk | None]:
    status = site.machine(machine_id)
    if not status.spec.disks:
        yield None
    elif status.power.is_off:
        with site.read_disk(machine_id, status.spec.disks[0].key) as door, closing(door()) as disk:
            yield disk
    else:
        request = CaptureRequest(machine_id, capture_id, is_freezing=False, is_tracking=False)
        with site.capture(request) as capture, closing(capture.disks[0].open()) as disk:
            yield disk
