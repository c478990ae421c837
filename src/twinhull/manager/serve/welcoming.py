"""Sites that fall silent or come back: told, kept connected, and cleaned of what killed processes left there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from twinhull.manager.manager import Manager
from twinhull.manager.record.claims import machine_claim
from twinhull.manager.runs.kinds.registry import KINDS
from twinhull.manager.sites.guards import note_guard
from twinhull.manager.sites.overview import SiteView
from twinhull.model.machine import MachineId, SiteName
from twinhull.platforms.contract import Leftover, Site
from twinhull.runs import failures

Tell = Callable[[str, dict[str, object]], None]
"""Hears of everything that happens: a word for what it is, and its facts, a reason always among them."""


@dataclass
class Welcome:
    """Called for each site in that site's own thread. ``machines`` are all that ``serve`` knows of."""

    manager: Manager
    tell: Tell
    machines: Callable[[], Collection[MachineId]]
    _held: dict[SiteName, ExitStack] = field(default_factory=dict)

    def __call__(self, view: SiteView) -> None:
        """The site answers from here on, or does not."""
        self._hold(view)
        if not view.is_reachable:
            self._tell(view, "unreachable", f"does not answer: {view.reason}")
            return
        self._tell(view, "reachable", f"answers, {len(view.machines)} machines")
        self._clean(view.settings.name)

    def _tell(self, view: SiteView, state: str, reason: str) -> None:
        self.tell("site", {"site": view.settings.name, "state": state, "reason": reason})

    def _hold(self, view: SiteView) -> None:
        """Keep the connection to a site that answers, for the next look and the next run; let go of a broken one."""
        site = view.settings.name
        held = self._held.pop(site, None)
        if held:
            held.close()
        if not view.is_reachable:
            return
        with ExitStack() as stack:
            try:
                note_guard(self.manager.catalog, stack.enter_context(self.manager.pool.lease())(site))
            except Exception as error:  # noqa: BLE001 - as any odd answer of a site: told, and nobody else's trouble
                self.tell("site", {"site": site, "reason": f"could not be kept open: {_told(error)}"})
                return
            self._held[site] = stack.pop_all()

    def _clean(self, site: SiteName) -> None:
        """Remove what killed processes left on a site that has just come (back); of each machine by itself."""

        def report(machine_id: MachineId, error: Exception) -> None:
            name = self.manager.names.name(machine_id).name
            self.tell("site", {"site": site, "reason": f"could not be cleaned of what {name} left: {_told(error)}"})

        try:
            with self.manager.pool.lease() as door:
                for leftover in door(site).leftovers.find(None, (), report):
                    self._clean_one(door(site), leftover)
        except Exception as error:  # noqa: BLE001 - as above
            self.tell("site", {"site": site, "reason": f"could not be cleaned: {_told(error)}"})

    def _clean_one(self, site: Site, leftover: Leftover) -> None:
        what = f"{leftover.kind} {leftover.name}"
        try:
            with self._alone(leftover) as is_nobodys:
                if is_nobodys:
                    site.leftovers.clean(leftover)
                    self.tell("clean", {"site": site.settings.name, "reason": f"{what} was left behind"})
        except Exception as error:  # noqa: BLE001 - as above; the next start finds it again
            self.tell("site", {"site": site.settings.name, "reason": f"{what} could not be removed: {_told(error)}"})

    @contextmanager
    def _alone(self, leftover: Leftover) -> Iterator[bool]:
        """Whether no run, of any process, works on the leftover's machine or restores to a new one; nor begins to."""
        is_nobodys = not any(KINDS.of(run).makes_machines for run in self.manager.history.unfinished_runs())
        with ExitStack() as claims:
            for machine_id in [leftover.machine_id] if leftover.machine_id else list(self.machines()):
                claim = self.manager.claims.try_take(machine_claim(machine_id), "cleaning up by serve")
                is_nobodys = is_nobodys and claim is not None
                if claim:
                    claims.enter_context(claim)
            yield is_nobodys

    def close(self) -> None:
        """Let go of every connection; safe to repeat."""
        while self._held:
            self._held.popitem()[1].close()


def _told(error: Exception) -> object:
    return failures.encode(error)["message"]
