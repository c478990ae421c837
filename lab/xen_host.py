"""A private Xen host: the Xen of this machine's Debian inside QEMU, restored in seconds from a state saved once.

Building takes about two minutes and is done once (see :mod:`lab.cache`). Every host is a copy of the saved one with a
disk overlay and a port of its own; several live side by side. All share one host key and one client key. If the process
that started a host dies, the host dies with it.
"""

from __future__ import annotations

import shlex
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from lab.cache import HERE, cached, key_of
from lab.images import run_script
from lab.qemu_host import free_port
from lab.qmp import Qmp
from lab.xen_boot import ADDRESS, Boot

BOOT_SECONDS = 600
"""How long a first boot may take; 30 when the machine is quiet."""
RESTORE_SECONDS = 240
"""How long a restored host may take to answer; 3 when the machine is quiet."""
TRY_SECONDS = 30
"""How long one attempt to reach dom0 may take; one when the machine is quiet."""
SHARED_LOGIN = ("-oControlMaster=auto", "-oControlPersist=yes")
"""One login serves all commands: each takes dom0 a second. It ends with the host."""
LEASES = "/var/lib/misc/lab-dhcp.leases"

__all__ = ["ADDRESS", "XenHost"]


def _overlay(disk: Path, base: Path, base_format: str) -> None:
    backing = ["-b", str(base), "-F", base_format]
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *backing, str(disk)], check=True)


def _image() -> Path:
    """Dom0's disk and the kernels."""
    script = HERE / "build_xen_host.sh"
    return cached("xen-image", key_of([script]), lambda work: run_script(script.name, work))


def _save_state(image: Path, work: Path) -> None:
    """Boot the image once and save what it has become: ``base.qcow2``, ``memory`` and ``state``."""
    _overlay(work / "base.qcow2", image / "dom0.raw", "raw")
    boot = Boot(image, work, work, work / "base.qcow2", free_port(ADDRESS), is_restored=False)
    host = XenHost(work, image, boot.port, boot.start())
    try:
        host.wait_ready(BOOT_SECONDS)
        host.run("virsh -c xen:///system list && sync")
        with Qmp(work / "qmp") as qmp:
            qmp.save(work / "state")
    finally:
        host.kill()


def _state(image: Path) -> Path:
    version = subprocess.run(["qemu-system-x86_64", "--version"], check=True, capture_output=True, text=True).stdout
    sources = [HERE / name for name in ("xen_boot.py", "qmp.py")]
    return cached("xen-state", key_of(sources, str(image), version), lambda work: _save_state(image, work))


