"""A private QEMU/libvirt host on this machine: its own libvirtd, namespaces, identity and (if wanted) SSH server.

Several of them live side by side. No systemd, no dbus, nothing outside their own directory but two mount points and the
user that libvirt's QEMU driver insists on. If the process that started a host dies, the host dies with it.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

import libvirt

from lab.cache import HERE
from lab.host_init import MOUNTS

START_SECONDS = 60
"""How long a libvirtd may take to answer; it takes about one when the machine is quiet."""

LONGEST_DIRECTORY = 70
"""Characters of a host's directory: the kernel allows 107 for a unix socket's path, and libvirt's are below it."""

# Without this, libvirt prints each error that we handle.
libvirt.registerErrorHandler(lambda _context, _error: None, None)

QEMU_CONF = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
stdio_handler = "file"
max_core = 0
"""

_LIBVIRTD_CONF = """\
host_uuid = "{host_uuid}"
auth_unix_rw = "none"
auth_unix_ro = "none"
unix_sock_group = "root"
log_outputs = "2:file:/var/log/libvirt/libvirtd.log"
"""

_SSHD_CONFIG = """\
Port {port}
ListenAddress {address}
HostKey {directory}/ssh/host_key
PidFile {directory}/ssh/sshd.pid
AuthorizedKeysFile {directory}/ssh/user_key.pub
PermitRootLogin prohibit-password
PasswordAuthentication no
UsePAM no
StrictModes no
MaxStartups 100
MaxSessions 100
Subsystem sftp internal-sftp
"""


def ensure_libvirt_user() -> None:
    """Make the user and group libvirt-qemu (64055, as Debian's package would) if this machine has none."""
    try:
        pwd.getpwnam("libvirt-qemu")
    except KeyError:
        subprocess.run(["groupadd", "--force", "--system", "--gid", "64055", "libvirt-qemu"], check=True)
        subprocess.run(
            ["useradd", "--system", "--uid", "64055", "--gid", "64055", "--no-create-home", "libvirt-qemu"], check=True
        )


def free_port(address: str) -> int:
    """Return a TCP port on ``address`` that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((address, 0))
        port = probe.getsockname()[1]
    return int(port)


def _make_key(path: Path) -> None:
    if not path.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


@dataclass(frozen=True)
class SshAccess:
    """How to reach a host over SSH: where its server listens, our key, and a file with its host key."""

    address: str
    port: int
    key: Path
    known_hosts: Path


def _prepare_ssh(directory: Path, address: str) -> SshAccess:
    ssh = directory / "ssh"
    ssh.mkdir(exist_ok=True)
    for name in ("host_key", "user_key"):
        _make_key(ssh / name)
    port = free_port(address)
    (ssh / "sshd_config").write_text(_SSHD_CONFIG.format(port=port, address=address, directory=directory))
    host_key = (ssh / "host_key.pub").read_text()
    (ssh / "known_hosts").write_text(f"[{address}]:{port} {host_key}")
    return SshAccess(address, port, ssh / "user_key", ssh / "known_hosts")


def _add_idle_hook(path: Path) -> None:
    """Put a hook that allows everything: libvirtd asks hooks only if it found one when it started."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\nexit 0\n")
    path.chmod(0o755)


def _prepare(directory: Path) -> None:
    """Lay out the directories of a host that boots now: what lives in /run does not survive a boot."""
    shutil.rmtree(directory / "run", ignore_errors=True)
    for name, mount_point in MOUNTS.items():
        (directory / name).mkdir(parents=True, exist_ok=True)
        Path(mount_point).mkdir(parents=True, exist_ok=True)
    for name in ("images", "etc/hooks"):
        (directory / name).mkdir(exist_ok=True)
    identity = directory / "host_uuid"
    if not identity.exists():
        identity.write_text(str(uuid.uuid4()))
    (directory / "etc" / "qemu.conf").write_text(QEMU_CONF)
    _add_idle_hook(directory / "etc" / "hooks" / "qemu.d" / "idle")
    config = _LIBVIRTD_CONF.format(host_uuid=identity.read_text())
    (directory / "etc" / "libvirtd.conf").write_text(config)


