"""Words for the shell to complete, from what the catalog remembers: quick, and silent where it knows nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import closing
from typing import TYPE_CHECKING

from twinhull.model.errors import TwinhullError

if TYPE_CHECKING:
    from twinhull.manager.catalog.catalog import Catalog
    from twinhull.manager.catalog.state import StateDirectory


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
    return _beginning(incomplete, _latest_runs)


def _begun(incomplete: str, words: Callable[[Catalog], Iterable[str]]) -> list[str]:
    return _beginning(incomplete, lambda state: _from_catalog(state, words))


def _beginning(incomplete: str, words: Callable[[StateDirectory], Iterable[str]]) -> list[str]:
    from twinhull.manager.catalog.state import StateDirectory, default_directory  # noqa: PLC0415 - for this alone

    state = StateDirectory(default_directory(os.environ))
    if not state.catalog.exists():
        return []
    try:
        found = words(state)
    except (TwinhullError, OSError):
        # A shell that completes is no place for an error; the command itself will report it.
        return []
    # A name with control characters is not offered: the shell would print it as it is.
    return sorted(word for word in found if word.startswith(incomplete) and word.isprintable())


def _from_catalog(state: StateDirectory, words: Callable[[Catalog], Iterable[str]]) -> list[str]:
    from twinhull.manager.catalog.catalog import Catalog  # noqa: PLC0415 - loaded for a completion only

    with closing(Catalog(state.catalog)) as catalog:
        return list(words(catalog))


def _latest_runs(state: StateDirectory) -> list[str]:
    from twinhull.manager.record.database import RunsDatabase  # noqa: PLC0415 - as above
    from twinhull.manager.record.history import RunHistory  # noqa: PLC0415 - as above
    from twinhull.manager.record.location import locate  # noqa: PLC0415 - as above

    with closing(RunsDatabase(locate(state, os.environ))) as database:
        return [run.run_id for run in RunHistory(database).runs(last=50)]
