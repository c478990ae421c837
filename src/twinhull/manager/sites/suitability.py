"""Whether a site offers what a plan needs of its source and of its target."""

from __future__ import annotations

from collections.abc import Sequence

from twinhull.manager.sites.pool import SitePool
from twinhull.model.errors import NotSupportedHere, SiteError
from twinhull.model.machine import SiteName

_OF_BOTH = ("power", "standings", "leftovers")
OF_A_SOURCE = ("captures", *_OF_BOTH)
OF_A_TARGET = ("replicas", "disks", *_OF_BOTH)
"""The parts, by their names."""


def require_parts(pool: SitePool, name: SiteName, parts: Sequence[str]) -> None:
    """Refuse a site that lacks one of the parts; raises NotSupportedHere with the site's reason.

    A site that does not answer is not refused: whether it will do is found out when it is used.
    """
    try:
        with pool.lease(is_looking=True) as door:
            for part in parts:
                getattr(door(name), part)  # raises, if it is absent
    except NotSupportedHere:
        raise
    except SiteError:
        return
