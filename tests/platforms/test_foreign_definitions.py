"""Definitions that a site's libvirt hands out, as an attacker on that site would write them."""

from __future__ import annotations

from typing import Any, cast

import libvirt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.platforms.libvirt_fixtures import CountedSite, xen
from twinhull.model.errors import NotFound, SiteError
from twinhull.model.machine import DiskKey, MachineId
from twinhull.platforms.contract import CaptureRequest
from twinhull.platforms.libvirt.definition.domains import read_definition
from twinhull.platforms.libvirt.definition.xml import MAX_XML_DEPTH, BadDefinition, parse_xml
from twinhull.platforms.libvirt.place import Place

__all__ = ["xen"]

UUID = "6e7f4a1c-0000-4000-8000-00000000000a"
XML = """<domain type='qemu'><name>{name}</name><uuid>{uuid}</uuid><memory unit='KiB'>{memory}</memory>
<vcpu>{vcpu}</vcpu><os><type>hvm</type></os><devices>
<disk type='file'><driver name='qemu' type='{format}'/><source file='{path}'/><target dev='{dev}' bus='{bus}'/></disk>
<disk type='file' device='cdrom'><target dev='{cdrom}' bus='ide'/><readonly/></disk>
<interface type='bridge'><mac address='{mac}'/><source bridge='{bridge}'/><model type='{model}'/></interface>
</devices></domain>"""
SOUND = {
    "name": "db", "uuid": UUID, "memory": "1024", "vcpu": "1", "format": "raw", "path": "/x", "dev": "vda",
    "bus": "virtio", "cdrom": "hdc", "mac": "52:54:00:00:00:01", "bridge": "br0", "model": "virtio",
}  # fmt: skip
BOMB = (
    "<!DOCTYPE d [<!ENTITY a 'xxxxxxxxxxxxxxxxxxxx'>"
    + "".join(f"<!ENTITY {chr(98 + n)} '{f'&{chr(97 + n)};' * 10}'>" for n in range(9))
    + "]><domain><name>&j;</name></domain>"
)


def place() -> Place:
    return Place("beta", cast("Any", None), cast("Any", None), cast("Any", None), "/var/lib/twinhull")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dev", "vda/../../../../images/victim"),
        ("dev", "../victim"),
        ("dev", "-vda"),
        ("dev", ""),
        ("path", f"/x/replicas/{UUID}/...qcow2"),
        ("path", f"/x/replicas/{UUID}/-o.qcow2"),
        ("cdrom", "hdc&apos; backup=&apos;yes"),
        ("uuid", "../../etc"),
        ("uuid", ""),
        ("name", "../db"),
        ("name", "db&#10;x"),
        ("name", ""),
        ("vcpu", "x"),
        ("vcpu", "0"),
        ("vcpu", "9" * 30),
        ("memory", "1.5"),
        ("memory", "-1"),
        ("memory", "9" * 20),
        ("format", "-f"),
        ("format", "raw,file=/etc/passwd"),
        ("bus", "virtio&#9;x"),
        ("mac", "52:54:00:00:00"),
        ("mac", "00:00:00:00:00:01&#10;"),
        ("bridge", "x" * 300),
        ("model", "/lib"),
    ],
)
def test_what_would_steer_something_else_makes_the_machine_unworkable(field: str, value: str) -> None:
    with pytest.raises(BadDefinition, match=r"cannot be worked with"):
        read_definition(XML.format(**{**SOUND, field: value}))


