"""Capturing real machines on QEMU: what is moved, what the guest notices, what is left, what happens on bad days."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from lab.guests import GuestDisk, TinyClient
from lab.qemu_host import QemuHost
from tests.real.conftest import Guest, MakeGuest, settings_of
from tests.real.disks import checksum, copy
from twinhull.blocks.memory import MemoryDisk
from twinhull.model.errors import DataError, MachineBusy, SiteError, SiteFull
from twinhull.model.extents import total_bytes
from twinhull.model.machine import Consistency, DiskKey, PowerState
from twinhull.model.ports import system_ports
from twinhull.model.units import KIB, MIB
from twinhull.platforms.contract import Capture, CaptureRequest, Leftover
from twinhull.platforms.qemu import room
from twinhull.platforms.qemu.site import QemuPlatform, QemuSite

pytestmark = pytest.mark.real

VDA = DiskKey("vda")
FREEZE_LIMIT_SECONDS = 0.5
"""The issue's bar for a quiet machine; asserted with the lab's factor of four for a busy one."""


def request(guest: Guest, capture_id: str, **since: str) -> CaptureRequest:
    return CaptureRequest(guest.machine_id, capture_id, {DiskKey(key): name for key, name in since.items()})


def taken(site: QemuSite, asked: CaptureRequest) -> str:
    """Capture and keep; gives the new tracker's id."""
    with site.captures.capture(asked) as capture:
        capture.keep_trackers()
        return tracker_of(capture)


def tracker_of(capture: Capture, index: int = 0) -> str:
    """The id of the tracker that a capture leaves for a disk."""
    return str(capture.disks[index].tracker_id)


def bitmaps(path: Path) -> list[str]:
    info = json.loads(subprocess.check_output(["qemu-img", "info", "-U", "--output=json", str(path)]))
    return [bitmap["name"] for bitmap in info["format-specific"]["data"].get("bitmaps", [])]


def assert_nothing_is_left(site: QemuSite, guest: Guest, *kept: str) -> None:
    assert list(site.leftovers.find(guest.machine_id, kept)) == []
    assert not list(Path(site.settings.options["directory"]).glob(f"scratch/{guest.machine_id[:8]}*"))


def content_hash(capture: Capture, path: str, client: TinyClient) -> tuple[str, str]:
    """The hash of a file as the captured disk's file system holds it, and as the guest tells it."""
    image = MemoryDisk(capture.disks[0].size_bytes)
    copy(capture.disks[0].open, lambda: image)
    whole = Path(f"/tmp/{os.getpid()}.raw")
    try:
        whole.write_bytes(image.read(MIB, image.size_bytes - MIB))
        found = subprocess.run(["debugfs", "-R", f"cat {path}", str(whole)], capture_output=True, check=True).stdout
    finally:
        whole.unlink(missing_ok=True)
    return hashlib.sha256(found).hexdigest(), client.sum(Path(path).name)


def test_increments_hold_what_was_written_and_little_more(qemu_site: QemuSite, make_guest: MakeGuest) -> None:
    guest = make_guest("steady")
    client = guest.boot()
    guest.wait_agent(qemu_site)
    client.be_quiet()
    with qemu_site.captures.capture(request(guest, "c1")) as first:
        assert first.consistency is Consistency.FILESYSTEM, first.reasons
        assert not first.disks[0].is_tracked
        assert "No earlier capture" in first.disks[0].tracker_reason
        first.keep_trackers()
    with qemu_site.captures.capture(request(guest, "c2", vda=tracker_of(first))) as idle:
        assert idle.disks[0].is_tracked
        assert total_bytes(idle.disks[0].changed()) <= 128 * KIB
        idle.keep_trackers()
    client.write("one", 1)
    with qemu_site.captures.capture(request(guest, "c3", vda=tracker_of(idle))) as increment:
        changed = total_bytes(increment.disks[0].changed())
        assert MIB <= changed < 4 * MIB
        assert increment.window.freeze_seconds < 4 * FREEZE_LIMIT_SECONDS
        inside, told = content_hash(increment, "/data/one", client)
        assert inside == told
        increment.keep_trackers()
    assert bitmaps(guest.image) in ([], ["twinhull-c3-vda"])
    assert_nothing_is_left(qemu_site, guest, tracker_of(increment))
    qemu_site.power.stop(guest.machine_id, 60)
    assert bitmaps(guest.image) == ["twinhull-c3-vda"]


