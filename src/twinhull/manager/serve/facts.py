"""What the planner decides on: one immutable snapshot of machines, sites and the repository."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from twinhull.manager.sites.names import Named
from twinhull.model.machine import SiteName
from twinhull.platforms.contract import Grade, GuardGrade
from twinhull.runs.subject import REPOSITORY, Subject


@dataclass(frozen=True, slots=True)
class SiteFacts:
    """Whether a site answers, and why not; and how strong its guard is, if that is known."""

    is_reachable: bool
    reason: str = ""
    guard: GuardGrade | None = None

    @property
    def holds_nothing(self) -> str:
        """Why no standing can be held there; empty if one can, as far as is known."""
        return self.guard.reason if self.guard and self.guard.grade is Grade.NONE else ""


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """All that is known of one planned machine.

    ``age_seconds`` is the age of the latest point (None: there is none), ``typical_seconds`` how long its latest sync
    took, ``failure_count`` how many runs failed in a row, ``since_failure_seconds`` how long ago the latest failed,
    ``is_correction_failing`` whether it is putting the sites right that failed,
    ``unfinished`` the id of a run that nobody works on, ``at_work`` what somebody does right now, ``wrong`` what the
    sites' standings say must be put right, ``undecided`` what only people can decide of it,
    ``behind`` why the replica is not at the latest point, ``uncompared_seconds`` how long its trackers have been
    trusted on end. ``is_source_known`` says whether the machine is known to be the source's, also while the target is
    silent.
    """

    machine: Named
    plan: str
    source: SiteName
    target: SiteName
    rpo_seconds: float
    is_paused: bool = False
    age_seconds: float | None = None
    typical_seconds: float = 0.0
    failure_count: int = 0
    since_failure_seconds: float = 0.0
    failure: str = ""
    is_correction_failing: bool = False
    unfinished: str = ""
    at_work: str = ""
    wrong: str = ""
    undecided: str = ""
    behind: str = ""
    uncompared_seconds: float = 0.0
    full_compare_seconds: float = 0.0
    is_source_known: bool = True

    @property
    def subject(self) -> Subject:
        """The machine, as what a run is about."""
        return self.machine.subject

    @property
    def sites(self) -> tuple[SiteName, SiteName]:
        """Both."""
        return self.source, self.target


@dataclass(frozen=True, slots=True)
class RepositoryFacts:
    """All that is known of the repository's space and soundness.

    ``since_collect_seconds`` is how long ago it was last collected (or first looked at), ``since_verify_seconds`` how
    long ago stored bytes of it were last verified (the same), ``removed_count`` how many removed points may wait,
    ``waiting_bytes`` what the last collection left waiting, ``jump`` how the wall clock has jumped. The others as of a
    machine.
    """

    since_collect_seconds: float
    since_verify_seconds: float = 0.0
    removed_count: int = 0
    waiting_bytes: int = 0
    jump: str = ""
    failure_count: int = 0
    since_failure_seconds: float = 0.0
    failure: str = ""
    unfinished: str = ""
    at_work: str = ""

    subject = REPOSITORY
    plan = ""
    sites = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may be done at once."""

    run_count: int = 4
    run_count_per_site: int = 4


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything at one moment."""

    machines: tuple[MachineFacts, ...]
    sites: Mapping[SiteName, SiteFacts]
    repository: RepositoryFacts | None = None


Facts = MachineFacts | RepositoryFacts
Sites = Mapping[SiteName, SiteFacts]
