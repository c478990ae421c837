"""Looking at each site again and again, each in its own time: one that hangs is told, and holds up nobody."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from twinhull.actions.patience import PATIENCE_SECONDS
from twinhull.manager.catalog.catalog import Catalog
from twinhull.manager.serve.facts import SiteFacts
from twinhull.manager.sites.overview import Lookout, Overview, SiteView
from twinhull.model.machine import SiteName
from twinhull.model.ports import Clock

_MOST_SITES = 64


@dataclass
class _Watched:
    """One site: the look that is under way, and what the latest one saw."""

    looking: Future[SiteView] | None = None
    began_at: float = 0.0
    seen_at: float = 0.0
    view: SiteView | None = None
    was_reachable: bool | None = None


@dataclass
class SiteWatch:
    """Call ``glance`` often: it never waits.

    ``on_change`` hears of a site that falls silent or comes back, in that site's own thread: it may take its time, and
    the site is not used before it has ended.
    """

    catalog: Catalog
    lookout: Lookout
    clock: Clock
    look_seconds: float
    on_change: Callable[[SiteView], None]
    _sites: dict[SiteName, _Watched] = field(default_factory=dict)
    _threads: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(max_workers=_MOST_SITES, thread_name_prefix="watch")
    )

    def glance(self, *, wanted: Callable[[SiteName], bool] = lambda _: False) -> Overview:
        """What is known of every site by now; ``wanted`` names those that are to be looked at again at once."""
        names = [settings.name for settings in self.catalog.sites()]
        self._sites = {name: self._sites.get(name, _Watched()) for name in names}
        for name, watched in self._sites.items():
            self._collect(watched)
            if watched.looking is None and (self._is_due(watched) or wanted(name)):
                watched.looking = self._threads.submit(self._look, name, watched)
                watched.began_at = self.clock.monotonic()
        return Overview({name: watched.view for name, watched in self._sites.items() if watched.view})

    def facts(self) -> Mapping[SiteName, SiteFacts]:
        """Whether each site answers, without those that are being looked at for the first time."""
        return {name: self._fact(watched) for name, watched in self._sites.items() if self._is_known(watched)}

    def seen_at(self, site: SiteName) -> float:
        """When, by the monotonic clock, the look began that brought what is known of the site; 0 for never."""
        watched = self._sites.get(site)
        return watched.seen_at if watched else 0.0

    def close(self) -> None:
        """Wait for no look that hangs: its thread ends with its own timeout."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _look(self, name: SiteName, watched: _Watched) -> SiteView:
        view = self.lookout.look_at(name)
        if watched.was_reachable != view.is_reachable:
            watched.was_reachable = view.is_reachable
            self.on_change(view)
        return view

    def _collect(self, watched: _Watched) -> None:
        if not watched.looking or not watched.looking.done():
            return
        # A look that failed for our own reasons is told once, and then done again.
        looking, watched.looking = watched.looking, None
        watched.view = looking.result()
        watched.seen_at = watched.began_at

    def _is_due(self, watched: _Watched) -> bool:
        return watched.view is None or self.clock.monotonic() - watched.began_at >= self.look_seconds

    def _is_known(self, watched: _Watched) -> bool:
        return bool(watched.view) or self._waited_seconds(watched) > PATIENCE_SECONDS

    def _waited_seconds(self, watched: _Watched) -> float:
        return self.clock.monotonic() - watched.began_at if watched.looking else 0.0

    def _fact(self, watched: _Watched) -> SiteFacts:
        waited = self._waited_seconds(watched)
        if not watched.view or waited > PATIENCE_SECONDS:
            return SiteFacts(is_reachable=False, reason=f"it has not answered for {waited:.0f} s.")
        return SiteFacts(watched.view.is_reachable, watched.view.reason, watched.view.guard)