def test_a_capture_that_is_not_kept_leaves_the_older_tracker_counting(
    local_site: QemuSite, make_guest: MakeGuest
) -> None:
    guest = make_guest("unkept")
    client = guest.boot()
    guest.wait_agent(local_site)
    since = taken(local_site, request(guest, "k1"))
    client.write("one", 2)
    with local_site.captures.capture(request(guest, "k2", vda=since)):
        pass
    with pytest.raises(RuntimeError, match="disk full"), local_site.captures.capture(request(guest, "k3", vda=since)):
        raise RuntimeError("disk full in the repository")
    assert_nothing_is_left(local_site, guest, since)
    with local_site.captures.capture(request(guest, "k4", vda=since)) as capture:
        assert capture.disks[0].is_tracked
        assert total_bytes(capture.disks[0].changed()) >= 2 * MIB


def test_trackers_go_on_through_off_and_on_again(qemu_site: QemuSite, make_guest: MakeGuest) -> None:
    guest = make_guest("wandering")
    client = guest.boot()
    since = taken(qemu_site, request(guest, "w1"))
    written = client.write("one", 1)
    assert qemu_site.power.stop(guest.machine_id, 60)
    with qemu_site.captures.capture(request(guest, "w2", vda=since)) as stopped:
        assert stopped.consistency is Consistency.SHUT_DOWN
        assert stopped.disks[0].is_tracked, stopped.disks[0].tracker_reason
        assert MIB <= total_bytes(stopped.disks[0].changed()) < 6 * MIB
        stopped.keep_trackers()
    assert bitmaps(guest.image) == ["twinhull-w2-vda"]
    client = guest.boot()
    assert client.sum("one") == written
    client.write("two", 1)
    with qemu_site.captures.capture(request(guest, "w3", vda=tracker_of(stopped))) as running:
        assert running.disks[0].is_tracked, running.disks[0].tracker_reason
        assert MIB <= total_bytes(running.disks[0].changed()) < 6 * MIB
        running.keep_trackers()
    qemu_site.power.kill(guest.machine_id)
    armed = qemu_site.captures.arm_trackers(guest.machine_id, "w4")
    assert armed.keys() == {VDA}
    assert bitmaps(guest.image) == ["twinhull-w4-vda"]


def test_a_tracker_lost_by_a_killed_qemu_is_said_and_replaced(
    local_site: QemuSite, make_guest: MakeGuest, qemu_host: QemuHost
) -> None:
    guest = make_guest("killed")
    guest.boot()
    first = taken(local_site, request(guest, "b1"))
    local_site.power.stop(guest.machine_id, 60)
    client = guest.boot()
    second = taken(local_site, request(guest, "b2", vda=first))
    client.write("one", 1)
    qemu_host.kill_guest("killed")
    wait_off(local_site, guest)
    with local_site.captures.capture(request(guest, "b3", vda=second)) as stopped:
        assert not stopped.disks[0].is_tracked
        assert "missing or broken" in stopped.disks[0].tracker_reason
    guest.boot()
    with local_site.captures.capture(request(guest, "b4", vda=second)) as running:
        assert not running.disks[0].is_tracked
        assert "missing or broken" in running.disks[0].tracker_reason
        running.keep_trackers()
    assert_nothing_is_left(local_site, guest, tracker_of(running))
    with local_site.captures.capture(request(guest, "b5", vda=tracker_of(running))) as healed:
        assert healed.disks[0].is_tracked


