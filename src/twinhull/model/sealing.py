"""Seals of standings: a site's host can withhold a standing, or show an older one of its own, and cannot invent one.

The key comes from the repository's key, so that each manager of one repository has the same; a host has none. A seal is
an HMAC-SHA256 over the standing's JSON and the id of the site's directory (``site-id``), as the manager remembers that
id: a copy of another host's standing has the other host's seal. Older versions wrote standings without seals, or with
seals that name no host. A manager seals those of its own machines anew at its first contact with the site, and believes
only bound seals there from then on. Standings of machines that are not its own are left as they are (ADR 18).

Sources: RFC 2104 (HMAC) and RFC 5869 (HKDF).
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from twinhull.model.machine import MachineId

FIELD = "seal"
KEY_BYTES = 32
_BOUND_PREFIX = "2:"


class Form(IntEnum):
    """How much a standing's seal proves; a manager remembers the least that it accepts from a site."""

    NONE = 0
    """No seal."""
    SEALED = 1
    """A key of the repository sealed it, for whichever host."""
    BOUND = 2
    """A key of the repository sealed it for this very host."""


def form_of(raw: Mapping[str, Any]) -> Form:
    """Which form a standing's seal has; whether it is genuine is another question."""
    seal = raw.get(FIELD)
    if seal is None:
        return Form.NONE
    return Form.BOUND if isinstance(seal, str) and seal.startswith(_BOUND_PREFIX) else Form.SEALED


Settle = Callable[[str, Mapping[MachineId, Form]], None]
"""Remembers a first contact: the host's id, and the standings of older forms that were left there, by machine."""


@dataclass(frozen=True, slots=True)
class StandingKeys:
    """The keys that a manager knows, the newest first, and what it knows of one site's seals.

    Before it has met a repository, a manager knows no keys, and believes standings as they are.

    ``home`` is the id of the site's directory. A standing is believed if its seal has the ``least`` form; for machines
    in ``left``, whose standings were not the manager's to seal, the form that is named there is enough. ``is_own`` says
    whose standings are to be sealed. ``renew`` looks for keys that a rotation has added meanwhile, before a seal is
    called unknown. ``settle`` remembers what was sealed and what was left.
    """

    keys: tuple[bytes, ...] = ()
    home: str = ""
    least: Form = Form.NONE
    left: Mapping[MachineId, Form] = field(default_factory=dict)
    is_own: Callable[[MachineId], bool] = field(default=lambda _: True, compare=False)
    renew: Callable[[], StandingKeys] | None = field(default=None, compare=False)
    settle: Settle = field(default=lambda _, __: None, compare=False)

    @property
    def is_due(self) -> bool:
        """Whether standings of an older form may be waiting to be sealed."""
        return bool(self.keys) and (self.least is not Form.BOUND or any(map(self.is_own, self.left)))

    def sealed(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """The standing's JSON data with its seal, by the newest key; without one if no key is known."""
        plain = _plain(raw)
        return {**plain, FIELD: _seal(self.keys[0], plain, self.home)} if self.keys else plain

    def doubt(self, machine_id: MachineId, raw: Mapping[str, Any]) -> str:
        """Why a machine's standing is not believed, as half a sentence; empty if it is, or if no key is known."""
        if not self.keys:
            return ""
        form, least = form_of(raw), self.left.get(machine_id, self.least)
        if form is Form.NONE:
            return "" if least is Form.NONE else "it has no seal, but the other standings of its host have one"
        if not self._is_genuine(raw):
            return (
                "its seal is not from this repository's keys for this host: it was changed, or belongs to "
                "another repository or host"
            )
        return "" if form >= least else "its seal names no host, and its host's standings have seals that do"

    def was_sealed(self, machine_id: MachineId) -> None:
        """The machine's standing has a bound seal now; no lesser one is believed any more."""
        if machine_id in self.left:
            self.settle(self.home, {each: form for each, form in self.left.items() if each != machine_id})

    def _is_genuine(self, raw: Mapping[str, Any]) -> bool:
        if _is_by(self.keys, raw, self.home):
            return True
        return self.renew is not None and _is_by(self.renew().keys, raw, self.home)


def _is_by(keys: tuple[bytes, ...], raw: Mapping[str, Any], home: str) -> bool:
    """Whether one of these keys made the seal, for this host if it is a bound one."""
    seal, is_bound = raw[FIELD], form_of(raw) is Form.BOUND
    if not isinstance(seal, str) or (is_bound and not home):
        return False
    return any(_is_equal(seal, _seal(key, _plain(raw), home if is_bound else "")) for key in keys)


def _plain(raw: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in raw.items() if name != FIELD}


def _is_equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(errors="replace"), other.encode())


def _seal(key: bytes, plain: Mapping[str, Any], home: str) -> str:
    """The bound seal for that host, or without a host the one of the first form."""
    bound = b"twinhull standing 2\n" + home.encode() + b"\n"
    purpose, prefix = (bound, _BOUND_PREFIX) if home else (b"twinhull standing 1\n", "")
    content = purpose + json.dumps(plain, sort_keys=True).encode()
    return prefix + hmac.new(key, content, hashlib.sha256).hexdigest()


NO_KEYS = StandingKeys()
FindKeys = Callable[[], StandingKeys]
"""The keys of now: a site stays open for months, and the repository's keys are rotated meanwhile."""


def no_keys() -> StandingKeys:
    """Stands for the keys of a manager that has met no repository."""
    return NO_KEYS
