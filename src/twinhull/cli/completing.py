"""Words for the shell to complete, from what the catalog remembers: quick, and silent where it knows nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from twinhull.model.errors import TwinhullError

if TYPE_CHECKING:
    from twinhull.manager.catalog.catalog import Catalog


def machines(incomplete: str) -> list[str]:
    """Machines by name."""
    return _begun(incomplete, lambda catalog: {machine.name for machine in catalog.machines()})


def plans(incomplete: str) -> list[str]:
    """Plans by name."""
    return _begun(incomplete, lambda catalog: [plan.name for plan in catalog.plans()])


def machines_and_plans(incomplete: str) -> list[str]:
    """Both."""
    return sorted({*machines(incomplete), *plans(incomplete)})


def sites(incomplete: str) -> list[str]:
    """Sites by name."""
    return _begun(incomplete, lambda catalog: [site.name for site in catalog.sites()])


def points(incomplete: str) -> list[str]:
    """The latest points of each machine, the way they are written relative to it."""
    names = _begun("", lambda catalog: {machine.name for machine in catalog.machines()})
    words = [f"{name}:{suffix}" for name in names for suffix in ("N", "N-1", "N-2")]
    return [word for word in words if word.startswith(incomplete)]


def kinds(incomplete: str) -> list[str]:
    """The kinds of runs."""
    from twinhull.manager.runs.kinds.registry import KINDS  # noqa: PLC0415 - loaded for a completion only

    return [word for word in KINDS.words if word.startswith(incomplete)]


def runs(incomplete: str) -> list[str]:
    """The latest runs."""
    return _begun(incomplete, lambda catalog: [run.run_id for run in catalog.runs(last=50)])


def _begun(incomplete: str, words: Callable[[Catalog], Iterable[str]]) -> list[str]:
    from twinhull.manager.catalog.catalog import Catalog  # noqa: PLC0415 - loaded for a completion only
    from twinhull.manager.catalog.state import default_directory  # noqa: PLC0415 - as above

    path = default_directory(os.environ) / "catalog.db"
    if not path.exists():
        return []
    try:
        catalog = Catalog(path)
    except (TwinhullError, OSError):
        # A shell that completes is no place for an error; the command itself will tell it.
        return []
    try:
        # A name with control characters is not offered: the shell would print it as it is.
        return sorted(word for word in words(catalog) if word.startswith(incomplete) and word.isprintable())
    finally:
        catalog.close()
