"""Seals of standings: a site's host can withhold a standing, or show an older one, and cannot invent one.

The key comes from the repository's key, so that each manager of one repository has the same; a host has none. A seal is
an HMAC-SHA256 over the standing's JSON. An older Twinhull wrote standings without seals: a manager takes those that it
finds at a site over, once, by sealing them; from then on a standing without a seal is not believed there (ADR 18).
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

FIELD = "seal"
KEY_BYTES = 32
_PURPOSE = b"twinhull standing 1\n"


@dataclass(frozen=True, slots=True)
class StandingKeys:
    """The keys that a manager knows, the newest first; none before it has met a repository.

    ``is_strict``: this site's standings have been sealed, so that one without a seal is not believed. ``renew``
    looks for keys that a rotation has added meanwhile, before a seal is called unknown.
    """

    keys: tuple[bytes, ...] = ()
    is_strict: bool = False
    renew: Callable[[], StandingKeys] | None = field(default=None, compare=False)

    def sealed(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """The standing's JSON data with its seal, by the newest key; without one where no key is known."""
        plain = {name: value for name, value in raw.items() if name != FIELD}
        return {**plain, FIELD: _seal(self.keys[0], plain)} if self.keys else plain

    def doubt(self, raw: Mapping[str, Any]) -> str:
        """Why a standing is not believed, as half a sentence; empty where it is, or where no key is known."""
        if not self.keys:
            return ""
        seal = raw.get(FIELD)
        if seal is None:
            return "it has no seal, and its host's standings are sealed" if self.is_strict else ""
        plain = {name: value for name, value in raw.items() if name != FIELD}
        if self.has_sealed(seal, plain) or (self.renew and self.renew().has_sealed(seal, plain)):
            return ""
        return "its seal is not by a key of this repository: it was changed, or is another's"

    def has_sealed(self, seal: object, plain: Mapping[str, Any]) -> bool:
        """Whether the seal is by one of these very keys."""
        return isinstance(seal, str) and any(_is_equal(seal, _seal(key, plain)) for key in self.keys)


def _is_equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(errors="replace"), other.encode())


def _seal(key: bytes, plain: Mapping[str, Any]) -> str:
    return hmac.new(key, _PURPOSE + json.dumps(plain, sort_keys=True).encode(), hashlib.sha256).hexdigest()


NO_KEYS = StandingKeys()
FindKeys = Callable[[], StandingKeys]
"""The keys of now: a site stays open for months, and the repository's keys are rotated meanwhile."""


def no_keys() -> StandingKeys:
    """Stands for the keys of a manager that has met no repository."""
    return NO_KEYS
