"""Taking off machines what Twinhull left on them: trackers, checkpoints, standings, and on request the replica.

====================  =============================================================================================
what                  goes when
====================  =============================================================================================
trackers and all      always; the next capture compares in full
that a killed run
left
the replica           asked for, it is off, and it is nothing but a copy of a point
the standing of the   the replica is gone and no other site can have the machine: until then it tells which side
primary               holds it
====================  =============================================================================================

What cannot be reached, or must stay, is reported, with the way to take it away later.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twinhull.manager.record.claims import Claims, machine_claim
from twinhull.manager.sites.names import Named
from twinhull.manager.sites.pool import SitePool
from twinhull.model.errors import DataError, MachineBusy, NotFound, SafetyError, SiteError
from twinhull.model.machine import MachineId, Role, SiteName, Standing
from twinhull.platforms.contract import Site


@dataclass(frozen=True, slots=True)
class TakenOff:
    """What was taken away (or would be), and what was left, one sentence each."""

    done: tuple[str, ...] = ()
    left: tuple[str, ...] = ()

    def __add__(self, other: TakenOff) -> TakenOff:
        """Both."""
        return TakenOff((*self.done, *other.done), (*self.left, *other.left))


@dataclass(frozen=True, slots=True)
class Unprotector:
    """Takes things off machines; ``is_dry`` says what it would do, and does nothing.

    ``leave_plan`` is called first, once nothing else works on the machine: ``serve`` would protect it again.
    """

    claims: Claims
    pool: SitePool
    is_dry: bool = False
    leave_plan: Callable[[MachineId], None] | None = None

    def unprotect(self, named: Named, sites: Sequence[SiteName], *, is_removing_replica: bool) -> TakenOff:
        """Everything that can go from these sites; raises MachineBusy while a run works on the machine."""
        name = machine_claim(named.machine_id)
        claim = self.claims.try_take(name, "its protection is being taken away")
        if not claim:
            raise MachineBusy(
                f"{named.name} is being worked on: {self.claims.holder(name)}. Nothing was taken away.",
                hint="Wait for its end, or stop it: twinhull runs list",
            )
        with claim:
            if self.leave_plan and not self.is_dry:
                self.leave_plan(named.machine_id)
            found = sum((self._trackers(named, site) for site in sites), TakenOff())
            if is_removing_replica:
                found += sum((self._replica(named, site) for site in sites), TakenOff())
                found += self._standing(named, sites, found)
            return found

    def _trackers(self, named: Named, name: SiteName) -> TakenOff:
        def take(site: Site) -> TakenOff:
            found = site.leftovers.find(named.machine_id, ()) if site.parts.leftovers else ()
            if not self.is_dry:
                for leftover in found:
                    site.leftovers.clean(leftover)
            return TakenOff(tuple(f"{name}: the {left.kind} '{left.name}' of {named.name}." for left in found))

        return self._on(name, named, take)

    def _replica(self, named: Named, name: SiteName) -> TakenOff:
        def remove(site: Site) -> TakenOff:
            standing = _held(site, named.machine_id)
            if standing is None or standing.role is not Role.REPLICA:
                return TakenOff()
            if standing.is_dirty and standing.applying_point_id is None:
                return TakenOff(left=(f"{name}: the replica of {named.name}, for it may hold what no point has.",))
            if not self.is_dry:
                site.replicas.remove(named.machine_id)
                if _is_there(site, named.machine_id):
                    return TakenOff(left=(f"{name}: {named.name} itself, which Twinhull did not make there.",))
            return TakenOff((f"{name}: the replica of {named.name}, with its disks.",))

        return self._on(name, named, remove)

    def _standing(self, named: Named, sites: Sequence[SiteName], so_far: TakenOff) -> TakenOff:
        """The primary's, when nothing else of the machine is left anywhere."""
        if so_far.left:
            return TakenOff()
        held: dict[SiteName, Standing] = {}

        def look(site: Site) -> TakenOff:
            standing = _held(site, named.machine_id)
            if standing and not (self.is_dry and standing.role is Role.REPLICA):
                held[site.settings.name] = standing
            return TakenOff()

        unseen = sum((self._on(name, named, look) for name in sites), TakenOff())
        if unseen.left or len(held) != 1:
            return unseen + TakenOff(left=tuple(f"{name}: the standing of {named.name}." for name in held))
        [(name, standing)] = held.items()
        if not standing.may_start:
            return TakenOff(left=(f"{name}: the standing of {named.name}, which keeps it from starting there.",))

        def remove(site: Site) -> TakenOff:
            if not self.is_dry:
                site.standings.remove(named.machine_id)
            return TakenOff((f"{name}: the standing of {named.name}; it starts freely.",))

        return self._on(name, named, remove)

    def _on(self, name: SiteName, named: Named, work: Callable[[Site], TakenOff]) -> TakenOff:
        try:
            with self.pool.lease(is_looking=True) as door:  # nothing is put there to take things away
                return work(door(name))
        except (SiteError, SafetyError, DataError) as error:
            return TakenOff(left=(f"{name}: whatever is there of {named.name}: {error.message}",))


def _held(site: Site, machine_id: MachineId) -> Standing | None:
    """The standing there; none on a site that holds no standings."""
    return site.parts.standings.read(machine_id) if site.parts.standings else None


def _is_there(site: Site, machine_id: MachineId) -> bool:
    try:
        site.power.state(machine_id)
    except NotFound:
        return False
    return True