def test_two_disks_of_one_key_are_refused() -> None:
    xml = XML.format(**{**SOUND, "path": f"/x/replicas/{UUID}/vdb.qcow2"})
    other = "<devices><disk type='file'><source file='/y'/><target dev='vdb'/></disk>"
    with pytest.raises(BadDefinition, match="Two disks have the same key, 'vdb'"):
        read_definition(xml.replace("<devices>", other))


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        "<!DOCTYPE d [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><domain><name>&a;</name></domain>",
        "<!DOCTYPE domain><domain/>",
        "<!DOCTYPE d SYSTEM 'http://127.0.0.1/x.dtd'><domain/>",
        "<domain>&undefined;</domain>",
        "<a>" * (MAX_XML_DEPTH + 1) + "</a>" * (MAX_XML_DEPTH + 1),
        f"<domain>{' ' * (5 << 20)}</domain>",
        "",
        "<domain>",
        "<domain>\0</domain>",
        "<domain>\ud800</domain>",
    ],
    ids=lambda text: ascii(text[:30]),
)
def test_xml_that_no_definition_needs_is_not_read(text: str) -> None:
    with pytest.raises(BadDefinition):
        parse_xml(text)


PIECES = [
    *SOUND.values(),
    "<",
    ">",
    "&",
    "'",
    "<domain",
    "</domain>",
    "<!DOCTYPE x>",
    "&#0;",
    "]]>",
    "<?x?>",
    "\0",
    "9" * 40,
]


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=12), st.integers(0, 600))
def test_broken_xml_is_an_error_of_ours(pieces: list[str], position: int) -> None:
    whole = XML.format(**SOUND)
    for text in ("".join(pieces), whole[:position] + "".join(pieces) + whole[position:], whole[:position]):
        try:
            read_definition(text)
        except BadDefinition as error:
            assert str(error)  # noqa: PT017 - either is right: it is read, or it is this error


def test_an_image_is_ours_by_its_whole_path_only() -> None:
    site, machine_id, key = place(), MachineId(UUID), DiskKey("vda")
    ours = site.image(machine_id, key)
    assert site.is_ours(machine_id, key, ours)
    for path in (
        "/var/lib/twinhull/replicas/x/../../../../images/victim.qcow2",
        f"/var/lib/twinhull/replicas/{UUID}/../{UUID}/vda.qcow2",
        f"/var/lib/twinhull/replicas/{UUID}/vdb.qcow2",
        f"/var/lib/twinhull/replicas/{UUID}x/vda.qcow2",
        f"{ours}.new",
        f"/{ours}",
    ):
        assert not site.is_ours(machine_id, key, path)


@pytest.mark.parametrize(
    ("machine_id", "key"), [("../x", "vda"), (UUID, "../../victim"), (UUID, "a/b"), (UUID.upper(), "vda")]
)
def test_no_path_is_made_of_an_unchecked_name(machine_id: str, key: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        place().image(MachineId(machine_id), DiskKey(key))


HOSTILE = """<domain type='test'><name>{name}</name><uuid>{uuid}</uuid><memory>1024</memory><os><type>hvm</type></os>
<devices><disk type='file' device='disk'><source file='/x'/><target dev='vda/../../../x' bus='virtio'/>
<address type='pci' domain='0' bus='0' slot='7' function='0'/></disk></devices></domain>"""


def test_one_unworkable_machine_hides_no_other_one(xen: CountedSite) -> None:
    connection = libvirt.open("test:///default")
    domain = connection.defineXML(HOSTILE.format(name="evil", uuid=UUID))
    try:
        found = {status.spec.machine_id: status for status in xen.site.inventory.machines()}
        evil = found.pop(MachineId(UUID))
        assert found
        assert not any(status.warnings for status in found.values() if status.power.is_off)
        assert "cannot be worked with" in evil.warnings[0]
        assert evil.spec.disks == ()
        with pytest.raises(SiteError, match="is not a disk's key"):
            xen.site.inventory.machine(MachineId(UUID))
        with (
            pytest.raises(SiteError, match="is not a disk's key"),
            xen.site.captures.capture(CaptureRequest(MachineId(UUID), "c-1")),
        ):
            pytest.fail("it was captured")
    finally:
        domain.undefine()
        connection.close()
    with pytest.raises(NotFound):
        xen.site.inventory.machine(MachineId(UUID))
