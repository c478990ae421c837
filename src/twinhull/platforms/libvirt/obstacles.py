"""What would keep a machine from being switched on: networks, interfaces and images that are not there."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator

import libvirt

from twinhull.hosts.host import check
from twinhull.model.machine import MachineId
from twinhull.model.names import checked_interface
from twinhull.platforms.libvirt.connection import as_site_error
from twinhull.platforms.libvirt.definition.xml import parse_xml
from twinhull.platforms.libvirt.finding import find, stored_xml
from twinhull.platforms.libvirt.place import Place

_NAMED_BY = {"bridge": ("bridge", "bridge"), "direct": ("dev", "interface")}
"""By a card's kind: the attribute that names what it is plugged into, and what that is."""

_MISSING = 'for path; do [ -e "$path" ] || printf "%s\\0" "$path"; done'


def obstacles(place: Place, machine_id: MachineId) -> list[str]:
    """One sentence for each thing that the machine's definition names and the host lacks; raises NotFound."""
    root = parse_xml(stored_xml(place, find(place, machine_id)))
    return [*_inactive_networks(place, root), *_inactive_pools(place, root), *_missing_paths(place, root)]


def _inactive_networks(place: Place, root: ET.Element) -> Iterator[str]:
    sources = root.findall("./devices/interface[@type='network']/source[@network]")
    for name in sorted({source.get("network", "") for source in sources}):
        try:
            if not place.connection.get().networkLookupByName(name).isActive():
                yield f"The network '{name}' of {place.site} is not active."
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_NETWORK:
                yield f"There is no network '{name}' on {place.site}."
            elif error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:  # such a libvirt tells nothing of networks
                raise as_site_error(place.site, f"looking for its network '{name}'", error) from error


def _inactive_pools(place: Place, root: ET.Element) -> Iterator[str]:
    sources = root.findall("./devices/disk[@type='volume']/source[@pool]")
    for name in sorted({source.get("pool", "") for source in sources}):
        try:
            if not place.connection.get().storagePoolLookupByName(name).isActive():
                yield f"The storage pool '{name}' of {place.site} is not active."
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_POOL:
                raise as_site_error(place.site, f"looking for its storage pool '{name}'", error) from error
            yield f"There is no storage pool '{name}' on {place.site}."


def _missing_paths(place: Place, root: ET.Element) -> list[str]:
    """Interfaces and images are both looked for as files, so that one command finds all."""
    sentences = {**_interfaces(place, root), **_images(place, root)}
    if not sentences:
        return []
    missing = check(place.host, ["sh", "-c", _MISSING, "twinhull-missing", *sentences])
    found = missing.decode(errors="replace").split("\0")[:-1]
    return [sentence for path, sentence in sentences.items() if path in found]


def _interfaces(place: Place, root: ET.Element) -> dict[str, str]:
    """By the path of each in sysfs; a card that is plugged in by a script of its own may name anything."""
    sentences = {}
    for nic in root.findall("./devices/interface"):
        attribute, what = _NAMED_BY.get(nic.get("type", ""), ("", ""))
        source = nic.find("source")
        name = source.get(attribute) if source is not None and _script(nic) in ("", "vif-bridge") else None
        if name:
            sentences[_path_of(name)] = f"There is no {what} '{name}' on {place.site}."
    return sentences


def _path_of(interface: str) -> str:
    """Where the host's kernel shows an interface; what can be none is looked for where nothing is."""
    try:
        return f"/sys/class/net/{checked_interface(interface)}"
    except ValueError:
        return f"/sys/class/net/{interface.replace('/', '_')[:99]}.none"


def _script(nic: ET.Element) -> str:
    script = nic.find("script")
    return script.get("path", "").rpartition("/")[2] if script is not None else ""


def _images(place: Place, root: ET.Element) -> dict[str, str]:
    """By their paths; what is no path means something to Xen's own scripts only."""
    sources = [source for source in root.findall("./devices/disk/source") if source.get("startupPolicy") != "optional"]
    paths = [source.get("file") or source.get("dev") or "" for source in sources]
    return {path: f"The disk image {path} is not on {place.site}." for path in paths if path.startswith("/")}
