"""A store in a local directory.

An object is written to a file beside its place, synced, linked to its name (which fails where the name is taken), and
its directory is synced. A crash leaves at most a partial file, which holds no name that anybody reads; the next store
that opens the directory for writing removes it, unless its writer still lives (a writer holds a lock on its file).

A disk that is unmounted leaves an empty directory, or none, or another disk is mounted there: once a store has seen the
repository's config, it writes nothing, and believes that nothing is missing, where that config is gone.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from twinhull.model.ports import Randomness, SystemRandomness
from twinhull.model.units import KIB
from twinhull.repository.errors import (
    ObjectExists,
    ObjectMissing,
    ObjectUnfit,
    RepositoryDamaged,
    StoreError,
    StoreFull,
)
from twinhull.repository.store.contract import (
    CONFIG_NAME,
    MAX_READ_BYTES,
    ObjectInfo,
    check_size,
    checked_name,
    found_name,
)
from twinhull.repository.store.reserve import Reserve

PARTIAL_PREFIX = ".twinhull-partial-"
_SHARDED = ("pack", "index")
"""Kinds with so many objects that they are spread over 256 directories by their first two digits."""
_MAX_CONFIG_BYTES = 64 * KIB
_MAKING_ROOM = ("removal", "collection")
_LAST_WRITTEN = ("config", "point")
"""What is written last when a repository is made, and by a capture: a moment to look after the reserve."""
_HINT_OF_FULL = (
    "Free some space on that disk, or remove points and free theirs at once: 'twinhull points prune MACHINE "
    "--keep-last 3', then 'twinhull repository collect --now'."
)
_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_FOLDER = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_BAD_PLACES = (errno.EIO, errno.EBADMSG, errno.EUCLEAN)
"""What reading a file gives that the disk, or the file system's own checksums, have lost."""


