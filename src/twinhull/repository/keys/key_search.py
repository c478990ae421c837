"""Finding the objects ``key-…`` that a passphrase opens, at a bounded cost, however many objects an attacker adds.

Stretching a passphrase is what costs. It is done once for each salt and cost that objects name: first those that every
object of this version has, so that the right one is always tried; then those of objects that have opened before, as far
as the caller remembers any; then others, the cheapest first, up to a bound.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from twinhull.model.units import KIB
from twinhull.repository.errors import ObjectMissing, RepositoryDamaged
from twinhull.repository.format.keyring import Keys
from twinhull.repository.keys.passphrases import KdfCost, forms, stretch
from twinhull.repository.keys.wrapping import PREFIX, Wrapped, may_open, parse, shared_salt, unwrap
from twinhull.repository.store.contract import Store

MAX_PLAIN_BYTES = 64 * KIB
"""The most that is read of an object in plain."""
MAX_PARSED = 1024
"""How many objects are read to learn their salts and costs. Of the others the names tell which ones are worth it."""
MAX_WORK = 32 * KdfCost().work
"""The bound on what is spent on other salts and costs than those of this version: some ten seconds."""
MAX_TOLD = 3
"""How many objects are named that hold no key."""
MAX_REMEMBERED = 8
"""How many objects that have opened before are tried in any case, whatever else there is."""
NO_KEY = (ValueError, KeyError, TypeError, RecursionError, ObjectMissing, RepositoryDamaged)
"""What comes of an object that holds no key."""

Group = tuple[KdfCost, bytes]
"""What one stretching serves: a cost and a salt."""


@dataclass(slots=True)
class KeySearch:
    """One search through a store. ``problems`` says, once the search is over, what was wrong with some objects."""

    store: Store
    repository_id: str
    names: Sequence[str]
    opened_before: Collection[str] = ()
    problems: list[str] = field(default_factory=list)
    _spent: int = 0

    @classmethod
    def of(cls, store: Store, repository_id: str, opened_before: Sequence[str] = ()) -> KeySearch:
        """A search among all objects that there are now; those that have opened before come first."""
        remembered = frozenset(opened_before[:MAX_REMEMBERED])
        names = [info.name for info in store.list(PREFIX)]
        return cls(store, repository_id, sorted(names, key=lambda name: name not in remembered), remembered)

    def rings(self, passphrase: str) -> Iterator[tuple[str, Keys]]:
        """The objects that the passphrase opens in any of its forms, and the rings in them; some may come twice."""
        parsed, rest = self.names[:MAX_PARSED], self.names[MAX_PARSED:]
        groups = self._groups(parsed)
        known = {group for group, found in groups.items() if any(each.name in self.opened_before for each in found)}
        if rest:
            groups.setdefault(self._usual, [])
        for form in forms(passphrase):
            for group in sorted(groups, key=lambda group: (group not in known, *self._order(group))):
                if group in known or self._may_spend(group):
                    yield from self._opened(form, group, groups[group], rest)

    @property
    def _usual(self) -> Group:
        return KdfCost(), shared_salt(self.repository_id)

    def _order(self, group: Group) -> tuple[bool, bool, int, bytes]:
        cost, salt = group
        return group != self._usual, salt != self._usual[1], cost.work, salt

    def _may_spend(self, group: Group) -> bool:
        if group == self._usual:
            return True
        if self._spent + group[0].work > MAX_WORK:
            self._tell("too many objects have their own key derivation cost")
            return False
        self._spent += group[0].work
        return True

    def _groups(self, names: Sequence[str]) -> dict[Group, list[Wrapped]]:
        groups: dict[Group, list[Wrapped]] = {}
        for name in names:
            if wrapped := self._parsed(name):
                groups.setdefault((wrapped.cost, wrapped.salt), []).append(wrapped)
        return groups

    def _parsed(self, name: str) -> Wrapped | None:
        try:
            return parse(name, self.store.read_range(name, 0, MAX_PLAIN_BYTES).partition(b"\n")[0])
        except NO_KEY as error:
            self._tell(f"'{name}' is damaged ({error!r})")
            return None

    def _opened(
        self, form: str, group: Group, candidates: Sequence[Wrapped], rest: Sequence[str]
    ) -> Iterator[tuple[str, Keys]]:
        cost, salt = group
        stretched = stretch(form, salt, cost)
        further = (self._parsed(name) for name in rest if may_open(stretched, name))
        for wrapped in (*candidates, *(each for each in further if each)):
            try:
                keys = unwrap(wrapped, stretched, self.repository_id)
            except ValueError as error:
                self._tell(f"'{wrapped.name}' is damaged ({error!r})")
                continue
            if keys:
                yield wrapped.name, keys

    def _tell(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)


def told(problems: Sequence[str]) -> str:
    """Some of the problems, and how many more there are, for the end of a sentence."""
    shown = ", ".join(problems[:MAX_TOLD])
    more = len(problems) - MAX_TOLD
    return f"{shown}, and {more} more" if more > 0 else shown
