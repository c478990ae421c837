"""What owners do to disks between two captures, on a real QEMU, and what they find of ours on their machines."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

from lab.qemu_host import QemuHost
from tests.real.conftest import Guest, MakeGuest
from tests.real.disks import checksum
from twinhull.model.extents import total_bytes
from twinhull.model.machine import DiskKey, PowerState
from twinhull.model.units import MIB
from twinhull.platforms.contract import Capture, CaptureRequest
from twinhull.platforms.qemu.site import QemuSite

pytestmark = pytest.mark.real

P, Q = DiskKey("vdb"), DiskKey("vdc")
SIZE = 8 * MIB


@pytest.fixture
def images(qemu_host: QemuHost) -> Iterator[list[Path]]:
    """Two images of one size, filled alike but for one byte."""
    paths = [qemu_host.images / f"history-{name}.qcow2" for name in "pq"]
    for number, path in enumerate(paths):
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), str(SIZE)], check=True)
        fill = ["qemu-io", "-f", "qcow2", "-c", f"write -P {number + 1} 0 {SIZE}", str(path)]
        subprocess.run(fill, check=True, capture_output=True)
    yield paths
    for path in paths:
        path.unlink()


def attach(guest: Guest, key: DiskKey, path: Path) -> None:
    guest.domain.attachDevice(_disk(key, path))


def detach(guest: Guest, key: DiskKey, path: Path) -> None:
    guest.domain.detachDeviceAlias(_alias(guest, path))
    for _ in range(200):
        if f"dev='{key}'" not in guest.domain.XMLDesc(0):
            return
        subprocess.run(["sleep", "0.1"], check=True)
    pytest.fail(f"{key} was never unplugged")


def _alias(guest: Guest, path: Path) -> str:
    before = guest.domain.XMLDesc(0).partition(str(path))[2]
    return str(before.partition("<alias name='")[2].partition("'")[0])


def _disk(key: DiskKey, path: Path) -> str:
    return (
        f"<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{path}'/>"
        f"<target dev='{key}' bus='virtio'/></disk>"
    )


def asked(guest: Guest, capture_id: str, before: Capture | None = None) -> CaptureRequest:
    since = {disk.key: disk.tracker_id for disk in before.disks if disk.tracker_id} if before else {}
    return CaptureRequest(guest.machine_id, capture_id, since, is_freezing=False)


def kept(site: QemuSite, request: CaptureRequest) -> Capture:
    with site.captures.capture(request) as capture:
        capture.keep_trackers()
        return capture


def reasons(capture: Capture) -> dict[DiskKey, str]:
    return {disk.key: disk.tracker_reason for disk in capture.disks}


def test_swapped_disks_are_not_taken_for_each_other(
    local_site: QemuSite, make_guest: MakeGuest, images: list[Path]
) -> None:
    guest = make_guest("swapping")
    guest.boot()
    for key, path in zip((P, Q), images, strict=True):
        attach(guest, key, path)
    before = kept(local_site, asked(guest, "s1"))
    with local_site.captures.capture(asked(guest, "s2", before)) as untouched:
        assert [disk.is_tracked for disk in untouched.disks] == [True, True, True], reasons(untouched)
    for key, path in zip((P, Q), images, strict=True):
        detach(guest, key, path)
    for key, path in zip((Q, P), images, strict=True):
        attach(guest, key, path)
    with local_site.captures.capture(asked(guest, "s3", before)) as swapped:
        assert [disk.is_tracked for disk in swapped.disks] == [True, False, False], reasons(swapped)
        assert "in another image" in reasons(swapped)[P]
        first = [disk.open() for disk in swapped.disks[1:]]
        assert [handle.read(0, 1) for handle in first] == [b"\x02", b"\x01"]
        for handle in first:
            handle.close()
        swapped.keep_trackers()
    assert len(local_site.leftovers.find(guest.machine_id, [str(disk.tracker_id) for disk in swapped.disks])) == 0
    # The one that QEMU is told to make smaller and larger has lost what its tracker calls unchanged.
    for size in (SIZE // 2, SIZE):
        guest.domain.blockResize(Q, size, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
    with local_site.captures.capture(asked(guest, "s4", swapped)) as resized:
        assert total_bytes(resized.disks[2].changed()) == 0
        handle = resized.disks[2].open()
        assert handle.read(SIZE - 512, 512) == bytes(512)
        handle.close()
    local_site.power.kill(guest.machine_id)


def test_a_disk_that_can_have_no_tracker_costs_a_comparison_and_no_point(
    local_site: QemuSite, make_guest: MakeGuest, images: list[Path]
) -> None:
    guest = make_guest("old-image")
    guest.boot()
    path = images[0]
    subprocess.run(["qemu-img", "amend", "-f", "qcow2", "-o", "compat=0.10", str(path)], check=True)
    attach(guest, P, path)
    before = kept(local_site, asked(guest, "o1"))
    assert [bool(disk.tracker_id) for disk in before.disks] == [True, False]
    with local_site.captures.capture(asked(guest, "o2", before)) as running:
        assert [disk.is_tracked for disk in running.disks] == [True, False]
        assert "version 2" in reasons(running)[P]
        assert checksum(running.disks[1].open)
    local_site.power.kill(guest.machine_id)


def test_an_owner_s_snapshots_and_undefine_work_as_if_we_were_not_there(
    local_site: QemuSite, make_guest: MakeGuest
) -> None:
    guest = make_guest("reverting")
    guest.boot()
    kept(local_site, asked(guest, "r1"))
    guest.domain.snapshotCreateXML("<domainsnapshot><name>before</name></domainsnapshot>")
    before = kept(local_site, asked(guest, "r2"))
    assert before.disks[0].tracker_id
    snapshot = guest.domain.snapshotLookupByName("before")
    guest.domain.revertToSnapshot(snapshot)
    assert local_site.power.state(guest.machine_id) is PowerState.RUNNING
    with local_site.captures.capture(asked(guest, "r3", before)) as reverted:
        assert [disk.is_tracked for disk in reverted.disks] == [False]
        assert "missing or broken" in reasons(reverted)[DiskKey("vda")]
        reverted.keep_trackers()
    assert guest.domain.listAllCheckpoints() == []
    assert len(local_site.leftovers.find(guest.machine_id, ())) == 1, "the tracker that was kept, and nothing else"
    for leftover in local_site.leftovers.find(guest.machine_id, ()):
        local_site.leftovers.clean(leftover)
    assert list(local_site.leftovers.find(guest.machine_id, ())) == []
    again = kept(local_site, asked(guest, "r4"))
    local_site.power.kill(guest.machine_id)
    snapshot.delete()
    xml = guest.domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    guest.domain.undefine()
    assert again.disks[0].tracker_id
    guest.domain = guest.domain.connect().defineXML(xml)
