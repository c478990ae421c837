"""How a site is reached, and what tells it from every other one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from twinhull.model.machine import SiteName


@dataclass(frozen=True, slots=True)
class SiteSettings:
    """How a site is reached. ``options`` are the platform's own (:mod:`twinhull.platforms.contract.options`)."""

    name: SiteName
    platform: str
    uri: str
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SiteIdentity:
    """What tells a site from every other one: the host that runs now, and our directory there (empty: not made yet).

    A host has another id after each boot; the directory keeps its id.

    Two sites with one host have the same machines; two sites with one directory have the same standings.
    """

    host: str
    directory: str
