"""From the words that people type to machines: a name or a UUID, or a plan's name for all of its machines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from twinhull.manager.catalog.catalog import Catalog
from twinhull.manager.catalog.records import Plan, SeenMachine
from twinhull.manager.sites.overview import Lookout
from twinhull.model.errors import NotFound, SiteUnreachable, UsageError
from twinhull.model.machine import MachineId, SiteName
from twinhull.runs.subject import Subject


@dataclass(frozen=True, slots=True)
class Named:
    """A machine and what to call it."""

    machine_id: MachineId
    name: str

    @classmethod
    def of(cls, subject: Subject) -> Named:
        """The machine that a run is about; raises UsageError where it is about something else."""
        if not subject.is_machine:
            raise UsageError(f"'{subject.name}' is no machine but a {subject.kind.value}.")
        return cls(MachineId(subject.id), subject.name)

    @property
    def subject(self) -> Subject:
        """The machine as what a run is about."""
        return Subject.machine(self.machine_id, self.name)


@dataclass(frozen=True, slots=True)
class Names:
    """Looks into the catalog first, and asks the sites only for what is not known there."""

    catalog: Catalog
    lookout: Lookout

    def machine(self, word: str) -> Named:
        """The machine of that name or UUID; raises NotFound, and UsageError where several have the name."""
        return self._known(word) or self._looked_for(word)

    def machine_on(self, word: str, site: SiteName) -> Named:
        """The machine of that name or UUID on one site right now; raises as ``machine``.

        What was seen earlier is not believed: a machine that was made anew under its name has another UUID. Raises
        SiteUnreachable where the site does not answer.
        """
        view = self.lookout.look([site]).sites[site]
        if not view.is_reachable:
            raise SiteUnreachable(
                f"{site} does not answer, so '{word}' cannot be looked for there: {view.reason}",
                hint=view.hint or f"When it answers again: twinhull site check {site}",
            )
        return self._known(word, site) or self._looked_for(word, site)

    def subject(self, word: str) -> Subject:
        """What a run can be about: a machine, as ``machine`` finds it; ``repository``, ``site:NAME``."""
        known = self._known(word)
        if known:
            return known.subject
        subject = Subject.of_key(word, word.partition(":")[2] or word)
        return self._looked_for(word).subject if subject.is_machine else subject

    def machines(self, word: str) -> tuple[Plan | None, list[Named]]:
        """The machines of a plan in its order, or one machine; a plan's name wins over a machine's."""
        plan = next((plan for plan in self.catalog.plans() if plan.name == word), None)
        if plan:
            return plan, [self.name(machine_id) for machine_id in plan.machines]
        return None, [self.machine(word)]

    def subjects(self, word: str) -> list[Subject]:
        """As ``subject``; a plan's name stands for each of its machines."""
        plan = next((plan for plan in self.catalog.plans() if plan.name == word), None)
        return [self.name(machine_id).subject for machine_id in plan.machines] if plan else [self.subject(word)]

    def name(self, machine_id: MachineId) -> Named:
        """What to call the machine: its name where it was seen, its UUID otherwise."""
        names = [seen.name for seen in self.catalog.machines() if seen.machine_id == machine_id]
        return Named(machine_id, names[0] if names else machine_id)

    def _known(self, word: str, site: SiteName | None = None) -> Named | None:
        return _pick(word, (seen for seen in self.catalog.machines() if site in (None, seen.site)))

    def _looked_for(self, word: str, site: SiteName | None = None) -> Named:
        overview = self.lookout.look()
        found = self._known(word, site)
        if found:
            return found
        silent = [name for name, view in overview.sites.items() if not view.is_reachable and site in (None, name)]
        hint = "'twinhull machine list' shows the machines of all sites."
        if silent:
            hint = f"It may be on {', '.join(silent)}, which does not answer: {overview.sites[silent[0]].reason}"
        if not overview.sites:
            hint = "No site is connected yet: twinhull site add NAME URI"
        where = site or "any site that answers"
        names = {seen.name for seen in self.catalog.machines() if site in (None, seen.site)}
        raise NotFound(f"There is no machine '{word}' on {where}.", hint=f"{did_you_mean(word, names)}{hint}")


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """A question for hints with the names that are like the word; empty where none is."""
    near = get_close_matches(word.lower(), {name.lower(): name for name in names}, n=3)
    known = {name.lower(): name for name in names}
    return f"Did you mean {' or '.join(known[name] for name in near)}? " if near else ""


def _pick(word: str, machines: Iterable[SeenMachine]) -> Named | None:
    found: dict[MachineId, list[SeenMachine]] = {}
    for seen in machines:
        if word in (seen.name, seen.machine_id) or word.lower() == seen.machine_id:
            found.setdefault(seen.machine_id, []).append(seen)
    if len(found) > 1:
        told = "; ".join(f"{machine_id} on {places[0].site}" for machine_id, places in sorted(found.items()))
        raise UsageError(f"Several machines are called '{word}'.", hint=f"Name one by its UUID: {told}.")
    return next((Named(machine_id, places[0].name) for machine_id, places in found.items()), None)
