"""What every step works with: the repository, the sites by name, the outer world, and an ear for progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Lock
from types import TracebackType
from typing import Self

from twinhull.model.machine import MachineId, PointId, SiteName
from twinhull.model.ports import Ports
from twinhull.model.progress import OnProgress, nobody_listens
from twinhull.model.steps import Facts, JsonValue
from twinhull.platforms.contract import Site
from twinhull.repository import Point, PointDocument, Repository, RepositoryError, Writer


def tell_damage(point_id: PointId, error: RepositoryError) -> str:
    """The reason of whoever goes on without a point whose document cannot be read."""
    return f"The point {point_id} cannot be read, and is passed over: {error.message}"


def _no_reason(_: str) -> None:
    """Nobody listens."""


def _no_point(_: Point) -> None:
    """Nobody listens."""


def _nobody_stops() -> None:
    """Goes on to its end."""


class OpenSites:
    """Sites by name, each opened at its first use and once; closes them all at the end of its context."""

    def __init__(self, opener: Callable[[SiteName], Site]) -> None:
        self._opener = opener
        self._open: dict[SiteName, Site] = {}
        self._opening: dict[SiteName, Lock] = {}
        self._lock = Lock()

    def __call__(self, name: SiteName) -> Site:
        """The site; raises NotFound, SiteUnreachable, HostKeyChanged, LoginRefused, SiteInUse."""
        with self._lock:
            opening = self._opening.setdefault(name, Lock())
        with opening:  # other sites are not held up by one that hangs
            if name not in self._open:
                self._open[name] = self._opener(name)
            return self._open[name]

    def close(self) -> None:
        """Close every site that was opened; safe to repeat."""
        with self._lock:
            while self._open:
                _, site = self._open.popitem()
                site.close()

    def __enter__(self) -> Self:
        """Nothing is opened yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close them."""
        self.close()


@dataclass(frozen=True, slots=True)
class Context:
    """What the steps of sync, failover, failback, rollback and restore are given.

    ``sites`` hands out an open site by its name (an :class:`OpenSites`, or whatever the caller keeps open): whoever
    made it closes it. ``on_progress`` and ``on_reason`` may be called from any thread, often, and must return quickly;
    reasons also end in the run's facts. ``on_point`` hears of each published point. ``retain`` is called after a sync
    with the machine and the facts so far, and returns facts (retention by the plan lives with the caller). ``check`` is
    called often by what tells no progress: it raises RunCancelled where the run was stopped, as ``on_progress`` does.
    ``workers`` is how many threads read or write one disk, each with a handle of its own.
    """

    repository: Repository
    sites: Callable[[SiteName], Site]
    ports: Ports
    on_progress: OnProgress = field(default=nobody_listens)
    on_reason: Callable[[str], None] = field(default=_no_reason)
    on_point: Callable[[Point], None] = field(default=_no_point)
    retain: Callable[[MachineId, Facts], Facts] | None = None
    check: Callable[[], None] = field(default=_nobody_stops)
    workers: int = 4
    _points: dict[MachineId, tuple[Point, ...]] = field(default_factory=dict)

    def points(self, machine_id: MachineId) -> Sequence[Point]:
        """The machine's points in order, listed once for all steps: only its own run makes new ones (``publish``).

        One that cannot be read is passed over, and told as a reason.
        """
        if machine_id not in self._points:
            self._points[machine_id] = tuple(self.repository.points(machine_id, self._pass_over))
        return self._points[machine_id]

    def _pass_over(self, point_id: PointId, error: RepositoryError) -> None:
        self.on_reason(tell_damage(point_id, error))

    def publish(self, writer: Writer, document: PointDocument) -> Point:
        """Make what was written a point of the machine; raises the repository's errors."""
        known = self.points(document.machine_id)
        point = writer.publish(document)
        self._points[document.machine_id] = (*known, point)
        self.on_point(point)
        return point

    def site(self, name: str) -> Site:
        """The open site of that name."""
        return self.sites(SiteName(name))


class Stopwatch:
    """How long each phase took, by the monotonic clock; a phase that is entered again adds up."""

    def __init__(self, context: Context) -> None:
        self._clock = context.ports.clock
        self._seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the block's time to that phase."""
        started = self._clock.monotonic()
        try:
            yield
        finally:
            self.add(name, self._clock.monotonic() - started)

    def add(self, name: str, seconds: float) -> None:
        """Count that time to the phase."""
        self._seconds[name] = self._seconds.get(name, 0.0) + seconds

    def facts(self) -> dict[str, JsonValue]:
        """``{"read_seconds": …}`` for each phase."""
        return {f"{name}_seconds": round(seconds, 6) for name, seconds in self._seconds.items()}
