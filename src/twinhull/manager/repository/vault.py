"""The repository that the manager works with, and the passphrase that opens it.

The passphrase comes from, in this order: a file that is named, the environment, the file that the state directory
keeps (mode 0600). It is never an argument, never in a log and never in a run's facts.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from twinhull.manager.catalog.catalog import Catalog
from twinhull.manager.catalog.state import StateDirectory, read_secret, write_private
from twinhull.model.errors import NotFound, PassphraseMissing
from twinhull.model.ports import Ports, Randomness
from twinhull.repository import (
    DEFAULT_CHUNK_SIZE_BYTES,
    DEFAULT_LEVEL,
    CachedStore,
    KdfCost,
    MemoryStore,
    Repository,
    check_new_passphrase,
)
from twinhull.repository.keys.key_objects import KeyMemory
from twinhull.repository.keys.key_search import MAX_REMEMBERED
from twinhull.repository.store.contract import CONFIG_NAME
from twinhull.repository.store.locate import is_far, open_store

PASSPHRASE_VARIABLE = "TWINHULL_PASSPHRASE"  # noqa: S105 - the name of a variable
_SETTING = "repository"
_LEVEL_SETTING = "compression_level"
_OPENED_SETTING = "opened-keys:{repository}"


@dataclass(frozen=True, slots=True)
class Vault:
    """Where the repository is and how it is opened; ``url`` and ``passphrase_file`` are this call's own, if any."""

    state: StateDirectory
    catalog: Catalog
    environment: Mapping[str, str]
    ports: Ports
    url: str | None = None
    passphrase_file: Path | None = None

    def address(self) -> str:
        """The repository's address; raises NotFound where none was created or named."""
        address = self.url or self.catalog.setting(_SETTING)
        if not address:
            raise NotFound(
                "No repository is known yet.",
                hint="Make one with 'twinhull repository create /path', or name one with --repository.",
            )
        return address

    def is_known(self) -> bool:
        """Whether both the repository and its passphrase are known here."""
        return bool(self.url or self.catalog.setting(_SETTING)) and self.find_passphrase() is not None

    def passphrase(self) -> str:
        """The passphrase; raises PassphraseMissing, and UsageError where its file cannot be read."""
        found = self.find_passphrase()
        if not found:
            raise PassphraseMissing(
                "The repository's passphrase is not known here.",
                hint=f"Give it with --passphrase-file FILE or in {PASSPHRASE_VARIABLE}.",
            )
        return found

    def passphrase_in(self, path: Path | None) -> str:
        """The passphrase in that file, or this repository's own; raises as ``passphrase``."""
        return read_secret(path) if path else self.passphrase()

    def find_passphrase(self) -> str | None:
        """The passphrase, or None where nobody said it."""
        if self.passphrase_file:
            return read_secret(self.passphrase_file)
        if self.environment.get(PASSPHRASE_VARIABLE):
            return self.environment[PASSPHRASE_VARIABLE]
        return read_secret(self.state.passphrase) if self.state.passphrase.exists() else None

    def open(self) -> Repository:
        """The repository; raises RepositoryMissing, WrongPassphrase, RepositoryVersionTooNew, StoreError."""
        store = open_store(self.address())
        near = CachedStore(store, self.state.cache) if is_far(store) else None
        return Repository.open(
            store,
            self.passphrase(),
            ports=self.ports,
            near=near,
            find_passphrase=self.passphrase,
            level=int(self.catalog.setting(_LEVEL_SETTING) or DEFAULT_LEVEL),
            memory=self._memory,
        )

    @property
    def _memory(self) -> KeyMemory:
        return KeyMemory(self._opened_keys, self._note_opened_key)

    def _opened_keys(self, repository_id: str) -> list[str]:
        """The keys that have opened before, the latest first."""
        return (self.catalog.setting(_OPENED_SETTING.format(repository=repository_id)) or "").split()

    def _note_opened_key(self, repository_id: str, name: str) -> None:
        known = self._opened_keys(repository_id)
        if known[:1] != [name]:
            names = [name, *(each for each in known if each != name)][:MAX_REMEMBERED]
            self.catalog.set(_OPENED_SETTING.format(repository=repository_id), " ".join(names))

    def create(
        self,
        url: str,
        passphrase: str,
        *,
        is_keeping: bool,
        chunk_size_bytes: int = DEFAULT_CHUNK_SIZE_BYTES,
        level: int = DEFAULT_LEVEL,
    ) -> Repository:
        """Make a repository and remember it; ``is_keeping`` keeps the passphrase, so that ``serve`` needs nobody.

        ``level`` is zstd's, for all that is written by this manager.
        """
        store = open_store(url)
        check_new_passphrase(passphrase)
        repository = Repository.create(store, passphrase, chunk_size_bytes=chunk_size_bytes, ports=self.ports)
        self._remember(url, passphrase if is_keeping else None, level)
        return repository

    def use(self, url: str, passphrase: str, *, is_keeping: bool, level: int = DEFAULT_LEVEL) -> Repository:
        """Open a repository that exists, and remember it; as ``create``."""
        repository = Repository.open(open_store(url), passphrase, ports=self.ports, memory=self._memory)
        self._remember(url, passphrase if is_keeping else None, level)
        return repository

    def change_passphrase(self, repository: Repository, new_file: Path) -> None:
        """Let the passphrase in that file open the repository from now on; raises as the repository does."""
        new = read_secret(new_file)
        check_new_passphrase(new)
        repository.change_passphrase(self.passphrase(), new)
        self._replace_kept(new)

    def rotate_keys(self, repository: Repository, new_file: Path | None) -> None:
        """Rotate the keys, to be opened by the passphrase in that file or by that of now; raises as the repository."""
        new = self.passphrase_in(new_file)
        if new_file:
            check_new_passphrase(new)
        repository.rotate_keys(self.passphrase(), new)
        self._replace_kept(new)

    def _replace_kept(self, passphrase: str) -> None:
        if self.state.passphrase.exists():
            write_private(self.state.passphrase, passphrase.encode() + b"\n")

    def _remember(self, url: str, passphrase: str | None, level: int) -> None:
        if passphrase:
            write_private(self.state.passphrase, passphrase.encode() + b"\n")
        # A path is kept whole: the next command may be called from another directory.
        self.catalog.set(_LEVEL_SETTING, str(level))
        self.catalog.set(_SETTING, url if "://" in url else str(Path(url).absolute()))


def nothing_stored(ports: Ports) -> Repository:
    """An empty repository in memory, for a run that asks nothing of the real one."""
    return Repository.create(MemoryStore(), new_passphrase(ports.randomness), cost=KdfCost(1, 1, 8), ports=ports)


def require_there(repository: Repository) -> None:
    """Ask before anything is begun: a disk may not be mounted any more; raises StoreError."""
    repository.store.size(CONFIG_NAME)


def new_passphrase(randomness: Randomness) -> str:
    """A passphrase of 160 random bits, in letters and digits that cannot be mixed up on paper."""
    return base64.b32encode(randomness.token(20)).decode().lower()