@dataclass
class XenHost:
    """A running private Xen host; ``directory`` holds its overlay, logs and monitor."""

    directory: Path
    image: Path
    ssh_port: int
    _process: subprocess.Popen[bytes]
    _forwards: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @classmethod
    def start(cls, directory: Path) -> XenHost:
        """Start a fresh host in ``directory`` (made if missing) and wait until it answers.

        A saved state that does not restore is thrown away and built again, once.

        Raises:
            RuntimeError: it could not be built or started; the sentence says where to look.
        """
        directory.mkdir(parents=True, exist_ok=True)
        image = _image()
        state = _state(image)
        try:
            return cls._restore(directory, image, state)
        except (RuntimeError, OSError) as error:
            print(f"the saved state of the Xen host did not restore ({error}); it is made again", file=sys.stderr)
            shutil.rmtree(state, ignore_errors=True)
            return cls._restore(directory, image, _state(image))

    @classmethod
    def _restore(cls, directory: Path, image: Path, state: Path) -> XenHost:
        disk = directory / "disk.qcow2"
        disk.unlink(missing_ok=True)
        _overlay(disk, state / "base.qcow2", "qcow2")
        boot = Boot(image, state, directory, disk, free_port(ADDRESS), is_restored=True)
        host = cls(directory, image, boot.port, boot.start())
        try:
            with Qmp(directory / "qmp") as qmp:
                qmp.restore(state / "state")
            host.wait_ready(RESTORE_SECONDS)
        except BaseException:
            host.kill()
            raise
        return host

    @property
    def pid(self) -> int:
        """The process id of the host's QEMU."""
        return self._process.pid

    @property
    def key_path(self) -> Path:
        """The private key that root of the host accepts."""
        return self.image / "client_key"

    @property
    def known_hosts_path(self) -> Path:
        """A known_hosts file with the host's key, for its port."""
        return self.directory / "known_hosts"

    def __post_init__(self) -> None:
        host_key = (self.image / "host_key.pub").read_text()
        self.known_hosts_path.write_text(f"[{ADDRESS}]:{self.ssh_port} {host_key}")

    @property
    def uri(self) -> str:
        """The libvirt URI over SSH, host key verified."""
        query = f"keyfile={self.key_path}&known_hosts={self.known_hosts_path}&no_tty=1"
        return f"xen+ssh://root@{ADDRESS}:{self.ssh_port}/system?{query}"

    def _ssh(self, *options: str) -> list[str]:
        command = ["ssh", "-p", str(self.ssh_port), "-i", str(self.key_path), "-oIdentitiesOnly=yes", "-oBatchMode=yes"]
        command += [f"-oUserKnownHostsFile={self.known_hosts_path}", "-oGlobalKnownHostsFile=/dev/null"]
        command += ["-oStrictHostKeyChecking=yes", "-oConnectTimeout=30", *options, *SHARED_LOGIN]
        command += [f"-oControlPath={self.directory}/ssh"]
        return [*command, f"root@{ADDRESS}"]

    def run(self, command: str, *, stdin: bytes = b"", timeout_seconds: float = 60) -> str:
        """Run a shell command as root of dom0 and return what it printed.

        Raises:
            RuntimeError: it failed; the sentence ends with what it complained of.
        """
        done = subprocess.run(
            [*self._ssh(), command], input=stdin, capture_output=True, timeout=timeout_seconds, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"'{command}' failed in dom0 ({done.returncode}): {done.stderr.decode().strip()}")
        return done.stdout.decode()

    def wait_ready(self, seconds: float) -> None:
        """Wait until dom0 answers, and give it the right time.

        Raises:
            RuntimeError: it did not answer in time, or its QEMU ended.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                self.run(f"date -u -s @{time.time():.3f}", timeout_seconds=TRY_SECONDS)
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    log = self.directory / "console.log"
                    raise RuntimeError(f"the Xen host did not come up ({error}); its console is in {log}") from error
                time.sleep(0.1)
            else:
                return

    def put(self, source: Path, directory: str) -> str:
        """Copy a file into a directory of dom0 (made if missing), holes not sent; return its path."""
        pack = ["tar", "--sparse", "-C", str(source.parent), "-c", source.name]
        unpack = f"mkdir -p {shlex.quote(directory)} && tar --sparse -C {shlex.quote(directory)} -x"
        with subprocess.Popen(pack, stdout=subprocess.PIPE) as packing:
            subprocess.run([*self._ssh(), unpack], stdin=packing.stdout, check=True)
        return f"{directory}/{source.name}"

    def guest_address(self, mac: str, seconds: float = 60) -> str:
        """Wait until a guest has leased an address on xenbr0 and return it.

        Raises:
            TimeoutError: it has not.
        """
        deadline = time.monotonic() + seconds
        while True:
            for line in self.run(f"cat {LEASES} 2>/dev/null || true").splitlines():
                if line.split()[1].lower() == mac.lower():
                    return line.split()[2]
            if time.monotonic() > deadline:
                raise TimeoutError(f"no guest with the MAC {mac} has leased an address in {seconds} s")
            time.sleep(0.3)

    def forward(self, mac: str, port: int, *, seconds: float = 60) -> int:
        """Return a free local port that reaches a TCP port of the guest with that MAC, for as long as the host runs."""
        address = self.guest_address(mac, seconds)
        local = free_port(ADDRESS)
        options = (
            "-N",
            "-oControlMaster=no",
            "-oControlPath=none",
            "-oExitOnForwardFailure=yes",
            "-L",
            f"{ADDRESS}:{local}:{address}:{port}",
        )
        command = ["setpriv", "--pdeathsig", "KILL", *self._ssh(*options)]
        tunnel = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._forwards.append(tunnel)
        deadline = time.monotonic() + seconds
        while not _listens(local):
            if time.monotonic() > deadline or tunnel.poll() is not None:
                raise RuntimeError(f"no forward to {address}:{port} could be opened")
            time.sleep(0.05)
        return local

    def stop(self) -> None:
        """End the host. Its overlay is thrown away with it, so there is nothing to shut down. Safe to repeat."""
        self.kill()
        for name in ("disk.qcow2", "qmp"):
            (self.directory / name).unlink(missing_ok=True)

    def kill(self) -> None:
        """Pull the plug: dom0 and every guest die at once. Safe to repeat."""
        for process in (*self._forwards, self._process):
            process.kill()
            process.wait()
        self._forwards.clear()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((ADDRESS, port)) == 0


if __name__ == "__main__":
    print(_state(_image()))