def test_a_bitmap_that_was_in_use_when_qemu_was_killed_is_dropped(
    local_site: QemuSite, make_guest: MakeGuest, qemu_host: QemuHost
) -> None:
    guest = make_guest("inuse")
    guest.boot()
    since = taken(local_site, request(guest, "u1"))
    local_site.power.stop(guest.machine_id, 60)
    guest.boot()  # QEMU loads the stored bitmap and marks it as in use
    qemu_host.kill_guest("inuse")
    wait_off(local_site, guest)
    assert bitmaps(guest.image) == ["twinhull-u1-vda"]
    guest.boot()
    with local_site.captures.capture(request(guest, "u2", vda=since)) as capture:
        assert not capture.disks[0].is_tracked
        capture.keep_trackers()
    assert_nothing_is_left(local_site, guest, tracker_of(capture))
    local_site.power.stop(guest.machine_id, 60)
    assert bitmaps(guest.image) == ["twinhull-u2-vda"]


def wait_off(site: QemuSite, guest: Guest) -> None:
    deadline = time.monotonic() + 20
    while not site.power.state(guest.machine_id).is_off:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_only_the_disk_that_cannot_track_is_read_in_full(
    local_site: QemuSite, make_guest: MakeGuest, qemu_host: QemuHost
) -> None:
    raw = qemu_host.images / "mixed-data.raw"
    subprocess.run(["qemu-img", "create", "-q", "-f", "raw", str(raw), "16M"], check=True)
    guest = make_guest("mixed", disks=(GuestDisk(qemu_host.images / "mixed.qcow2"), GuestDisk(raw, "raw")))
    client = guest.boot()
    client.shell("dd if=/dev/urandom of=/dev/vdb bs=64k count=4 conv=fsync; sync")
    told = client.shell("head -c 262144 /dev/vdb | sha256sum").split()[0]
    since = taken(local_site, request(guest, "m1"))
    with local_site.captures.capture(request(guest, "m2", vda=since, vdb=since)) as capture:
        root, data = capture.disks
        assert root.is_tracked
        assert not data.is_tracked
        assert data.tracker_id is None
        assert "not qcow2" in data.tracker_reason
        with closing(data.open()) as disk:
            assert hashlib.sha256(disk.read(0, 256 * KIB)).hexdigest() == told
    raw.unlink()


def test_a_disk_that_is_new_costs_only_itself_a_full_read(
    local_site: QemuSite, make_guest: MakeGuest, qemu_host: QemuHost
) -> None:
    guest = make_guest("added")
    guest.boot()
    since = taken(local_site, request(guest, "n1"))
    new = qemu_host.images / "added-2.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(new), "16M"], check=True)
    guest.domain.attachDevice(
        f"<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{new}'/>"
        "<target dev='vdb' bus='virtio'/></disk>"
    )
    with local_site.captures.capture(request(guest, "n2", vda=since)) as capture:
        assert [(disk.key, disk.is_tracked) for disk in capture.disks] == [("vda", True), ("vdb", False)]
        assert "twinhull-n2-vdb." in tracker_of(capture, 1)
        vda, vdb = tracker_of(capture), tracker_of(capture, 1)
        capture.keep_trackers()
    with local_site.captures.capture(request(guest, "n3", vda=vda, vdb=vdb)) as capture:
        assert [disk.is_tracked for disk in capture.disks] == [True, True]
    local_site.power.kill(guest.machine_id)
    new.unlink()


def test_a_guest_without_an_agent_is_crash_consistent_and_that_is_said(
    local_site: QemuSite, make_guest: MakeGuest
) -> None:
    guest = make_guest("agentless", has_agent=False)
    guest.boot()
    with local_site.captures.capture(request(guest, "a1")) as capture:
        assert capture.consistency is Consistency.CRASH
        assert any("no guest agent" in reason for reason in capture.reasons)


def test_an_agent_that_hangs_costs_the_consistency_and_not_the_capture(
    local_site: QemuSite, make_guest: MakeGuest
) -> None:
    guest = make_guest("hanging")
    client = guest.boot()
    guest.wait_agent(local_site)
    client.shell("kill -STOP $(pidof qemu-ga)")
    with local_site.captures.capture(request(guest, "h1")) as capture:
        assert capture.consistency is Consistency.CRASH
        assert any("does not answer" in reason for reason in capture.reasons)
    assert client.write("alive", 1)


