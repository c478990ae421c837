"""Captures of machines on Xen: running and stopped, with trackers, and what a killed capture leaves."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab.guests import TinyClient
from lab.xen_host import XenHost
from tests.real.xen_fixtures import KEY, XEN_STOP_SECONDS, MakeXenGuest, XenGuest, read_whole
from twinhull.model.errors import DataError, MachineBusy, StillRunning
from twinhull.model.extents import aligned, total_bytes
from twinhull.model.machine import BootMode, Consistency, PowerState
from twinhull.model.units import KIB, MIB
from twinhull.platforms.contract import CapturedDisk, Leftover
from twinhull.platforms.xen.site import XenSite

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]

_HOLD = """
import sys
from twinhull.model.machine import DiskKey, MachineId, SiteName
from twinhull.model.ports import system_ports
from twinhull.platforms.contract import CaptureRequest, SiteSettings
from twinhull.platforms.xen.site import XenPlatform
site = XenPlatform().open(SiteSettings(SiteName("x"), "xen", sys.argv[1]), system_ports())
request = CaptureRequest(MachineId(sys.argv[2]), "killed", {DiskKey("vda"): sys.argv[3]})
with site.captures.capture(request) as capture:
    print("open", flush=True)
    sys.stdin.readline()
"""


CHUNK_BYTES = 128 * KIB


def _increment(disk: CapturedDisk, base: bytearray) -> tuple[bytearray, int]:
    """Make the disk's content from the one before by what its tracker calls changed, in whole chunks."""
    assert disk.is_tracked, disk.tracker_reason
    changed = list(disk.changed())
    content = bytearray(base)
    handle = disk.open()
    for extent in aligned(changed, CHUNK_BYTES, disk.size_bytes):
        content[extent.offset_bytes : extent.end_bytes] = handle.read(extent.offset_bytes, extent.length_bytes)
    handle.close()
    return content, total_bytes(changed)


def _check_against_stopped(site: XenSite, guest: XenGuest, content: bytearray, tracker: str) -> None:
    """Stop the guest; the increments so far and the last one must make exactly what is on the disk now."""
    assert site.power.stop(guest.machine_id, XEN_STOP_SECONDS)
    with site.captures.capture(guest.request(tracker)) as capture:  # the tracker has outlived the shutdown
        assert capture.consistency is Consistency.SHUT_DOWN
        content, _ = _increment(capture.disks[0], content)
        assert content == read_whole(capture.disks[0])


@pytest.fixture
def running(make_xen_guest: MakeXenGuest) -> tuple[XenGuest, TinyClient]:
    """A PV guest that runs."""
    guest = make_xen_guest("running")
    return guest, guest.boot()


def test_a_running_pv_machine_is_captured_by_what_it_changed(
    running: tuple[XenGuest, TinyClient], xen_site: XenSite
) -> None:
    guest, client = running
    client.be_quiet()
    with xen_site.captures.capture(guest.request()) as capture:
        assert capture.consistency is Consistency.CRASH
        assert capture.window.freeze_seconds == 0
        assert any("without a freeze" in reason for reason in capture.reasons)
        assert not capture.disks[0].is_tracked
        content = read_whole(capture.disks[0])
        tracker = capture.disks[0].tracker_id
        with pytest.raises(MachineBusy), xen_site.captures.capture(guest.request()):
            pass
        capture.keep_trackers()

    with xen_site.captures.capture(guest.request(tracker)) as capture:  # idle, and not kept
        content, changed_bytes = _increment(capture.disks[0], content)
        assert changed_bytes == 0

    client.write("new", 1)
    with xen_site.captures.capture(guest.request(tracker)) as capture:
        during = client.write("during", 1)  # written while the capture is open: not in it
        with pytest.raises(DataError, match="were not copied"):
            capture.disks[0].open().read(64 * MIB, 4 * MIB)
        content, changed_bytes = _increment(capture.disks[0], content)
        assert 1 * MIB <= changed_bytes < 4 * MIB
        tracker = capture.disks[0].tracker_id
        capture.keep_trackers()
    assert client.sum("during") == during

    assert xen_site.leftovers.find(guest.machine_id, (str(tracker),)) == []
    _check_against_stopped(xen_site, guest, content, str(tracker))


