"""The copy of a running Xen machine's changes, made by a real QEMU that serves no machine."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from twinhull.model.extents import Extent
from twinhull.model.machine import DiskKey, MachineId
from twinhull.model.ports import SystemClock
from twinhull.model.units import KIB, MIB
from twinhull.platforms.xen import running
from twinhull.platforms.xen.qmp import Qmp, talking

pytestmark = pytest.mark.real

SIZE = 64 * MIB
CHANGED = Extent(5 * MIB, 4 * KIB)
PROBES = (Extent(SIZE - 512 * KIB, 128 * KIB), Extent(40 * MIB, 128 * KIB))


def qemu_io(image: Path, *commands: str) -> str:
    words = [word for command in commands for word in ("-c", command)]
    done = subprocess.run(["qemu-io", "-f", "qcow2", *words, str(image)], check=True, capture_output=True, text=True)
    return done.stdout


@pytest.fixture
def qmp(tmp_path: Path) -> Iterator[Qmp]:
    """A QEMU with one tracked disk, which reads 7 everywhere and was changed to 9 in one place."""
    disk, socket = tmp_path / "disk", tmp_path / "qmp"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(disk), str(SIZE)], check=True)
    qemu_io(disk, f"write -P 7 0 {SIZE}")
    subprocess.run(["qemu-img", "bitmap", "--add", str(disk), "twinhull-a-vda"], check=True)
    qemu_io(disk, f"write -P 9 {CHANGED.offset_bytes} {CHANGED.length_bytes}")
    opened = f"driver=qcow2,node-name=disk,file.driver=file,file.filename={disk}"
    words = ["-M", "none", "-nodefaults", "-display", "none", "-S", "-qmp", f"unix:{socket},server=on,wait=off"]
    qemu = subprocess.Popen(["qemu-system-x86_64", *words, "-blockdev", opened])
    clock = SystemClock()
    try:
        while not socket.exists():
            assert qemu.poll() is None
            clock.sleep(0.01)
        with talking(str(socket), MachineId("11111111-2222-4333-8444-555555555555"), clock) as qmp:
            yield qmp
    finally:
        qemu.terminate()
        qemu.wait(10)


def test_changes_are_copied_and_the_probes_and_nothing_else(qmp: Qmp, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    plan = running._Plan(
        index=0,
        key=DiskKey("vda"),
        size_bytes=SIZE,
        node="disk",
        tracker="twinhull-b-vda.0f",
        is_persistent=True,
        since="twinhull-a-vda",
        reason="",
        room_bytes=0,
        image=str(target),
        probes=PROBES,
    )
    words = [str(tmp_path), "1", running._PROBES, str(target), str(SIZE), running._told(PROBES)]
    subprocess.run(["sh", "-c", running._MAKE_ROOM, "twinhull-room", *words], check=True)
    running._add_target(qmp, plan)
    plans, reasons = running._begin(qmp, [plan])
    assert (plans, reasons) == ([plan], [])
    running._finish(qmp, plan)
    mapped = subprocess.run(["qemu-img", "map", str(target)], check=True, capture_output=True, text=True).stdout
    places = [line.split()[:2] for line in mapped.splitlines()[1:]]
    assert places == [["0x500000", "0x100000"], ["0x2800000", "0x100000"], ["0x3f00000", "0x100000"]]
    told = qemu_io(
        target, f"read -P 9 {5 * MIB} {4 * KIB}", *(f"read -P 7 {place.offset_bytes} 128k" for place in PROBES)
    )
    assert "verification failed" not in told
