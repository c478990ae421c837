"""A block device of this machine as a disk, opened so that nothing else uses it meanwhile.

Exclusive opening is the kernel's own: Linux refuses ``O_EXCL`` for a device that is mounted, is swap, belongs to a
volume group or an array, or has such a partition (open(2)). Programs that open a device plainly, a virtual machine
above all, are not covered by that: they are looked for in ``/proc``, as far as we may look there.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from twinhull.model.errors import DataError, MachineBusy, SiteError
from twinhull.model.extents import Extent
from twinhull.model.units import MIB

_BLKZEROOUT = 0x127F
"""linux/fs.h: write zeros over a range of a device, by unmapping it if that reads as zeros."""
_DEVICES = Path("/sys/dev/block")
_ZEROS = bytes(MIB)


class BlockDevice:
    """A disk over a descriptor that its opener closes. Threads may share it: a descriptor's position is not used."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._size_bytes = os.lseek(descriptor, 0, os.SEEK_END)

    @property
    def size_bytes(self) -> int:
        """The device's size."""
        return self._size_bytes

    def extents(self, offset_bytes: int, length_bytes: int) -> Iterator[Extent]:
        """One extent: a device does not say where it is zero."""
        yield Extent(offset_bytes, length_bytes)

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        """The bytes of the range; raises DataError."""
        found = bytearray()
        while len(found) < length_bytes:
            with self._telling("read"):
                part = os.pread(self._descriptor, length_bytes - len(found), offset_bytes + len(found))
            if not part:
                raise DataError(f"{self._path} ends at byte {offset_bytes + len(found)}, before its size.")
            found += part
        return bytes(found)

    def write(self, offset_bytes: int, data: bytes) -> None:
        """Write; raises DataError."""
        done = 0
        while done < len(data):
            with self._telling("written"):
                done += os.pwrite(self._descriptor, memoryview(data)[done:], offset_bytes + done)

    def zero(self, offset_bytes: int, length_bytes: int) -> None:
        """Make the range read as zeros, giving its space back if the device can."""
        with suppress(OSError):  # the range is no multiple of the device's blocks
            fcntl.ioctl(self._descriptor, _BLKZEROOUT, struct.pack("QQ", offset_bytes, length_bytes))
            return
        for start in range(0, length_bytes, len(_ZEROS)):
            self.write(offset_bytes + start, _ZEROS[: length_bytes - start])

    def flush(self) -> None:
        """Return when everything written is durable; raises DataError."""
        with self._telling("flushed"):
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Nothing: the descriptor is its opener's."""

    @contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise DataError(f"{self._path} could not be {what}: {error.strerror}.") from error


@contextmanager
def exclusively(path: Path) -> Iterator[BlockDevice]:
    """As a context: the device that ``path`` names (or links to), for us alone.

    Raises MachineBusy where something uses it, and SiteError where it cannot be opened, or is no block device.
    """
    descriptor = _open(path)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISBLK(status.st_mode):
            raise SiteError(f"{path} is no longer a block device; nothing was written.")
        users = _users(status.st_rdev)
        if users:
            raise MachineBusy(
                f"{path} is in use by {', '.join(users)}; nothing was written.",
                hint="Stop that first, or restore to a file.",
            )
        yield BlockDevice(path, descriptor)
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_EXCL | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise MachineBusy(
                f"{path} is mounted, or used as swap or by a volume group or an array; nothing was written.",
                hint=f"To see what uses it: lsblk {path}",
            ) from error
        raise SiteError(f"{path} cannot be opened for writing: {error.strerror}. Nothing was written.") from error


def _users(device: int) -> list[str]:
    """The other programs that hold the device, its disk or one of its partitions open."""
    family = _family(device)
    entries = (entry for process in Path("/proc").glob("[0-9]*") for entry in _open_files(process))
    return sorted({_program(entry) for entry in entries if _is_open(entry, family)})


def _open_files(process: Path) -> list[Path]:
    with suppress(OSError):  # it has ended, or is another user's
        return list((process / "fd").iterdir())
    return []


def _is_open(entry: Path, family: set[int]) -> bool:
    if entry.parts[2] == str(os.getpid()):
        return False
    with suppress(OSError):  # it has ended, or is another user's
        status = entry.stat()
        return stat.S_ISBLK(status.st_mode) and status.st_rdev in family
    return False


def _program(entry: Path) -> str:
    with suppress(OSError):
        return f"{(entry.parents[1] / 'comm').read_text().strip()} (process {entry.parts[2]})"
    return f"process {entry.parts[2]}"


def _family(device: int) -> set[int]:
    """The device, its partitions, and the disk that it is a partition of."""
    here = (_DEVICES / f"{os.major(device)}:{os.minor(device)}").resolve()
    parent = [here.parent / "dev"] if (here / "partition").exists() else []
    return {device, *(_number(path) for path in (*parent, *here.glob("*/dev")))}


def _number(path: Path) -> int:
    major, _, minor = path.read_text().strip().partition(":")
    return os.makedev(int(major), int(minor))
