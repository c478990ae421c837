"""The keys that seal standings: derived from the repository's, and kept so that they are there without it.

``standing-keys`` in the state directory (mode 0600) holds one key a line, in hexadecimal, the newest first. Keys of a
former repository stay: what they sealed is believed until it is written anew.
"""

from __future__ import annotations

from twinhull.manager.catalog import Catalog
from twinhull.manager.state import StateDirectory, write_private
from twinhull.model.errors import StateError
from twinhull.model.machine import SiteName
from twinhull.model.sealing import KEY_BYTES, StandingKeys
from twinhull.repository import Repository

_MOST_KEYS = 64
_SETTING = "sealed-standings:{site}"


def remember_keys(state: StateDirectory, repository: Repository) -> None:
    """Keep the repository's keys for standings, those of its newest repository key first."""
    ring = repository.keys
    derived = [ring.derive("standings", number=number) for number in range(ring.number, 0, -1)]
    known = list(_read(state))
    merged = [*derived, *(key for key in known if key not in derived)][:_MOST_KEYS]
    if merged != known:
        write_private(state.standing_keys, "".join(f"{key.hex()}\n" for key in merged).encode())


def keys_of(state: StateDirectory, catalog: Catalog, site: SiteName) -> StandingKeys:
    """What standings of a site are sealed and believed by."""
    return StandingKeys(_read(state), is_strict=bool(catalog.setting(_SETTING.format(site=site))))


def note_sealed(catalog: Catalog, site: SiteName) -> None:
    """All standings that the site had were sealed."""
    catalog.set(_SETTING.format(site=site), "yes")


def forget_sealed(catalog: Catalog, site: SiteName) -> None:
    """The site is a new one: what it has is taken over once more."""
    catalog.set(_SETTING.format(site=site), "")


def _read(state: StateDirectory) -> tuple[bytes, ...]:
    try:
        keys = tuple(bytes.fromhex(line) for line in state.standing_keys.read_text().split())
    except FileNotFoundError:
        return ()
    except (OSError, ValueError) as error:
        raise _damaged(state) from error
    if any(len(key) != KEY_BYTES for key in keys):
        raise _damaged(state)
    return keys


def _damaged(state: StateDirectory) -> StateError:
    return StateError(
        f"The file {state.standing_keys} cannot be read; standings cannot be checked without it.",
        hint="Remove it: it is written again when the repository is opened.",
    )