class QemuHost:
    """A running private host. ``directory`` holds all its state; ``images`` in it is for disks.

    The host's own view differs from ours in libvirt's fixed directories only (``/etc/libvirt``, ``/run/libvirt`` and so
    on are ``etc``, ``run`` … below ``directory``); every other path means the same file inside and outside.
    """

    def __init__(self, directory: Path, process: subprocess.Popen[bytes], ssh: SshAccess | None) -> None:
        self.directory = directory
        self.ssh = ssh
        self._process = process

    @classmethod
    def start(cls, directory: Path, *, ssh_address: str | None = None) -> QemuHost:
        """Boot a host in ``directory`` (made if missing, used again if not) and wait until libvirtd answers.

        With ``ssh_address`` (some 127.0.0.x) an SSH server of the host listens there on a free port.

        Raises:
            ValueError: the directory's path is too long for the unix sockets below it.
            RuntimeError: libvirtd did not come up; the sentence says where its log is.
        """
        directory = directory.resolve()
        if len(str(directory)) > LONGEST_DIRECTORY:
            raise ValueError(f"{directory} is too long for unix sockets below it ({LONGEST_DIRECTORY} at most)")
        ensure_libvirt_user()
        _prepare(directory)
        ssh = _prepare_ssh(directory, ssh_address) if ssh_address else None
        host = cls(directory, cls._spawn(directory), ssh)
        try:
            host.wait_ready()
        except BaseException:
            host.kill()
            raise
        return host

    @staticmethod
    def _spawn(directory: Path) -> subprocess.Popen[bytes]:
        namespaces = ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child=KILL", "--mount-proc"]
        command = ["setpriv", "--pdeathsig", "KILL", *namespaces, "--propagation", "private"]
        init = [sys.executable, "-m", "lab.host_init", str(directory)]
        with (directory / "log" / "host.log").open("ab") as log:
            return subprocess.Popen(
                command + init,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=HERE.parent,
                start_new_session=True,
            )

    @property
    def images(self) -> Path:
        """Where the host's disks are."""
        return self.directory / "images"

    @property
    def hooks(self) -> Path:
        """The host's directory of libvirt hooks, as seen from outside."""
        return self.directory / "etc" / "hooks"

    @property
    def uri(self) -> str:
        """The libvirt URI over the host's unix socket."""
        return f"qemu+unix:///system?socket={self.directory}/run/libvirt-sock"

    @property
    def ssh_uri(self) -> str:
        """The site's URI over SSH; the host must have been started with an SSH address."""
        if self.ssh is None:
            raise RuntimeError("this host was started without an SSH server")
        where = f"root@{self.ssh.address}:{self.ssh.port}"
        return f"qemu+ssh://{where}/system?keyfile={self.ssh.key}&known_hosts={self.ssh.known_hosts}"

    def connect(self) -> libvirt.virConnect:
        """Open a connection of one's own; the caller closes it."""
        return libvirt.open(self.uri)

    def wait_ready(self) -> None:
        """Wait until libvirtd answers.

        Raises:
            RuntimeError: it did not, in START_SECONDS.
        """
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.connect().close()
            except libvirt.libvirtError as error:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    log = self.directory / "log"
                    raise RuntimeError(f"libvirtd did not come up ({error}); its logs are in {log}") from error
                time.sleep(0.05)
            else:
                return

    def _init_pid(self) -> int:
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        return int(children[0])

    def run(self, argv: list[str], *, timeout_seconds: float = 60) -> str:
        """Run a command inside the host and return what it printed; raises CalledProcessError."""
        inside = ["nsenter", "--target", str(self._init_pid()), "--mount", "--uts", "--pid", *argv]
        done = subprocess.run(inside, check=True, capture_output=True, text=True, timeout=timeout_seconds)
        return done.stdout

    def kill_libvirtd(self) -> None:
        """Kill the daemon with -9; guests go on."""
        pid = (self.directory / "run" / "libvirtd.pid").read_text().strip()
        # A dying daemon still holds the lock of its pid file, and the next one would give up on that.
        until_dead = 'kill -9 "$1"; while kill -0 "$1" 2>/dev/null; do sleep 0.02; done'
        self.run(["sh", "-c", until_dead, "kill", pid])

    def start_libvirtd(self) -> None:
        """Start the daemon again and wait until it answers."""
        os.kill(self._init_pid(), signal.SIGUSR1)
        self.wait_ready()

    def kill_guest(self, name: str) -> None:
        """Kill a guest's QEMU with -9, as a crash of QEMU would."""
        self.signal_guest(name, "KILL")

    def signal_guest(self, name: str, sign: str) -> None:
        """Send a guest's QEMU a signal: STOP makes it hang, as waiting for dead storage does, until CONT."""
        pid = (self.directory / "run" / "qemu" / f"{name}.pid").read_text().strip()
        self.run(["kill", f"-{sign}", pid])

    def stop(self) -> None:
        """End every guest the way libvirt does, then the host. Safe to repeat."""
        if self._process.poll() is None:
            connection = self.connect()
            try:
                for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
                    domain.destroy()
            finally:
                connection.close()
        self.kill()

    def kill(self) -> None:
        """Pull the plug: every process of the host dies at once, guests included. Safe to repeat."""
        self._process.kill()
        self._process.wait()
