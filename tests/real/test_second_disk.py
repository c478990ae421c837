"""A guest whose root is on its second disk, with a data disk of 4096-byte sectors and a read-only one: it takes over.

On QEMU with all of it; on Xen, which has no such sectors, without the data disk's partition, as was said before.
"""

from __future__ import annotations

import shutil
import struct
import subprocess
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import libvirt
import pytest

from lab.guests import GuestDisk, TinyClient, domain_xml, forward, tiny_plan
from lab.images import TinyImage
from lab.qemu_host import QemuHost
from lab.xen_host import XenHost
from tests.real.conftest import settings_of
from tests.real.xen_fixtures import NETWORKS, XEN_BOOT_SECONDS, xen_settings
from tests.stepping import Journal, perform
from twinhull.actions.context import Context, OpenSites
from twinhull.actions.requests import FailoverRequest, MachineRequest, SyncRequest
from twinhull.manager.runs.kinds.registry import KINDS
from twinhull.model.errors import SiteError
from twinhull.model.lacks import Consequence, lacks_from_json
from twinhull.model.machine import BootMode, MachineId, SiteName
from twinhull.model.ports import system_ports
from twinhull.model.steps import JsonValue
from twinhull.model.units import MIB
from twinhull.platforms.contract import Site
from twinhull.platforms.qemu.site import QemuPlatform
from twinhull.platforms.xen.site import XenPlatform
from twinhull.repository import DirectoryStore, KdfCost, Repository

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

A, B, X = SiteName("a"), SiteName("b"), SiteName("x")
SECTOR = 4096
DATA = b"what lies in the partition " * 1000
MAC = "52:54:00:7e:11:44"


