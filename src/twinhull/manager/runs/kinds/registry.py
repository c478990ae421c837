"""All kinds of runs. A new kind is a file of its own beside this one, and a line here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from twinhull.actions.context import Context
from twinhull.actions.requests import Request
from twinhull.manager.catalog.records import RunRecord
from twinhull.manager.runs.kinds.collect import COLLECT
from twinhull.manager.runs.kinds.kind import Kind
from twinhull.manager.runs.kinds.move import FAILBACK, FAILOVER
from twinhull.manager.runs.kinds.reconcile import RECONCILE
from twinhull.manager.runs.kinds.remove import PRUNE, REMOVE
from twinhull.manager.runs.kinds.restore import RESTORE
from twinhull.manager.runs.kinds.rollback import ROLLBACK
from twinhull.manager.runs.kinds.sync import SYNC
from twinhull.manager.runs.kinds.verify import VERIFY
from twinhull.model.errors import NotFound
from twinhull.model.steps import Action
from twinhull.runs.subject import SubjectKind

_UNKNOWN: Kind[Request] = Kind(Action("unknown"), Request, SubjectKind.MACHINE)
"""Stands for the kinds of newer versions: it has no steps, and holds its subject like most kinds."""


class Registry:
    """Kinds by their words."""

    def __init__(self, kinds: Iterable[Kind[Any]]) -> None:
        self._kinds: dict[str, Kind[Any]] = {}
        for kind in kinds:
            self.register(kind)

    def register(self, kind: Kind[Any]) -> None:
        """Make a kind known; raises ValueError where its word is taken."""
        if kind.word in self._kinds:
            raise ValueError(f"there is a kind of run '{kind.word}' already")
        self._kinds[kind.word] = kind

    def forget(self, word: str) -> None:
        """Make a kind unknown again."""
        del self._kinds[word]

    @property
    def words(self) -> list[str]:
        """All of them, in the order in which they were registered."""
        return list(self._kinds)

    @property
    def actions(self) -> Mapping[str, Action[Context]]:
        """What the engine carries out, by the word."""
        return {word: kind.action for word, kind in self._kinds.items()}

    def named(self, word: str) -> Kind[Any]:
        """The kind of that word; raises NotFound."""
        if word not in self._kinds:
            raise NotFound(f"There is no kind of run '{word}'.", hint=f"The kinds are: {', '.join(self.words)}.")
        return self._kinds[word]

    def is_reading(self, word: str) -> bool:
        """Whether runs of that kind change nothing of their subject."""
        return self._kinds.get(word, _UNKNOWN).is_reading

    def of(self, run: RunRecord) -> Kind[Any]:
        """The kind of a run; of one that a newer version began, a stand-in that knows nothing of it."""
        return self._kinds.get(run.kind, _UNKNOWN)


KINDS = Registry([SYNC, FAILOVER, FAILBACK, ROLLBACK, RESTORE, RECONCILE, COLLECT, PRUNE, REMOVE, VERIFY])