def test_a_forgotten_freeze_is_thawed_unless_the_machine_was_started_since(
    local_site: QemuSite, make_guest: MakeGuest
) -> None:
    guest = make_guest("once-frozen")
    client = guest.boot()
    guest.wait_agent(local_site)
    client.shell("kill -STOP $(pidof qemu-ga)")
    mark = Path(local_site.settings.options["directory"]) / "run" / f"{guest.machine_id}.lock.freeze"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()

    def left() -> list[Leftover]:
        return list(local_site.leftovers.find(guest.machine_id, ()))

    mark.parent.mkdir(parents=True, exist_ok=True)
    for may_be_frozen in ("", f"{boot} {guest.domain.ID()}\n"):
        mark.write_text(may_be_frozen)
        assert [leftover.kind for leftover in left()] == ["frozen guest"]
        with pytest.raises(SiteError, match="thawing machine"):
            local_site.leftovers.clean(left()[0])
        assert mark.exists()
    for started_since in (f"{boot} {guest.domain.ID() + 1}\n", f"another-boot {guest.domain.ID()}\n"):
        mark.write_text(started_since)
        assert [leftover.kind for leftover in left()] == ["note of a freeze before the machine's last start"]
        with local_site.captures.capture(request(guest, "f1")) as capture:
            assert "note of a freeze before the machine's last start" in capture.reasons[0]
        assert left() == []


def test_a_second_capture_of_one_machine_is_refused(qemu_site: QemuSite, make_guest: MakeGuest) -> None:
    guest = make_guest("busy")
    guest.boot()
    with (
        qemu_site.captures.capture(request(guest, "s1")),
        pytest.raises(MachineBusy),
        qemu_site.captures.capture(request(guest, "s2")),
    ):
        pytest.fail("the second capture must not begin")
    with qemu_site.captures.capture(request(guest, "s3")):
        pass


CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
from twinhull.model.machine import MachineId, SiteName
from twinhull.model.ports import system_ports
from twinhull.platforms.contract import CaptureRequest, SiteSettings
from twinhull.platforms.qemu import freeze
from twinhull.platforms.qemu.site import QemuPlatform
uri, directory, hooks, machine, where = sys.argv[2:]
settings = SiteSettings(SiteName("a"), "qemu", uri, {"directory": directory, "hooks_directory": hooks})
site = QemuPlatform().open(settings, system_ports())

def hang():
    print("there", flush=True)
    sys.stdin.readline()

if where == "overwriting":
    from twinhull.platforms.qemu import room
    room.LEAST_BYTES = 0
    room.WATCH_SECONDS = 3600
if where == "frozen":
    import twinhull.platforms.qemu.running as running
    running.RunningCaptures._begin_backup = lambda *_: hang()
with site.captures.capture(CaptureRequest(MachineId(machine), "child-1")) as capture:
    handle = capture.disks[0].open()
    handle.read(0, 4096)
    hang()
