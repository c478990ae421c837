"""What a stopped machine can be worked on for is asked before it is stopped: every kind of disk that libvirt knows."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import libvirt
import pytest

from tests.platforms.libvirt_fixtures import CountedSite, xen
from twinhull.model.errors import NotFound, NotSupportedHere, SiteError
from twinhull.model.machine import DiskKey, DiskSpec, MachineId
from twinhull.model.units import MIB
from twinhull.platforms.contract import CaptureRequest

__all__ = ["xen"]

VDA = DiskKey("vda")
DOMAIN = """<domain type='test'><name>off-{uuid}</name><uuid>{uuid}</uuid><memory>1024</memory><os><type>hvm</type></os>
<devices>{disk}</devices></domain>"""


@dataclass
class Bench:
    """A libvirt of nobody's machines, and a folder for images."""

    connection: libvirt.virConnect
    folder: Path

    def define(self, disk: str) -> MachineId:
        machine_id = str(uuid.uuid4())
        xml = DOMAIN.format(uuid=machine_id, disk=disk.format(folder=self.folder))
        self.connection.defineXML(xml)
        return MachineId(machine_id)


@pytest.fixture
def bench(xen: CountedSite, tmp_path: Path) -> Iterator[Bench]:
    for name, options in {"a.qcow2": (), "old.qcow2": ("-o", "compat=0.10")}.items():
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options, tmp_path / name, "2M"], check=True)
    (tmp_path / "a.raw").write_bytes(bytes(2 * MIB))
    connection = libvirt.open("test:///default")
    pool = f"<pool type='dir'><name>{tmp_path.name}</name><target><path>{tmp_path}</path></target></pool>"
    made = connection.storagePoolDefineXML(pool)
    made.create()
    yield Bench(connection, tmp_path)
    made.destroy()
    made.undefine()
    connection.close()


LUKS = "<encryption format='luks'><secret type='passphrase' uuid='00000000-0000-0000-0000-000000000001'/></encryption>"
TARGET = "<target dev='vda' bus='virtio'/></disk>"
QCOW2, RAW = "<driver name='qemu' type='qcow2'/>", "<driver name='qemu' type='raw'/>"
FINE = {
    "qcow2": f"<disk type='file'>{QCOW2}<source file='{{folder}}/a.qcow2'/>{TARGET}",
    "qcow2 of version 2": f"<disk type='file'>{QCOW2}<source file='{{folder}}/old.qcow2'/>{TARGET}",
    "raw": f"<disk type='file'>{RAW}<source file='{{folder}}/a.raw'/>{TARGET}",
    "read-only": f"<disk type='file'>{QCOW2}<source file='{{folder}}/a.qcow2'/><readonly/>{TARGET}",
}
SLICES = "<slices><slice type='storage' offset='0' size='512'/></slices>"
BAD = {
    "gone": (f"<disk type='file'>{QCOW2}<source file='{{folder}}/no.qcow2'/>{TARGET}", "cannot be looked at"),
    "network": (f"<disk type='network'>{RAW}<source protocol='rbd' name='p/i'/>{TARGET}", "on a network, or no file"),
    "directory": (f"<disk type='dir'><driver name='qemu' type='fat'/><source dir='{{folder}}'/>{TARGET}", "or no file"),
    "vhostuser": (
        f"<disk type='vhostuser'>{RAW}<source type='unix' path='/tmp/x'/>{TARGET}",
        "on a network, or no file",
    ),
    "LUKS": (f"<disk type='file'>{RAW}<source file='{{folder}}/a.raw'>{LUKS}</source>{TARGET}", "encrypted"),
    "old LUKS": (f"<disk type='file'>{QCOW2}<source file='{{folder}}/a.qcow2'/>{LUKS}{TARGET}", "encrypted"),
    "slice": (
        f"<disk type='file'>{RAW}<source file='{{folder}}/a.raw'>{SLICES}</source>{TARGET}",
        "a part of a file",
    ),
    "no such pool": (
        f"<disk type='volume'>{RAW}<source pool='none' volume='v'/>{TARGET}",
        "the volume 'v' of the pool",
    ),
}


def captured(site: CountedSite, machine_id: MachineId) -> list[DiskKey]:
    with site.site.captures.capture(CaptureRequest(machine_id, "off-1", is_tracking=False)) as capture:
        return [disk.key for disk in capture.disks]


