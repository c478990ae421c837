"""pygrub parses a guest's boot disk in dom0, as root: no machine boots by it unless a person asked for that."""

from __future__ import annotations

from itertools import product
from typing import cast

import pytest

from twinhull.cli.commands.plan.create import create
from twinhull.cli.commands.restore import restore
from twinhull.model.errors import NotSupportedHere
from twinhull.model.machine import BootMode, DiskKey, DiskSpec, Firmware, MachineId, MachineSpec, SiteName
from twinhull.model.units import MIB
from twinhull.platforms.contract import Capability, ReplicaRequest, SiteSettings, options_of
from twinhull.platforms.guard.standings import StandingFiles
from twinhull.platforms.libvirt.definition.domains import read_definition
from twinhull.platforms.libvirt.definition.xml import parse_xml
from twinhull.platforms.libvirt.place import Place
from twinhull.platforms.xen import site as xen_site
from twinhull.platforms.xen.definition import new_definition
from twinhull.platforms.xen.options import XenOptions
from twinhull.platforms.xen.replicas import XenReplicas, _followed_spec
from twinhull.platforms.xen.sidecar import Sidecars
from twinhull.platforms.xen.survey import XenMachine

ID = MachineId("11111111-2222-4333-8444-55555555aaaa")
HVM, PV = BootMode.HVM, BootMode.PV
PATHS = {DiskKey("vda"): "/x/vda.qcow2"}


def spec(firmware: Firmware = Firmware.BIOS, boots: BootMode = HVM) -> MachineSpec:
    """A machine; how it boots at home says nothing of how it boots here."""
    disks = (DiskSpec(DiskKey("vda"), MIB),)
    return MachineSpec(ID, "guest", 1, 64 * MIB, firmware=firmware, boot_mode=boots, disks=disks)


def replicas(of_site: BootMode | None) -> XenReplicas:
    """Those of a site with that option; nothing of a host is asked."""
    said = {"boot_mode": of_site.value} if of_site else {}
    options = options_of(XenOptions, SiteSettings(SiteName("x"), "xen", "xen:///system", options=said))
    return XenReplicas(cast("Place", None), cast("StandingFiles", None), cast("Sidecars", None), options.boot_mode)


def boots_by_pygrub(written: str) -> bool:
    return parse_xml(written).findtext("bootloader") is not None


@pytest.mark.parametrize(
    ("of_site", "of_machine", "at_home"), list(product((None, HVM, PV), (None, HVM, PV), BootMode)), ids=str
)
def test_a_new_machine_boots_by_it_if_its_plan_or_else_its_site_says_so(
    of_site: BootMode | None, of_machine: BootMode | None, at_home: BootMode
) -> None:
    made = replicas(of_site)._new_spec(ReplicaRequest(spec(boots=at_home), boot_mode=of_machine))
    assert boots_by_pygrub(new_definition(made, PATHS, {})) is ((of_machine or of_site) is PV)


@pytest.mark.parametrize(
    ("before", "of_machine", "at_home"), list(product((HVM, PV), (None, HVM, PV), BootMode)), ids=str
)
def test_a_replica_goes_on_to_boot_as_it_was_asked_to(
    before: BootMode, of_machine: BootMode | None, at_home: BootMode
) -> None:
    """Also if the site's option has changed since: that is of new machines."""
    definition = read_definition(new_definition(spec(boots=before), PATHS, {}))
    machine = XenMachine(definition, spec(boots=before), [], None)
    followed = _followed_spec(machine, ReplicaRequest(spec(boots=at_home), boot_mode=of_machine))
    assert boots_by_pygrub(new_definition(followed, PATHS, {})) is ((of_machine or before) is PV)


def test_what_could_boot_only_by_it_is_refused_with_the_reason() -> None:
    made = replicas(None)._new_spec(ReplicaRequest(spec(Firmware.UEFI)))
    with pytest.raises(NotSupportedHere, match="UEFI") as refused:
        new_definition(made, PATHS, {})
    assert "--boot-mode pv" in str(refused.value.hint)
    assert "as root" in str(refused.value.hint)


def test_the_site_s_check_says_what_it_risks() -> None:
    assert "as root: trust such a guest" in xen_site._LIMITS[Capability.BOOT_PV].reason


def test_no_command_asks_for_it_by_default() -> None:
    assert [(command.__kwdefaults__ or {})["boot_mode"] for command in (create, restore)] == [None, None]