"""


@contextmanager
def capturing_child(site: QemuSite, guest: Guest, where: str) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that captures and stays there: with the guest frozen, or reading."""
    settings = site.settings
    source = str(Path(__file__).parents[2] / "src")
    arguments = [
        source,
        settings.uri,
        settings.options["directory"],
        settings.options["hooks_directory"],
        guest.machine_id,
        where,
    ]
    with ExitStack() as stack:
        child = stack.enter_context(
            subprocess.Popen([sys.executable, "-c", CHILD, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        )
        stack.callback(child.kill)
        assert child.stdout
        assert child.stdout.readline() == b"there\n"
        yield child


def test_a_guest_is_thawed_when_the_process_that_froze_it_is_killed(qemu_site: QemuSite, make_guest: MakeGuest) -> None:
    guest = make_guest("thawed")
    client = guest.boot()
    guest.wait_agent(qemu_site)
    with capturing_child(qemu_site, guest, "frozen") as child:
        with pytest.raises(TimeoutError):
            client.ask("write stuck 1", timeout_seconds=3)
        os.kill(child.pid, signal.SIGKILL)
        killed = time.monotonic()
        assert wait_written(client, "after") - killed < 20
    assert client.heartbeat() > 0
    wait_released(qemu_site, guest)
    for leftover in qemu_site.leftovers.find(guest.machine_id, ()):
        qemu_site.leftovers.clean(leftover)
    assert_nothing_is_left(qemu_site, guest)


def wait_written(client: TinyClient, name: str) -> float:
    deadline = time.monotonic() + 60
    while True:
        try:
            client.ask(f"write {name} 1", timeout_seconds=2)
        except TimeoutError:
            assert time.monotonic() < deadline, "the guest stayed frozen"
        else:
            return time.monotonic()


def test_what_a_killed_capture_leaves_is_found_and_cleaned(qemu_site: QemuSite, make_guest: MakeGuest) -> None:
    guest = make_guest("leaving")
    client = guest.boot()
    guest.wait_agent(qemu_site)
    with capturing_child(qemu_site, guest, "reading") as child:
        assert list(qemu_site.leftovers.find(guest.machine_id, ())) == []
        os.kill(child.pid, signal.SIGKILL)
    wait_released(qemu_site, guest)
    found = qemu_site.leftovers.find(guest.machine_id, ())
    assert {leftover.kind for leftover in found} == {"backup job", "tracker"}
    assert qemu_site.leftovers.find(None, ())
    for leftover in found:
        qemu_site.leftovers.clean(leftover)
        qemu_site.leftovers.clean(leftover)
    assert_nothing_is_left(qemu_site, guest)
    assert taken(qemu_site, request(guest, "l1")).startswith("twinhull-l1-vda.")
    assert client.write("alive", 1)


def wait_released(site: QemuSite, guest: Guest) -> None:
    lock = Path(site.settings.options["directory"]) / "run" / f"{guest.machine_id}.lock"
    subprocess.run(["flock", "-w", "20", str(lock), "true"], check=True)


def test_a_capture_after_a_killed_one_needs_no_cleaning_first(local_site: QemuSite, make_guest: MakeGuest) -> None:
    guest = make_guest("again")
    guest.boot()
    with capturing_child(local_site, guest, "reading") as child:
        os.kill(child.pid, signal.SIGKILL)
    wait_released(local_site, guest)
    with local_site.captures.capture(request(guest, "child-1")) as capture:
        capture.keep_trackers()
    assert_nothing_is_left(local_site, guest, tracker_of(capture))


def test_libvirtd_killed_with_a_capture_open_leaves_a_site_that_captures_again(
    local_site: QemuSite, make_guest: MakeGuest, qemu_host: QemuHost
) -> None:
    guest = make_guest("daemonless")
    client = guest.boot()
    since = taken(local_site, request(guest, "d1"))
    client.write("one", 1)
    with local_site.captures.capture(request(guest, "d2", vda=since)) as capture:
        qemu_host.kill_libvirtd()
        assert total_bytes(capture.disks[0].changed()) >= MIB  # QEMU serves on without libvirtd
        qemu_host.start_libvirtd()
    with local_site.captures.capture(request(guest, "d3", vda=since)) as capture:
        assert capture.disks[0].is_tracked
        assert total_bytes(capture.disks[0].changed()) >= MIB
        capture.keep_trackers()
    assert_nothing_is_left(local_site, guest, tracker_of(capture))


@pytest.fixture
def tight_site(qemu_host: QemuHost) -> Iterator[QemuSite]:
    """The same host as a site whose directory has room for next to nothing."""
    directory = qemu_host.directory / "tight"
    directory.mkdir(exist_ok=True)
    qemu_host.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(directory)])
    settings = settings_of(qemu_host, qemu_host.ssh_uri, "tight")
    settings = replace(settings, options={**settings.options, "directory": str(directory)})
    site = QemuPlatform().open(settings, system_ports())
    yield site
    site.guard.withdraw()
    site.close()
    qemu_host.run(["umount", "--lazy", str(directory)])


OVERWRITE = "dd if=/dev/urandom of=/data/one bs=1M count=8 conv=notrunc,fsync 2>/dev/null && echo done"


