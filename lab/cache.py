"""The lab's cache: what takes long to build is built once, by one builder, and appears whole or not at all.

An entry is a directory named after this machine's release of Debian and a hash of the files that made it, so that a
changed script makes a new entry, and so does an upgraded machine.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent


def cache_root() -> Path:
    """Return the lab's cache directory (``TWINHULL_LAB_CACHE``, or ``~/.cache/twinhull-lab``), made if missing."""
    root = Path(os.environ.get("TWINHULL_LAB_CACHE") or Path.home() / ".cache" / "twinhull-lab")
    root.mkdir(parents=True, exist_ok=True)
    return root


def release() -> str:
    """Return this machine's release of Debian (``bookworm``, ``trixie``): all images are built from its packages."""
    return platform.freedesktop_os_release()["VERSION_CODENAME"]


def key_of(files: list[Path], *parameters: str) -> str:
    """Return 16 hex digits that change with the content of any of ``files`` and with any parameter."""
    digest = hashlib.sha256()
    for part in [*(file.read_bytes() for file in files), *(parameter.encode() for parameter in parameters)]:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()[:16]


@contextmanager
def _only_builder(lock: Path) -> Iterator[None]:
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def cached(name: str, key: str, build: Callable[[Path], None]) -> Path:
    """Return the cache entry ``name-release-key``; if it is missing, let ``build`` fill a directory that becomes it.

    Two builders of one entry: the second waits for the first. A build that fails leaves nothing behind.
    """
    root = cache_root()
    entry = root / f"{name}-{release()}-{key}"
    with _only_builder(root / f"{name}.lock"):
        for stale in root.glob(f"{name}.building.*"):  # of a builder that was killed: we are the only one now
            shutil.rmtree(stale, ignore_errors=True)
        if not entry.exists():
            work = Path(tempfile.mkdtemp(prefix=f"{name}.building.", dir=root))
            try:
                build(work)
                work.rename(entry)
            finally:
                shutil.rmtree(work, ignore_errors=True)
    return entry