def data_disk(path: Path) -> None:
    """A disk of 4096-byte sectors with one partition, which begins at sector 256 (1 MiB)."""
    entry = struct.pack("<B3sB3sII", 0, b"\xff" * 3, 0x83, b"\xff" * 3, 256, 7 * MIB // SECTOR)
    with path.open("wb") as file:
        file.truncate(8 * MIB)
        file.seek(446)
        file.write(entry + bytes(48) + b"\x55\xaa")
        file.seek(MIB)
        file.write(DATA)


def definition(image: TinyImage, host: QemuHost) -> tuple[str, MachineId]:
    """The guest: data on vda, root on vdb, and a read-only vdc."""
    plan = tiny_plan(image, host.images, "second", is_uefi=False)
    data, fixed = host.images / "second-data.raw", host.images / "second-fixed.raw"
    data_disk(data)
    shutil.copyfile(data, fixed)
    disks = (GuestDisk(data, "raw"), *plan.disks, GuestDisk(fixed, "raw"))
    whole = replace(plan, disks=disks, mac=MAC, has_agent=False)
    root = ET.fromstring(domain_xml(whole))  # noqa: S314 - ours
    os, clock = root.find("os"), root.find("clock")
    assert os is not None
    assert clock is not None
    os.remove(os.findall("boot")[0])
    clock.set("offset", "localtime")
    ET.SubElement(clock, "timer", name="rtc", tickpolicy="catchup")
    ET.SubElement(clock, "timer", name="hpet", present="no")
    cpu, devices = ET.SubElement(root, "cpu"), root.find("devices")
    assert devices is not None
    ET.SubElement(cpu, "topology", sockets="1", cores="1", threads="1")
    ET.SubElement(ET.SubElement(devices, "rng", model="virtio"), "backend", model="random").text = "/dev/urandom"
    ET.SubElement(devices, "watchdog", model="i6300esb", action="none")
    first, second, third = root.findall("./devices/disk")
    ET.SubElement(first, "blockio", logical_block_size=str(SECTOR), physical_block_size=str(SECTOR))
    ET.SubElement(first, "serial").text = "DATA-1"
    ET.SubElement(second, "boot", order="1")
    ET.SubElement(third, "readonly")
    return ET.tostring(root, encoding="unicode"), MachineId(root.findtext("uuid") or "")


class Plant:
    """The guest at home, a repository, and a second site."""

    def __init__(
        self, home: QemuHost, machine_id: MachineId, repository: Repository, other: Callable[[], Site]
    ) -> None:
        self.home, self.machine_id = home, machine_id
        sites = {A: lambda: QemuPlatform().open(settings_of(home, home.uri), system_ports())}
        self._sites = OpenSites(lambda name: sites.get(name, other)())
        self.context = Context(repository, self._sites, system_ports())
        self._runs = 0

    def run(self, kind: str, make: type[MachineRequest], target: SiteName, **more: object) -> dict[str, JsonValue]:
        self._runs += 1
        request = make(f"second-{self._runs}", self.machine_id, A, target, **more)  # type: ignore[call-arg]
        return perform(KINDS.actions[kind], self.context, request.facts(), Journal())

    def is_running(self) -> bool:
        return not self.context.site(A).power.state(self.machine_id).is_off

    def end(self, target: SiteName) -> None:
        for name in (A, target):
            self.context.site(name).power.kill(self.machine_id)
        self.context.site(target).replicas.remove(self.machine_id)
        self.context.site(A).standings.remove(self.machine_id)
        self._sites.close()


MakePlant = Callable[[Callable[[], Site]], Plant]


@pytest.fixture
def make_plant(qemu_host: QemuHost, tiny: TinyImage, tmp_path: Path) -> Iterator[MakePlant]:
    connection = qemu_host.connect()
    xml, machine_id = definition(tiny, qemu_host)
    domain = connection.defineXML(xml)
    cost = KdfCost(iterations=1, lanes=1, memory_kib=8)
    with Repository.create(DirectoryStore(tmp_path / "repository"), "secret", cost=cost) as repository:
        yield lambda other: Plant(qemu_host, machine_id, repository, other)
    connection.close()
    connection = qemu_host.connect()
    domain = connection.lookupByUUIDString(machine_id)
    with suppress(libvirt.libvirtError):
        domain.destroy()
    domain.undefineFlags(libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA)
    connection.close()


def wait_up(client: TinyClient, seconds: float = 120) -> TinyClient:
    deadline = time.monotonic() + seconds
    while True:
        try:
            client.heartbeat()
        except (OSError, RuntimeError, ValueError):
            assert time.monotonic() < deadline, "the guest's services never answered"
            time.sleep(0.2)
        else:
            return client


def on(host: QemuHost, machine_id: MachineId) -> TinyClient:
    return wait_up(TinyClient(forward(host.connect().lookupByUUIDString(machine_id))))


def boot(plant: Plant) -> TinyClient:
    plant.home.connect().lookupByUUIDString(plant.machine_id).create()
    client = on(plant.home, plant.machine_id)
    client.be_quiet()
    return client


def seen(client: TinyClient) -> tuple[str, str, str]:
    """The data disk's sectors, what its partition begins with, and whether the third disk is read-only."""
    first = client.shell("cat /sys/block/vda/queue/logical_block_size")
    digest = client.shell(f"head -c {len(DATA)} /dev/vda1 | sha256sum").split()[0]
    return first, digest, client.shell("cat /sys/block/vdc/ro")


WHOLE = (str(SECTOR), sha256(DATA).hexdigest(), "1")


@pytest.fixture
def second_host(short_directory: Path) -> Iterator[QemuHost]:
    host = QemuHost.start(short_directory / "d")
    yield host
    host.stop()


def test_it_takes_over_on_another_qemu_host(make_plant: MakePlant, second_host: QemuHost) -> None:
    plant = make_plant(lambda: QemuPlatform().open(settings_of(second_host, second_host.uri, B), system_ports()))
    assert seen(boot(plant)) == WHOLE
    assert plant.run("sync", SyncRequest, B)["lacks"] == []
    plant.run("failover", FailoverRequest, B)
    client = on(second_host, plant.machine_id)
    assert seen(client) == WHOLE
    assert client.shell("cat /sys/block/vda/serial") == "DATA-1"
    plant.end(B)


def test_it_takes_over_from_a_qemu_host_on_xen_or_is_refused_where_it_would_not_boot(
    make_plant: MakePlant, xen_host: XenHost
) -> None:
    plant = make_plant(lambda: XenPlatform().open(xen_settings(xen_host), system_ports()))
    boot(plant)
    facts = plant.run("sync", SyncRequest, X, networks=NETWORKS, boot_mode=BootMode.PV.value)
    sectors = "the 4096-byte sectors of disk vda: its partitions are not found"
    said = {lack.what: lack.consequence for lack in lacks_from_json(facts["lacks"])}
    assert said[sectors] is Consequence.BOOTS_WITHOUT
    assert "the write protection of disk vdc" in said
    boot_from(plant, "vda")
    with pytest.raises(SiteError, match="The replica will not boot: it lacks the 4096-byte sectors of disk vda"):
        plant.run("failover", FailoverRequest, X, networks=NETWORKS, boot_mode=BootMode.PV.value)
    assert plant.is_running()
    boot_from(plant, "vdb")
    plant.run("failover", FailoverRequest, X, networks=NETWORKS, boot_mode=BootMode.PV.value)
    client = wait_up(TinyClient(xen_host.forward(MAC, 7000, seconds=XEN_BOOT_SECONDS)), XEN_BOOT_SECONDS)
    assert client.shell("cat /sys/hypervisor/type") == "xen"
    plant.end(X)


def boot_from(plant: Plant, disk: str) -> None:
    """Change the definition that the machine will be started from; it runs on."""
    edit = ["virsh", "-c", plant.home.uri, "dumpxml", "--inactive", plant.machine_id]
    root = ET.fromstring(subprocess.run(edit, check=True, capture_output=True, text=True).stdout)  # noqa: S314 - ours
    for element in root.findall("./devices/disk"):
        target = element.find("target")
        for old in element.findall("boot"):
            element.remove(old)
        if target is not None and target.get("dev") == disk:
            ET.SubElement(element, "boot", order="1")
    plant.home.connect().defineXML(ET.tostring(root, encoding="unicode"))
