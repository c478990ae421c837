"""The guard itself, as it runs on a site's host: it refuses to start a machine that this host may not start.

``guard.sh`` runs it with DIRECTORY LIST NAME OPERATION, and libvirt's definition of the machine on standard input. It
must run alone: the standard library of Python 3.9 and nothing of ours.

LIST is a directory beside the guard, on the file system of the host's own configuration. It holds an empty file for
each machine that has a standing here. So a machine whose standing cannot be found (its file system is not mounted) is
told from a machine that never had one. What cannot be read keeps only machines on the list from starting.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shlex
import stat
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID
from xml.etree import ElementTree as ET

DEFINITION_BYTES = 16 << 20
FILE_BYTES = 1 << 20
LOCK_SECONDS = 2.0
"""Whoever only asks whether the disks are open holds their lock for an instant."""
PROGRAM_SECONDS = 60
STARTING = ("prepare", "start")
"""libvirt's operations that can be refused."""
REVERTING = ("prepare", "release")
"""libvirt's operations around a revert: it ends the machine's QEMU, and starts another from the snapshot."""
NOT_PLAIN = (errno.ELOOP, errno.EISDIR)
"""What opening a link or a directory says, where a plain file belongs."""
UNWRITABLE = (errno.EROFS, errno.ENOSPC, errno.EDQUOT)
"""No program can lock a machine's disks for the first time where nothing can be written."""
QCOW2_MAGIC = b"QFI\xfb"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Refusal(Exception):
    """The machine must not start; the message is the reason, and the way on."""


@dataclass(frozen=True)
class Machine:
    """What the guard has to know of a definition. ``images`` are its qcow2 images.

    ``is_opening_twice``: a fully virtualized Xen machine opens them twice while it boots.
    """

    uuid: str
    name: str
    is_on_xen: bool
    is_opening_twice: bool
    images: tuple[str, ...]


def read_machine(definition: bytes, name: str) -> Machine:
    """Understand libvirt's definition; raises Refusal."""
    if len(definition) > DEFINITION_BYTES:
        raise Refusal("its definition is too large to be understood")
    try:
        domain = ET.fromstring(definition)  # noqa: S314 - from libvirtd, which has parsed it; expat bounds entities
        uuid = str(UUID((domain.findtext("uuid") or "").strip()))
    except (ET.ParseError, ValueError) as error:
        raise Refusal(f"its definition cannot be understood ({error})") from error
    is_on_xen = domain.get("type") == "xen"
    is_hvm = (domain.findtext("os/type") or "").strip() == "hvm"
    images = tuple(path for disk in domain.findall("devices/disk") if (path := _image(disk)))
    return Machine(uuid, _printable(name), is_on_xen, is_on_xen and is_hvm, images)


def _image(disk: ET.Element) -> str:
    """The path of a qcow2 image that the machine may write to, or nothing.

    A raw disk's guest could write itself an image, which the host would then open.
    """
    driver, source = disk.find("driver"), disk.find("source")
    is_written = disk.get("device", "disk") in ("disk", "lun") and disk.find("readonly") is None
    if not is_written or driver is None or source is None or driver.get("type") != "qcow2":
        return ""
    path = source.get("file") or source.get("dev") or ""
    return path if path.startswith("/") else ""


def _printable(name: str) -> str:
    return "".join(sign if sign.isprintable() else "?" for sign in name)


def require_may_start(machine: Machine, directory: Path, protected: Path) -> None:
    """Raise Refusal unless this host's standing lets the machine start, or it never had one here."""
    path = directory / "standings" / f"{machine.uuid}.json"
    try:
        content = _read_if_there(path)
    except OSError as error:
        if error.errno in NOT_PLAIN:
            raise Refusal(f"{path} is no plain file") from error
        if is_protected(machine, protected):
            raise Refusal(f"its standing in {path} cannot be read ({error.strerror})") from error
        return
    if content is None:
        if is_protected(machine, protected):
            raise Refusal(
                f"{protected / machine.uuid} says that this host holds a standing of it, and {path} is not there:"
                f" is the file system of {directory} mounted? If it is, and 'twinhull status' names no other side that"
                " has the machine, remove the first file"
            )
        return
    standing = _understood(content, machine, path)
    if standing["role"] == "primary" and not standing["is_dirty"]:
        return
    raise Refusal(_why_not(machine, standing))


