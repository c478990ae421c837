"""Process 1 of a private host: mounts the host's own directories, starts its daemons, and buries the dead.

Run by ``qemu_host.py`` in new mount, PID and UTS namespaces. Whatever happens to this process happens to the whole
host: when it ends, the kernel kills every daemon and every guest in it, as a power failure would.

Signals: USR1 starts libvirtd (again); TERM ends the host.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

MOUNTS = {
    "etc": "/etc/libvirt",
    "lib": "/var/lib/libvirt",
    "log": "/var/log/libvirt",
    "cache": "/var/cache/libvirt",
    "run": "/run/libvirt",
}


def _start_libvirtd(_signal: int = 0, _frame: FrameType | None = None) -> None:
    subprocess.Popen(["libvirtd", "-p", "/run/libvirt/libvirtd.pid"])


def _start_sshd(config: Path) -> None:
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    subprocess.Popen(["/usr/sbin/sshd", "-D", "-e", "-f", str(config)])


def _end(_signal: int, _frame: FrameType | None) -> None:
    os._exit(0)


def main(directory: Path) -> None:
    """Start the host whose state is in ``directory`` and stay until it ends."""
    for name, where in MOUNTS.items():
        subprocess.run(["mount", "--bind", str(directory / name), where], check=True)
    subprocess.run(["hostname", directory.name], check=True)
    signal.signal(signal.SIGUSR1, _start_libvirtd)
    signal.signal(signal.SIGTERM, _end)
    _start_libvirtd()
    if (directory / "ssh" / "sshd_config").exists():
        _start_sshd(directory / "ssh" / "sshd_config")
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            signal.pause()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
