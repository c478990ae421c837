"""An embedded libvirt: guests outlive the process, and a freeze does not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.guests import TinyClient, domain_xml, tiny_plan
from lab.images import TinyImage
from lab.qemu_host import QEMU_CONF

pytestmark = pytest.mark.real

CHILD = """
import sys
from pathlib import Path
from lab.guests import forward, wait_serial
from twinhull.model.machine import MachineId, SiteName
from twinhull.model.ports import system_ports
from twinhull.platforms.contract import CaptureRequest, SiteSettings
from twinhull.platforms.qemu.running import RunningCaptures
from twinhull.platforms.qemu.site import QemuPlatform
root, machine, what = sys.argv[1:]
settings = SiteSettings(SiteName("e"), "qemu", f"qemu:///embed?root={root}", options={"directory": f"{root}/th"})
site = QemuPlatform().open(settings, system_ports())
connection = site._connection.get()
if what == "freeze":
    domain = connection.defineXML(Path(f"{root}/guest.xml").read_text())
    site.power.start(MachineId(machine), 1)
    wait_serial(Path(f"{root}/embedded.log"))
    while not site.inventory.machine(MachineId(machine)).agent_answers:
        pass
    def hang(*_):
        print(forward(domain), flush=True)
        sys.stdin.readline()
    RunningCaptures._begin_backup = hang
    with site.captures.capture(CaptureRequest(MachineId(machine), "embed-1")):
        pass
with site.captures.capture(CaptureRequest(MachineId(machine), "embed-1")) as capture:
    print(capture.consistency.value, len(list(site.leftovers.find(None, ()))), flush=True)
site.power.kill(MachineId(machine))
site.close()
"""


@contextmanager
def child(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process with the embedded site open; it is killed with the context."""
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.fixture
def root(short_directory: Path) -> Iterator[Path]:
    """The root of an embedded libvirt; its guest ends with the test."""
    root = short_directory / "embedded"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "qemu.conf").write_text(QEMU_CONF)
    yield root
    pid = root / "run" / "qemu" / "embedded.pid"
    if pid.exists():
        os.kill(int(pid.read_text()), signal.SIGKILL)


def test_a_guest_frozen_by_a_killed_process_is_thawed_without_any_libvirtd(root: Path, tiny: TinyImage) -> None:
    plan = tiny_plan(tiny, root, "embedded")
    (root / "guest.xml").write_text(domain_xml(plan))
    with child(str(root), plan.machine_uuid, "freeze") as process:
        assert process.stdout
        assert process.stderr
        port = process.stdout.readline()
        assert port.strip(), process.stderr.read()
        client = TinyClient(int(port))
        with pytest.raises(TimeoutError):
            client.ask("write stuck 1", timeout_seconds=3)
        os.kill(process.pid, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while True:
        try:
            client.ask("write after 1", timeout_seconds=2)
            break
        except TimeoutError:
            assert time.monotonic() < deadline, "the guest stayed frozen"
    lock = root / "th" / "run" / f"{plan.machine_uuid}.lock"
    subprocess.run(["flock", "-w", "60", str(lock), "true"], check=True)
    with child(str(root), plan.machine_uuid, "capture") as process:
        output, errors = process.communicate(timeout=120)
    assert output == "filesystem 0\n", errors
