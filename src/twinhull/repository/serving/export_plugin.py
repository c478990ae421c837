"""The nbdkit plugin behind ``export.py``: runs inside nbdkit, told by one line of JSON on standard input.

nbdkit has a Python of its own, which knows nothing of ours until the first line has come; so the imports are late.

Source: nbdkit-python-plugin(3).
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import sys
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import nbdkit

if TYPE_CHECKING:
    from twinhull.repository.reading.disk import PointDiskReader

API_VERSION = 2
MAX_REQUEST_BYTES = 32 * 1024 * 1024
_disk: PointDiskReader
_order: IO[bytes]
_directory: str
_chunk_size_bytes: int


def config_complete() -> None:
    """Read the order and open the repository."""
    global _directory, _disk, _order, _chunk_size_bytes  # noqa: PLW0603 - a plugin is a module; this is how it keeps what it serves
    _order = os.fdopen(os.dup(0), "rb")  # nbdkit itself lets go of its standard input later
    order = json.loads(_order.readline())
    _directory = order["directory"]
    sys.path[:] = order["path"]
    from twinhull.model.ports import system_ports  # noqa: PLC0415 - see above
    from twinhull.repository import CachedStore, DiskRoot, Repository, open_store  # noqa: PLC0415
    from twinhull.repository.format.ids import ChunkId  # noqa: PLC0415
    from twinhull.repository.format.keyring import Keys  # noqa: PLC0415
    from twinhull.repository.keys.config import Config  # noqa: PLC0415
    from twinhull.repository.reading.readahead import ReadAheadDisk  # noqa: PLC0415

    config = Config(order["repository_id"], order["chunk_size_bytes"])
    keys = Keys([bytes.fromhex(key) for key in order["repository_keys"]])
    store = open_store(order["store_url"])
    near = CachedStore(store, Path(order["cache"])) if order["cache"] else None
    repository = Repository(store, config, keys, system_ports(), near)
    node = ChunkId(bytes.fromhex(order["root"])) if order["root"] else None
    _chunk_size_bytes = config.chunk_size_bytes
    _disk = ReadAheadDisk(repository.reader(), DiskRoot(order["size_bytes"], node))


def after_fork() -> None:
    """Watch for the end of whoever started us."""
    threading.Thread(target=_end_with_our_starter, daemon=True).start()


def _end_with_our_starter() -> None:
    while _order.read(1):
        pass
    nbdkit.shutdown()


def cleanup() -> None:
    """Leave nothing behind, also where nobody is left to tidy up after us."""
    shutil.rmtree(_directory, ignore_errors=True)


def thread_model() -> int:
    """Readers are safe for threads, and most of a read releases Python's lock."""
    return int(nbdkit.THREAD_MODEL_PARALLEL)


def open(readonly: bool) -> bool:  # noqa: A001, FBT001 - nbdkit's names
    """Each connection reads the same disk."""
    return readonly


def get_size(_handle: bool) -> int:  # noqa: FBT001
    """The disk's size in bytes."""
    return _disk.size_bytes


def block_size(_handle: bool) -> tuple[int, int, int]:  # noqa: FBT001
    """Any read is served; whole chunks are served best."""
    return 1, max(_chunk_size_bytes, 512), MAX_REQUEST_BYTES


def can_multi_conn(_handle: bool) -> bool:  # noqa: FBT001
    """All connections see the same."""
    return True


def can_extents(_handle: bool) -> bool:  # noqa: FBT001
    """Zeros are known without being read."""
    return True


def pread(_handle: bool, buffer: bytearray, offset_bytes: int, _flags: int) -> None:  # noqa: FBT001
    """Fill the buffer; EIO where content is lost or the store fails."""
    try:
        buffer[:] = _disk.read(offset_bytes, len(buffer))
    except Exception:
        nbdkit.set_error(errno.EIO)
        raise


def extents(_handle: bool, length_bytes: int, offset_bytes: int, flags: int) -> list[tuple[int, int, Any]]:  # noqa: FBT001
    """Which parts of the range are zeros."""
    found = []
    for extent in _disk.extents(offset_bytes, length_bytes):
        kind = nbdkit.EXTENT_HOLE | nbdkit.EXTENT_ZERO if extent.is_zero else 0
        found.append((extent.offset_bytes, extent.length_bytes, kind))
        if flags & nbdkit.FLAG_REQ_ONE:
            break
    return found
