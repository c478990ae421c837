"""Guests of the lab's QEMU hosts: defining them, waiting for them, and talking to the service inside."""

from __future__ import annotations

import shutil
import socket
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import libvirt_qemu

from lab.images import TINY_READY, TinyImage
from lab.qemu_host import free_port

if TYPE_CHECKING:
    import libvirt

BOOT_SECONDS = 120
"""How long a guest may take to say that it is ready; the tiny one takes about 6 when the machine is quiet."""


@dataclass(frozen=True)
class GuestDisk:
    """A disk of a guest to be defined: its file and the file's format."""

    path: Path
    format: str = "qcow2"
    bus: str = "virtio"


@dataclass(frozen=True)
class GuestPlan:
    """A machine to be defined. ``log`` gets what the guest writes to its serial line."""

    name: str
    disks: tuple[GuestDisk, ...]
    log: Path
    memory_mib: int = 192
    cpu_count: int = 1
    mac: str = "52:54:00:7e:11:01"
    machine_uuid: str = field(default_factory=lambda: str(uuid.uuid4()))
    has_agent: bool = True
    has_screen: bool = False
    is_uefi: bool = False


def _disk_xml(index: int, disk: GuestDisk) -> str:
    prefix = {"virtio": "vd", "scsi": "sd", "sata": "sd", "ide": "hd"}[disk.bus]
    return (
        f"<disk type='file' device='disk'><driver name='qemu' type='{disk.format}' cache='writeback' discard='unmap'/>"
        f"<source file='{disk.path}'/><target dev='{prefix}{chr(ord('a') + index)}' bus='{disk.bus}'/></disk>"
    )


def _devices_xml(plan: GuestPlan) -> str:
    parts = [_disk_xml(index, disk) for index, disk in enumerate(plan.disks)]
    parts.append(f"<interface type='user'><mac address='{plan.mac}'/><model type='virtio'/></interface>")
    parts.append(f"<serial type='file'><source path='{plan.log}' append='on'/></serial>")
    if plan.has_agent:
        parts.append("<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>")
    if plan.has_screen:
        parts.append("<graphics type='vnc'><listen type='socket'/></graphics><video><model type='vga'/></video>")
    return "".join(parts)


def _os_xml(plan: GuestPlan) -> str:
    if plan.is_uefi:
        chosen = "<firmware><feature enabled='no' name='secure-boot'/></firmware>"
        return f"<os firmware='efi'><type arch='x86_64' machine='q35'>hvm</type>{chosen}<boot dev='hd'/></os>"
    return "<os><type arch='x86_64' machine='pc'>hvm</type><boot dev='hd'/></os>"


def domain_xml(plan: GuestPlan) -> str:
    """Return the libvirt XML of the planned machine, for TCG."""
    return f"""\
<domain type='qemu'><name>{plan.name}</name><uuid>{plan.machine_uuid}</uuid>
<memory unit='MiB'>{plan.memory_mib}</memory><vcpu>{plan.cpu_count}</vcpu>
{_os_xml(plan)}<features><acpi/><apic/></features>
<clock offset='utc'/><on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>destroy</on_crash>
<devices><emulator>/usr/bin/qemu-system-x86_64</emulator>{_devices_xml(plan)}</devices></domain>"""


def tiny_plan(image: TinyImage, directory: Path, name: str, *, is_uefi: bool = False) -> GuestPlan:
    """Return the plan of a tiny guest with a disk of its own (a whole copy of the image) in ``directory``."""
    disk = directory / f"{name}.qcow2"
    shutil.copyfile(image.uefi_qcow2 if is_uefi else image.qcow2, disk)
    # GRUB for UEFI has no room for the kernel in less.
    memory_mib = 320 if is_uefi else 192
    log = directory / f"{name}.log"
    return GuestPlan(name, (GuestDisk(disk),), log, memory_mib=memory_mib, is_uefi=is_uefi)


def define(connection: libvirt.virConnect, plan: GuestPlan) -> libvirt.virDomain:
    """Define the planned machine; it is not started."""
    return connection.defineXML(domain_xml(plan))


def wait_serial(log: Path, text: str = TINY_READY, *, seconds: float = BOOT_SECONDS, count: int = 1) -> str:
    """Wait until ``text`` has appeared ``count`` times in a serial log and return the log.

    Raises:
        TimeoutError: it did not; the sentence ends with the log's tail.
    """
    deadline = time.monotonic() + seconds
    while True:
        seen = log.read_text(errors="replace") if log.exists() else ""
        if seen.count(text) >= count:
            return seen
        if time.monotonic() > deadline:
            raise TimeoutError(f"{log} did not show '{text}' in {seconds} s; it ends with: {seen[-2000:]}")
        time.sleep(0.1)


def forward(domain: libvirt.virDomain, guest_port: int = 7000, *, address: str = "127.0.0.1") -> int:
    """Forward a free local port to a port of a running guest with user networking and return the local one."""
    port = free_port(address)
    command = f"hostfwd_add hostnet0 tcp:{address}:{port}-:{guest_port}"
    answer = libvirt_qemu.qemuMonitorCommand(domain, command, libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP)
    if answer.strip():
        raise RuntimeError(f"QEMU refused '{command}': {answer.strip()}")
    return port


class TinyClient:
    """Speaks with the service inside a tiny guest: one command a connection."""

    def __init__(self, port: int, address: str = "127.0.0.1") -> None:
        self._where = (address, port)

    def ask(self, command: str, *, timeout_seconds: float = 60) -> str:
        """Run one command of the service and return what it printed.

        Raises:
            RuntimeError: the command failed in the guest, or the connection ended before its status came.
            TimeoutError: no answer in time.
        """
        received = b""
        with socket.create_connection(self._where, timeout_seconds) as connection:
            connection.settimeout(timeout_seconds)
            connection.sendall(command.encode() + b"\n")
            while piece := connection.recv(65536):
                received += piece
        text, _, status = received.decode(errors="replace").rpartition("=")
        if status.strip() != "0":
            raise RuntimeError(f"'{command}' in the guest ended with '{status.strip()}': {text.strip()}")
        return text.strip()

    def write(self, name: str, mib: int) -> str:
        """Write that many random MiB durably into a file and return its SHA-256."""
        return self.ask(f"write {name} {mib}").split()[0]

    def sum(self, name: str) -> str:
        """Return the SHA-256 of a file."""
        return self.ask(f"sum {name}").split()[0]

    def shell(self, command: str, *, timeout_seconds: float = 60) -> str:
        """Run a shell command and return what it printed."""
        return self.ask(f"sh {command}", timeout_seconds=timeout_seconds)

    def be_quiet(self) -> None:
        """Stop the heartbeat and wait for what it wrote, so that the guest writes nothing by itself."""
        self.shell("touch /run/quiet; sleep 2; sync")

    def heartbeat(self) -> int:
        """Return how many heartbeats the guest has made durable."""
        return int(self.shell("cat /data/heartbeat").split()[0])