def is_protected(machine: Machine, protected: Path) -> bool:
    """Whether a standing of the machine was written here; raises Refusal where that cannot be found out."""
    try:
        if not stat.S_ISDIR(protected.stat().st_mode):
            raise Refusal(f"{protected} is no directory; it lists the machines that have a standing here")
        (protected / machine.uuid).lstat()
    except FileNotFoundError as error:
        if not protected.exists():
            raise Refusal(
                f"{protected} is missing, which lists the machines that have a standing here. "
                "Put it back: twinhull site check SITE"
            ) from error
        return False
    return True


def _read_if_there(path: Path) -> bytes | None:
    """A small file, or None where there is none; raises OSError where it cannot be read, and Refusal for a device."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    with open(descriptor, "rb") as file:  # noqa: PTH123 - it is open already
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Refusal(f"{path} is no plain file")
        return file.read(FILE_BYTES + 1)


def _understood(content: bytes, machine: Machine, path: Path) -> dict[str, Any]:
    try:
        standing = json.loads(content)
        is_whole = (
            len(content) <= FILE_BYTES
            and standing["machine_id"] == machine.uuid
            and standing["role"] in ("primary", "replica", "fenced")
            and isinstance(standing["is_dirty"], bool)
            and type(standing["epoch"]) is int
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        is_whole = False
    if not is_whole:
        raise Refusal(
            f"its standing in {path} is damaged. See with 'twinhull status' which side has the machine; if this one,"
            f" remove the file and run: twinhull sync {shlex.quote(machine.name)}"
        )
    return dict(standing)


def _why_not(machine: Machine, standing: dict[str, Any]) -> str:
    elsewhere = standing.get("elsewhere")
    runs = f", it runs on {_printable(elsewhere)}" if isinstance(elsewhere, str) and elsewhere else ""
    epoch, name = f"(epoch {standing['epoch']})", shlex.quote(machine.name)
    # At home, where it would be a failback, the command says so.
    if standing["role"] == "replica":
        return f"this host holds its replica {epoch}{runs}. To move it here: twinhull failover {name}"
    if standing["role"] == "fenced":
        return f"this host lost it to the other side {epoch}{runs}. To move it here: twinhull failback {name}"
    return f"its disks are between two restore points {epoch}. Finish the run that was at work: twinhull runs resume"


class DisksLock:
    """The lock of a stopped machine's disks, and the mark that the machine is being started."""

    def __init__(self, machine: Machine, directory: Path) -> None:
        self._path = directory / "run" / f"{machine.uuid}.disks"
        self._mark = directory / "run" / f"{machine.uuid}.starting"

    def take(self) -> None:
        """Keep everything else off the disks until this process ends.

        Raises Refusal where something has them open, and OSError where that cannot be found out.
        """
        try:
            descriptor = self._open()
        except FileNotFoundError:
            return  # nothing was ever opened here
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    raise Refusal("its disks are being copied. Try again when that has ended") from error
                time.sleep(0.05)
            else:
                return

    def _open(self) -> int:
        """The lock's file; on a file system that cannot be written, one that is there already."""
        flags = os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(self._path, os.O_RDWR | os.O_CREAT | flags, 0o600)
        except OSError as error:
            if error.errno not in UNWRITABLE:
                raise
            return os.open(self._path, os.O_RDONLY | flags)

    def mark(self) -> None:
        """Say that the machine is being started, until libvirt says how that went: it still calls it off.

        For Xen, which opens disks without locks. The mark counts for a while after it was set, and in this boot of the
        host (see ``holding.py``).
        """
        if self._path.parent.is_dir():
            up_seconds = int(time.clock_gettime(time.CLOCK_BOOTTIME))
            descriptor = os.open(self._mark, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
            with open(descriptor, "w") as mark:  # noqa: PTH123 - it is open already
                mark.write(f"{BOOT_ID.read_text().strip()} {up_seconds}\n")

    def unmark(self) -> None:
        """The machine runs, or is off again. A mark that cannot be removed ends by its age."""
        with suppress(OSError):
            self._mark.unlink(missing_ok=True)


def hold_disks(machine: Machine, disks: DisksLock, protected: Path) -> None:
    """Keep everything else off the disks of a machine that starts; raises Refusal.

    A file system that fails keeps only machines on the list from starting, and one that takes no writes keeps none.
    """
    try:
        disks.take()
        if machine.is_on_xen:
            disks.mark()
    except OSError as error:
        if error.errno not in UNWRITABLE and is_protected(machine, protected):
            raise Refusal(f"its disks cannot be locked: {error.filename or 'the lock'}: {error.strerror}") from error


def drop_bitmaps(image: str, *, is_always: bool) -> None:
    """Take our change trackers out of an image; raises Refusal.

    ``is_always`` for one that is opened twice: QEMU then breaks an image that holds dirty bitmaps. Otherwise only for
    one with snapshots of its owner's in it, for QEMU reverts no image to a snapshot while it holds bitmaps. The next
    capture compares in full.
    """
    try:
        with Path(image).open("rb") as file:
            if file.read(len(QCOW2_MAGIC)) != QCOW2_MAGIC:
                return
    except OSError:
        return  # libvirt says what is wrong with it
    try:
        info = json.loads(_qemu_img("info", "--force-share", "-f", "qcow2", "--output=json", "--", image))
        if not is_always and not info.get("snapshots"):
            return
        bitmaps = info.get("format-specific", {}).get("data", {}).get("bitmaps", [])
        for name in [bitmap["name"] for bitmap in bitmaps if bitmap["name"].startswith("twinhull-")]:
            _qemu_img("bitmap", "--remove", "-f", "qcow2", "--", image, name)
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refusal(f"a change tracker could not be taken out of its image '{image}' ({error})") from error


def clear_way_to_snapshots(machine: Machine) -> None:
    """Let a machine be reverted to its owner's snapshots as if we were not there; no start is refused for it."""
    for image in machine.images:
        try:
            drop_bitmaps(image, is_always=False)
        except Refusal:
            continue  # the revert, if it is one, says what is in its way


def _qemu_img(*words: str) -> bytes:
    done = subprocess.run(
        ["qemu-img", *words], stdin=subprocess.DEVNULL, capture_output=True, timeout=PROGRAM_SECONDS, check=False
    )
    if done.returncode:
        raise OSError(done.stderr.decode(errors="replace").strip()[:500])
    return done.stdout


def guard(machine: Machine, operation: str, directory: Path, protected: Path) -> None:
    """What is done at one operation of libvirt's; raises Refusal."""
    disks = DisksLock(machine, directory)
    if operation == "prepare":
        require_may_start(machine, directory, protected)
        hold_disks(machine, disks, protected)
    try:
        if operation == "prepare" and machine.is_opening_twice:
            for image in machine.images:
                drop_bitmaps(image, is_always=True)
        if operation in REVERTING and not machine.is_on_xen:
            clear_way_to_snapshots(machine)
        if operation in STARTING:
            # Once more after what takes time: a fence may have been written meanwhile.
            require_may_start(machine, directory, protected)
        else:
            disks.unmark()
    except Refusal:
        disks.unmark()
        raise


def main(directory: str, protected: str, name: str, operation: str) -> None:
    """Answer libvirt: the exit status is 0 where the machine may start, and otherwise 1 with the reason."""
    try:
        guard(
            read_machine(sys.stdin.buffer.read(DEFINITION_BYTES + 1), name),
            operation,
            Path(directory),
            Path(protected),
        )
    except Refusal as refusal:
        _refuse(operation, name, str(refusal))
    except Exception as error:  # noqa: BLE001 - whatever it is, it fails closed, and in one sentence
        _refuse(operation, name, f"the guard failed ({type(error).__name__}: {error})")


def _refuse(operation: str, name: str, reason: str) -> None:
    if operation in STARTING:
        sys.stderr.write(f"Twinhull: {_printable(name)} must not start here: {reason}.\n")
        sys.exit(1)


if __name__ == "__main__":
    main(*sys.argv[1:])