class DirectoryStore:
    """Objects as files: ``KIND/NAME``, packs and indexes as ``KIND/XX/NAME``. Nobody deletes the config."""

    def __init__(self, root: Path, randomness: Randomness | None = None) -> None:
        self.root = root.absolute()
        self._randomness = randomness or SystemRandomness()
        self._config: bytes | None = None

    @property
    def url(self) -> str:
        """The directory as a file URL."""
        return self.root.as_uri()

    def create(self, name: str, parts: Sequence[bytes]) -> None:
        """See ``Store.create``. What makes room is given some of the reserve if there is none."""
        checked_name(name)
        kind, size = name.partition("-")[0], sum(map(len, parts))
        while True:
            try:
                self._create(name, parts)
            except StoreFull:
                if kind not in _MAKING_ROOM or not Reserve(self.root).give_up(size):
                    raise
            else:
                break
        if kind in _LAST_WRITTEN:
            self._fill_reserve()

    def _create(self, name: str, parts: Sequence[bytes]) -> None:
        with self._told(f"write '{name}' to"), self._held() as root:
            path = _path(root, name)
            _make_directory(path.parent)
            with self._partial(path.parent) as (partial, descriptor):
                _write_all(descriptor, parts)
                os.fsync(descriptor)
                try:
                    os.link(partial, path)
                except FileExistsError:
                    raise ObjectExists(f"The object '{name}' already exists in {self.root}.") from None
            _sync_directory(path.parent)
            self._note(name)

    def read(self, name: str, max_bytes: int = MAX_READ_BYTES) -> bytes:
        """See ``Store.read``."""
        with self._opened(name) as descriptor:
            size = os.fstat(descriptor).st_size
            check_size(name, size, max_bytes)
            return _read_at(descriptor, 0, size)

    def read_range(self, name: str, offset_bytes: int, length_bytes: int) -> bytes:
        """See ``Store.read_range``."""
        with self._opened(name) as descriptor:
            left = max(os.fstat(descriptor).st_size - offset_bytes, 0)
            return _read_at(descriptor, offset_bytes, min(length_bytes, left))

    def size(self, name: str) -> int:
        """See ``Store.size``."""
        with self._opened(name) as descriptor:
            return os.fstat(descriptor).st_size

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See ``Store.list``."""
        kind, _, rest = prefix.partition("-")
        folder = self.root / kind
        with self._told("list"):
            shards = sorted(_names(folder)) if kind in _SHARDED else [""]
            for shard in shards:
                if shard and not shard.startswith(rest[:2]):
                    continue
                yield from self._list_folder(folder / shard, prefix)
            self._require_there()  # at the end: what vanished meanwhile is missing in what was listed

    def delete(self, name: str) -> None:
        """See ``Store.delete``."""
        path = self._path(name)
        with self._told(f"delete '{name}' from"):
            try:
                path.unlink()
            except FileNotFoundError:
                self._require_there()
                return
            _sync_directory(path.parent)

    def locked_until(self, name: str) -> datetime | None:
        """See ``Store.locked_until``: directories know no such thing."""
        checked_name(name)
        return None

    def sweep(self) -> int:
        """See ``Store.sweep``: the partial files of writers that are gone."""
        with self._told("sweep"):
            count = sum(_remove_if_orphaned(path) for path in self.root.rglob(f"{PARTIAL_PREFIX}*"))
        self._fill_reserve()
        return count

    def _fill_reserve(self) -> None:
        with self._told("write to"), self._held() as root:
            Reserve(root).fill()

    def _note(self, name: str) -> None:
        """The first config that is met is this store's for good."""
        if name == CONFIG_NAME:
            self._config = self._config or _config_in(self._path(name))
            self._require_there()

    @contextmanager
    def _held(self) -> Iterator[Path]:
        """The repository's directory through an open descriptor: its disk cannot be unmounted, nor another be met."""
        if self._config is None:
            _make_directory(self.root)
        descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            root = Path(f"/proc/self/fd/{descriptor}")
            self._require_there(root)
            yield root
        finally:
            os.close(descriptor)

    def _require_there(self, root: Path | None = None) -> None:
        path = _path(root or self.root, CONFIG_NAME)
        if self._config is not None and not (path.exists() and _config_in(path) == self._config):
            raise StoreError(
                f"The repository is no longer in {self.root}. Nothing was changed there.",
                hint="Check that its disk is mounted.",
            )

    @contextmanager
    def _told(self, action: str) -> Iterator[None]:
        """Say what failed in the repository's words."""
        try:
            yield
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                self._require_there()
            kind = StoreFull if error.errno in _FULL else StoreError
            hint = _HINT_OF_FULL if kind is StoreFull else ""
            raise kind(f"Could not {action} {self.root}: {error.strerror or error}.", hint=hint) from error

    def _path(self, name: str) -> Path:
        return _path(self.root, checked_name(name))

    def _list_folder(self, folder: Path, prefix: str) -> Iterator[ObjectInfo]:
        for name in sorted(_names(folder)):
            if name.startswith(prefix) and not name.startswith("."):
                try:
                    found = (folder / name).stat()
                except OSError:  # deleted since, or a link that leads nowhere
                    if _is_plain(folder / name):
                        raise
                    continue
                if stat.S_ISREG(found.st_mode):
                    yield ObjectInfo(name, found.st_size)

    @contextmanager
    def _partial(self, folder: Path) -> Iterator[tuple[Path, int]]:
        path, descriptor = self._locked_file(folder)
        try:
            yield path, descriptor
        finally:
            path.unlink(missing_ok=True)
            os.close(descriptor)

    def _locked_file(self, folder: Path) -> tuple[Path, int]:
        """A new file that ``sweep`` knows to be in use; one that it swept before we had the lock is made again."""
        while True:
            path = folder / f"{PARTIAL_PREFIX}{self._randomness.token(12).hex()}"
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                return path, descriptor
            os.close(descriptor)

    @contextmanager
    def _opened(self, name: str) -> Iterator[int]:
        with self._told(f"read '{name}' from"):
            path = _path(self.root, found_name(name))
            try:
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            except FileNotFoundError:
                self._require_there()
                raise ObjectMissing(f"There is no object '{name}' in {self.root}.") from None
            except OSError as error:
                if _is_plain(path):
                    raise
                raise self._unfit(name) from error
            try:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):  # what blocks, or never ends
                    raise self._unfit(name)
                self._note(name)
                yield descriptor
            except OSError as error:
                if error.errno not in _BAD_PLACES or name == CONFIG_NAME or not self._is_answering():
                    raise
                raise RepositoryDamaged(
                    f"The object '{name}' in {self.root} cannot be read: {error.strerror}.",
                    hint="The disk has bad sectors, and may lose more. Replace it.",
                ) from error
            finally:
                os.close(descriptor)

    def _unfit(self, name: str) -> ObjectUnfit:
        return ObjectUnfit(f"The object '{name}' in {self.root} is not a regular file.")

    def _is_answering(self) -> bool:
        """Whether the disk, and not the memory before it, still gives the config."""
        try:
            descriptor = os.open(self._path(CONFIG_NAME), os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                return bool(os.pread(descriptor, 1, 0))
            finally:
                os.close(descriptor)
        except OSError:
            return False


def _path(root: Path, name: str) -> Path:
    kind, _, rest = name.partition("-")
    return root / kind / rest[:2] / name if kind in _SHARDED else root / kind / name


def _config_in(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MAX_CONFIG_BYTES)


def _make_directory(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_directory(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    _sync_directory(folder.parent)


def _is_plain(path: Path) -> bool:
    """Whether there is a plain file, and no link, of that name."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def _names(folder: Path) -> list[str]:
    try:
        return [path.name for path in folder.iterdir()]
    except OSError as error:
        if error.errno not in _NO_FOLDER:
            raise
        return []


def _write_all(descriptor: int, parts: Sequence[bytes]) -> None:
    for part in parts:
        view = memoryview(part)
        while view:
            view = view[os.write(descriptor, view) :]


def _read_at(descriptor: int, offset_bytes: int, length_bytes: int) -> bytes:
    data = os.pread(descriptor, length_bytes, offset_bytes)
    while len(data) < length_bytes:
        more = os.pread(descriptor, length_bytes - len(data), offset_bytes + len(data))
        if not more:
            break
        data += more
    return data


def _sync_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_if_orphaned(path: Path) -> bool:
    if not _is_plain(path):  # none of ours
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True