@pytest.mark.parametrize("disk", FINE.values(), ids=FINE)
def test_what_nothing_is_said_of_can_be_captured_and_written_when_off(
    xen: CountedSite, bench: Bench, disk: str
) -> None:
    machine_id = bench.define(disk)
    assert xen.site.power.obstacles_when_off(machine_id) == []
    assert captured(xen, machine_id) == [VDA]
    with xen.site.disks.writing(machine_id, VDA) as door:
        door().close()


@pytest.mark.parametrize(("disk", "said"), BAD.values(), ids=BAD)
def test_what_cannot_be_done_when_off_is_said_while_it_runs_and_refused_when_off(
    xen: CountedSite, bench: Bench, disk: str, said: str
) -> None:
    machine_id = bench.define(disk)
    (sentence,) = xen.site.power.obstacles_when_off(machine_id)
    assert said in sentence
    assert sentence.endswith((".", "start it."))
    with pytest.raises((SiteError, NotSupportedHere)):
        captured(xen, machine_id)
    with pytest.raises((NotFound, SiteError)), xen.site.disks.writing(machine_id, VDA) as door:
        door().close()


def test_an_image_that_is_gone_is_no_obstacle_where_no_capture_follows(xen: CountedSite, bench: Bench) -> None:
    machine_id = bench.define(BAD["gone"][0])
    assert xen.site.power.obstacles_when_off(machine_id, [DiskSpec(VDA, 2 * MIB)], is_capturing=False) == []
    for disk, said in (BAD[name] for name in BAD if name != "gone"):
        (sentence,) = xen.site.power.obstacles_when_off(bench.define(disk), is_capturing=False)
        assert said in sentence


def test_a_transient_machine_is_said(xen: CountedSite, bench: Bench) -> None:
    machine_id = str(uuid.uuid4())
    domain = bench.connection.createXML(DOMAIN.format(uuid=machine_id, disk=""))
    assert "virsh define" in xen.site.power.obstacles_when_off(MachineId(machine_id))[0]
    domain.destroy()
    with pytest.raises(NotFound):
        xen.site.power.obstacles_when_off(MachineId(machine_id))


def test_a_volume_of_a_pool_is_found_and_opened_by_its_path(xen: CountedSite, bench: Bench) -> None:
    pool = bench.connection.storagePoolLookupByName(bench.folder.name)
    pool.createXML("<volume><name>v.qcow2</name><capacity>2097152</capacity></volume>")
    (bench.folder / "a.qcow2").rename(bench.folder / "v.qcow2")
    source = f"<source pool='{bench.folder.name}' volume='v.qcow2'/>"
    machine_id = bench.define(f"<disk type='volume'>{QCOW2}{source}{TARGET}")
    assert xen.site.power.obstacles_when_off(machine_id) == []
    assert captured(xen, machine_id) == [VDA]
    assert xen.site.inventory.machine(machine_id).spec.disks[0].size_bytes == 2 * MIB
    pool.destroy()
    try:
        assert "start it" in xen.site.power.obstacles_when_off(machine_id)[0]
        assert xen.site.power.obstacles(machine_id) == [f"The storage pool '{bench.folder.name}' of x is not active."]
    finally:
        pool.create()


def test_a_device_that_is_too_small_for_an_earlier_point_is_said(
    xen: CountedSite, bench: Bench, loop_device: Callable[[Path], str]
) -> None:
    device = loop_device(bench.folder / "a.raw")
    machine_id = bench.define(f"<disk type='block'>{RAW}<source dev='{device}'/>{TARGET}")
    assert xen.site.power.obstacles_when_off(machine_id, [DiskSpec(VDA, 2 * MIB)]) == []
    assert "Make the device larger" in xen.site.power.obstacles_when_off(machine_id, [DiskSpec(VDA, 4 * MIB)])[0]


@pytest.fixture
def loop_device() -> Iterator[Callable[[Path], str]]:
    made = []

    def make(path: Path) -> str:
        done = subprocess.run(["losetup", "--find", "--show", path], check=True, capture_output=True, text=True)
        made.append(done.stdout.strip())
        return made[-1]

    yield make
    for device in made:
        subprocess.run(["losetup", "--detach", device], check=True)


def test_a_bridge_that_is_a_path_is_not_there(xen: CountedSite, bench: Bench) -> None:
    nic = "<interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='../../../etc'/></interface>"
    assert xen.site.power.obstacles(bench.define(nic)) == ["There is no bridge '../../../etc' on x."]