def test_trackers_that_were_armed_before_the_start_count_what_the_guest_wrote(
    make_xen_guest: MakeXenGuest, xen_site: XenSite
) -> None:
    guest = make_xen_guest("armed")
    with xen_site.captures.capture(guest.request(is_tracking=False)) as capture:
        before = read_whole(capture.disks[0])
    armed = xen_site.captures.arm_trackers(guest.machine_id, "armed")
    client = guest.boot()
    client.write("new", 1)
    client.be_quiet()
    with pytest.raises(StillRunning):
        xen_site.captures.arm_trackers(guest.machine_id, "again")
    with xen_site.captures.capture(guest.request(armed[KEY])) as capture:
        content, changed_bytes = _increment(capture.disks[0], before)
        assert 1 * MIB <= changed_bytes < 16 * MIB
        tracker = str(capture.disks[0].tracker_id)
        capture.keep_trackers()
    _check_against_stopped(xen_site, guest, content, tracker)


def test_a_killed_capture_is_found_and_cleaned_and_has_changed_nothing(
    running: tuple[XenGuest, TinyClient], xen_site: XenSite, xen_host: XenHost
) -> None:
    guest, client = running
    client.be_quiet()
    with xen_site.captures.capture(guest.request()) as capture:
        content = read_whole(capture.disks[0])
        tracker = str(capture.disks[0].tracker_id)
        capture.keep_trackers()
    client.write("new", 1)
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, xen_host.uri, guest.machine_id, tracker],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": str(Path(__file__).parents[2] / "src"), "PATH": "/usr/bin:/bin"},
    ) as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == b"open\n"
        assert xen_site.leftovers.find(guest.machine_id, (tracker,)) == []  # it is alive, so nothing is left over
        killed.send_signal(signal.SIGKILL)
    left = _wait_for_leftovers(xen_site, guest, tracker)
    assert {leftover.kind for leftover in left} == {"tracker"}
    for leftover in left:
        xen_site.leftovers.clean(leftover)
    assert xen_site.leftovers.find(guest.machine_id, (tracker,)) == []
    with xen_site.captures.capture(guest.request(tracker)) as capture:
        content, changed_bytes = _increment(capture.disks[0], content)
        assert 1 * MIB <= changed_bytes < 4 * MIB
        tracker = str(capture.disks[0].tracker_id)
        capture.keep_trackers()
    _check_against_stopped(xen_site, guest, content, tracker)


def _wait_for_leftovers(site: XenSite, guest: XenGuest, tracker: str) -> list[Leftover]:
    """Until ssh has noticed the death; bounded by the test's own limit."""
    while not (left := list(site.leftovers.find(guest.machine_id, (tracker,)))):
        pass
    return left


def test_a_tracker_lost_with_its_qemu_is_said(running: tuple[XenGuest, TinyClient], xen_site: XenSite) -> None:
    guest, _ = running
    with xen_site.captures.capture(guest.request()) as capture:
        tracker = str(capture.disks[0].tracker_id)
        capture.keep_trackers()
    guest.host.run(f"kill -9 $(pgrep -f '[x]en-domid {guest.host.run('virsh domid running').strip()} ')")
    xen_site.power.kill(guest.machine_id)
    assert xen_site.power.state(guest.machine_id) in (PowerState.OFF, PowerState.CRASHED)
    with xen_site.captures.capture(guest.request(tracker)) as capture:
        assert not capture.disks[0].is_tracked
        assert "missing or broken" in capture.disks[0].tracker_reason


def test_an_hvm_machine_is_captured_as_it_runs_and_its_image_never_holds_a_tracker_while_it_boots(
    make_xen_guest: MakeXenGuest, xen_site: XenSite
) -> None:
    guest = make_xen_guest("full", BootMode.HVM)
    armed = xen_site.captures.arm_trackers(guest.machine_id, "armed")
    client = guest.boot()
    client.be_quiet()
    with xen_site.captures.capture(guest.request(armed[KEY])) as capture:
        assert not capture.disks[0].is_tracked  # taken out by the guard at the start
        content = read_whole(capture.disks[0])
        tracker = capture.disks[0].tracker_id
        capture.keep_trackers()
    client.write("new", 1)
    with xen_site.captures.capture(guest.request(tracker)) as capture:
        content, changed_bytes = _increment(capture.disks[0], content)
        assert 1 * MIB <= changed_bytes < 4 * MIB
        tracker = capture.disks[0].tracker_id
        capture.keep_trackers()
    with xen_site.captures.capture(guest.request(is_tracking=False)) as capture:
        assert content == read_whole(capture.disks[0])
    assert xen_site.power.stop(guest.machine_id, XEN_STOP_SECONDS)
    with xen_site.captures.capture(guest.request(tracker)) as capture:
        assert not capture.disks[0].is_tracked
        assert "missing or broken" in capture.disks[0].tracker_reason