def test_no_capture_of_a_running_machine_begins_without_room_for_what_it_overwrites(
    tight_site: QemuSite, make_guest: MakeGuest
) -> None:
    guest = make_guest("cramped")
    guest.domain.create()
    with pytest.raises(SiteFull, match="Nothing was begun"), tight_site.captures.capture(request(guest, "t1")):
        pytest.fail("it must not begin")
    assert tight_site.power.state(guest.machine_id) is PowerState.RUNNING
    assert list(tight_site.leftovers.find(guest.machine_id, ())) == []


@pytest.mark.parametrize("watch_seconds", [0.5, 3600.0])
def test_a_capture_is_called_off_rather_than_its_guest_held_up_for_want_of_room(
    tight_site: QemuSite, make_guest: MakeGuest, monkeypatch: pytest.MonkeyPatch, watch_seconds: float
) -> None:
    """Noticed while it goes on, or at its end at the latest."""
    monkeypatch.setattr(room, "LEAST_BYTES", 0)
    monkeypatch.setattr(room, "WATCH_SECONDS", watch_seconds)
    guest = make_guest("overwriting")
    client = guest.boot()
    client.write("one", 8)
    since = taken(tight_site, request(guest, "o1"))

    def overwrite_while_it_is_captured() -> None:
        with tight_site.captures.capture(request(guest, "o2", vda=since)) as capture:
            if watch_seconds > 60:
                with pytest.raises(TimeoutError):
                    client.shell(OVERWRITE, timeout_seconds=5)
                assert tight_site.power.state(guest.machine_id) is PowerState.PAUSED
            else:
                assert client.shell(OVERWRITE).strip() == "done"
                with pytest.raises(DataError):
                    checksum(capture.disks[0].open)

    with pytest.raises(SiteFull, match="stood still because a write failed"):
        overwrite_while_it_is_captured()
    assert tight_site.power.state(guest.machine_id) is PowerState.RUNNING
    assert client.write("two", 1)
    assert list(tight_site.leftovers.find(guest.machine_id, [since])) == []


def test_a_capture_is_called_off_before_any_machine_stands_still_for_want_of_room(
    tight_site: QemuSite, make_guest: MakeGuest, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = iter([room.LEAST_BYTES])
    monkeypatch.setattr(room, "_free_bytes", lambda *_: next(told, 0))
    monkeypatch.setattr(room, "WATCH_SECONDS", 0.2)
    guest = make_guest("shrinking")
    guest.domain.create()

    def read_for_long() -> None:
        with tight_site.captures.capture(request(guest, "p1")) as capture:
            for _ in range(200):
                checksum(capture.disks[0].open)

    with pytest.raises(SiteFull, match="Every machine goes on"):
        read_for_long()
    assert tight_site.power.state(guest.machine_id) is PowerState.RUNNING
    assert list(tight_site.leftovers.find(guest.machine_id, ())) == []


def test_a_guest_goes_on_that_stands_still_for_a_killed_capture(tight_site: QemuSite, make_guest: MakeGuest) -> None:
    guest = make_guest("held-up")
    client = guest.boot()
    client.write("one", 8)
    with capturing_child(tight_site, guest, "overwriting") as child:
        with pytest.raises(TimeoutError):
            client.shell(OVERWRITE, timeout_seconds=5)
        os.kill(child.pid, signal.SIGKILL)
    assert tight_site.power.state(guest.machine_id) is PowerState.PAUSED
    found: list[Leftover] = []
    deadline = time.monotonic() + 30
    while not any(leftover.kind.startswith("backup job") for leftover in found):
        assert time.monotonic() < deadline
        found = list(tight_site.leftovers.find(guest.machine_id, ()))
    assert "backup job for which its machine stood still" in [leftover.kind for leftover in found]
    for leftover in found:
        tight_site.leftovers.clean(leftover)
    assert tight_site.power.state(guest.machine_id) is PowerState.RUNNING
    assert client.write("two", 1)


def test_a_stopped_machine_s_capture_equals_its_disk(qemu_site: QemuSite, make_guest: MakeGuest) -> None:
    guest = make_guest("resting")
    with qemu_site.captures.capture(request(guest, "r1")) as capture:
        captured = checksum(capture.disks[0].open)
    with qemu_site.disks.reading(guest.machine_id, VDA) as door:
        assert checksum(door) == captured
    assert_nothing_is_left(qemu_site, guest)
