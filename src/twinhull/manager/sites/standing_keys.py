"""The keys that seal standings, and what is remembered of each site's seals.

``standing-keys`` in the state directory (mode 0600) holds one key a line, in hexadecimal, the newest first, so that the
keys are there without the repository. Keys of a former repository stay: what they sealed is believed until it is
written anew.

The catalog's setting ``sealed-standings:SITE`` is empty before the first contact; then it is JSON: the id of the site's
directory, and the standings that were left there in an older form, because their machines are not this manager's. An
older version wrote ``yes``: every standing there had a seal, which named no host.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from twinhull.manager.catalog.catalog import Catalog
from twinhull.manager.catalog.state import StateDirectory, write_private
from twinhull.manager.sites.editing import remembered_identity
from twinhull.model.errors import StateError
from twinhull.model.machine import MachineId, SiteName
from twinhull.model.sealing import KEY_BYTES, Form, StandingKeys
from twinhull.repository import Repository

_MOST_KEYS = 64
_SETTING = "sealed-standings:{site}"
_SEALED_BY_AN_OLDER_VERSION = "yes"


@dataclass(frozen=True, slots=True)
class _Contact:
    """What the first contact with a site left behind."""

    home: str = ""
    least: Form = Form.NONE
    left: Mapping[MachineId, Form] = field(default_factory=dict)


def remember_keys(state: StateDirectory, repository: Repository) -> None:
    """Keep the repository's keys for standings, those of its newest repository key first."""
    ring = repository.keys
    derived = [ring.derive("standings", number=number) for number in range(ring.number, 0, -1)]
    known = list(_read(state))
    merged = [*derived, *(key for key in known if key not in derived)][:_MOST_KEYS]
    if merged != known:
        write_private(state.standing_keys, "".join(f"{key.hex()}\n" for key in merged).encode())


def keys_of(state: StateDirectory, catalog: Catalog, site: SiteName) -> StandingKeys:
    """What standings of a site are sealed and believed by; those of planned machines are this manager's own."""
    contact = _contact(catalog, site)
    known = remembered_identity(catalog, site)
    return StandingKeys(
        _read(state),
        home=contact.home or (known.directory if known else ""),
        least=contact.least,
        left=contact.left,
        is_own=lambda machine_id: catalog.plan_of(machine_id) is not None,
        settle=lambda home, left: _settle(catalog, site, home, left),
    )


def _settle(catalog: Catalog, site: SiteName, home: str, left: Mapping[MachineId, Form]) -> None:
    told = {"home": home, "left": {machine_id: int(form) for machine_id, form in left.items()}}
    catalog.set(_SETTING.format(site=site), json.dumps(told))


def forget_contact(catalog: Catalog, site: SiteName) -> None:
    """The site is a new one: what it has is taken over once more."""
    catalog.set(_SETTING.format(site=site), "")


def _contact(catalog: Catalog, site: SiteName) -> _Contact:
    noted = catalog.setting(_SETTING.format(site=site)) or ""
    if noted in ("", _SEALED_BY_AN_OLDER_VERSION):
        return _Contact(least=Form.SEALED if noted else Form.NONE)
    found = json.loads(noted)
    left = {MachineId(machine_id): Form(form) for machine_id, form in found["left"].items()}
    return _Contact(found["home"], Form.BOUND if found["home"] else Form.SEALED, left)


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
