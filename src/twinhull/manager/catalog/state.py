"""The state directory: where the manager keeps its catalog, its runs, its locks and the repository's passphrase."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from twinhull.model.errors import StateError, UsageError
from twinhull.model.redaction import note_secret
from twinhull.repository.store.reserve import Reserve

STATE_VARIABLE = "TWINHULL_STATE"
_ROOT_DIRECTORY = Path("/var/lib/twinhull-manager")


@dataclass(frozen=True, slots=True)
class StateDirectory:
    """A directory of mode 0700 that one user owns."""

    path: Path

    @property
    def catalog(self) -> Path:
        """The catalog's SQLite file."""
        return self.path / "catalog.db"

    @property
    def runs(self) -> Path:
        """The SQLite file of the engine's record of runs."""
        return self.path / "runs.db"

    @property
    def passphrase(self) -> Path:
        """The file (0600) that keeps the repository's passphrase, where the user wanted it kept."""
        return self.path / "passphrase"

    @property
    def standing_keys(self) -> Path:
        """The keys that seal standings."""
        return self.path / "standing-keys"

    @property
    def cache(self) -> Path:
        """Where pieces of a repository that is far away are kept; it may be deleted at any time."""
        return self.path / "cache"

    @property
    def database(self) -> Path:
        """The file that names the PostgreSQL database of runs, where there is one."""
        return self.path / "database"

    def lock(self, name: str) -> Path:
        """The lock file of that name."""
        return self.path / "locks" / f"{name}.lock"

    def make(self) -> None:
        """Create what is missing; raises StateError where the directory cannot be ours alone."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self.path / "locks").mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise StateError(
                f"The state directory {self.path} cannot be made: {error.strerror}.",
                hint=f"Name another one with --state or {STATE_VARIABLE}.",
            ) from error
        self._check_privacy()
        Reserve(self.path).tend()  # what frees a disk must be written down on it

    def _check_privacy(self) -> None:
        status = self.path.stat()
        if status.st_uid != os.geteuid():
            raise StateError(
                f"The state directory {self.path} belongs to another user.",
                hint=f"Name your own with --state or {STATE_VARIABLE}, or become that user.",
            )
        if status.st_mode & 0o077:
            # It holds the way to every site: nobody else has a reason to look.
            self.path.chmod(0o700)


def default_directory(environment: Mapping[str, str]) -> Path:
    """Where the state lies unless the user says otherwise."""
    named = environment.get(STATE_VARIABLE)
    if named:
        return Path(named)
    if os.geteuid() == 0:
        return _ROOT_DIRECTORY
    data = environment.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(data) / "twinhull"


def write_private(path: Path, content: bytes) -> None:
    """Write a small file of mode 0600, durably and as a whole; of two writers at once, the later one's stays."""
    descriptor, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".new", dir=path.parent)
    fresh = Path(name)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, of mode 0600 from the beginning
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def make_private(path: Path) -> None:
    """Make an empty file of mode 0600 if there is none, and nobody else's if there is one; raises StateError.

    SQLite gives its other files (``-wal``, ``-shm``) the mode of the first.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StateError(f"{path} cannot be opened: {error.strerror}.", hint="Is it another user's?") from error


def read_secret(path: Path) -> str:
    """The first line of a file that holds a secret; raises UsageError where it cannot be read or is empty."""
    try:
        secret = path.read_text(encoding="utf-8").split("\n", 1)[0].rstrip("\r")
    except OSError as error:
        raise UsageError(
            f"The passphrase file {path} cannot be read: {error.strerror}.",
            hint="Name another one: --passphrase-file FILE",
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(f"The passphrase file {path} is no text.", hint="It must be a text file in UTF-8.") from error
    if not secret:
        raise UsageError(f"The passphrase file {path} is empty.", hint="Put the passphrase on its first line.")
    note_secret(secret)
    return secret
