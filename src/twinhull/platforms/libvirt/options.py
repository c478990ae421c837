"""Options of a host behind libvirt."""

from __future__ import annotations

from dataclasses import dataclass

from twinhull.platforms.contract.options import absolute_path, option


@dataclass(frozen=True, slots=True)
class LibvirtOptions:
    """``directory`` is ours on the host; ``hooks_directory`` is where its libvirt looks for hook scripts."""

    directory: str = option(
        "/var/lib/twinhull",
        absolute_path,
        "where replicas, standings and scratch files are kept on the host",
        is_fixed=True,
    )
    hooks_directory: str = option(
        "/etc/libvirt/hooks",
        absolute_path,
        "where the host's libvirt looks for hook scripts: the guard goes there",
        is_fixed=True,
    )
