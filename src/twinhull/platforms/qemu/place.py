"""Where all of this happens: one site's libvirt, its host, and our directory there."""

from __future__ import annotations

from dataclasses import dataclass

from twinhull.model.ports import Clock
from twinhull.platforms.hosts import Host
from twinhull.platforms.libvirt_connection import LibvirtConnection


@dataclass(frozen=True, slots=True)
class Place:
    """One site. ``directory`` is ours on its host; ``run``, ``scratch``, ``replicas``, ``standings`` lie below it."""

    site: str
    connection: LibvirtConnection
    host: Host
    clock: Clock
    directory: str
