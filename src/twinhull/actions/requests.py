"""What a run is asked for, as a dataclass for people and as facts for steps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from twinhull.model.errors import UsageError
from twinhull.model.machine import MachineId, PointId, SiteName
from twinhull.model.steps import Facts, JsonValue
from twinhull.runs.codec import decode, encode

_RUN_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,39}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Request:
    """What all requests have: whose run it is. ``run_id`` labels what it opens on sites."""

    run_id: str

    def __post_init__(self) -> None:
        """Refuse a run id that could not be a label on every platform."""
        if not _RUN_ID.fullmatch(self.run_id):
            raise UsageError(f"'{self.run_id}' is no run id.", hint="Use a-z, 0-9 and '-', at most 40 of them.")

    def facts(self) -> dict[str, JsonValue]:
        """The request as it is recorded."""
        return encode(self)

    @classmethod
    def of(cls, facts: Facts) -> Self:
        """The request again, checked; what is recorded beside it is ignored. Raises DataError."""
        return decode(cls, facts)


@dataclass(frozen=True, slots=True)
class MachineRequest(Request):
    """A request that is about one machine."""

    machine_id: MachineId


@dataclass(frozen=True, slots=True)
class SyncRequest(MachineRequest):
    """Capture a machine on ``source``, and bring its replica on ``target`` (None: capture only) to that point.

    ``compare_reason`` says why no tracker is trusted this time; empty where they are. ``is_dropping_divergent``: what
    the target had written after it lost the machine is not kept as a point.
    """

    source: SiteName
    target: SiteName | None = None
    networks: Mapping[str, str] = field(default_factory=dict)
    boot_mode: str | None = None
    is_freezing: bool = True
    compare_reason: str = ""
    is_verifying: bool = False
    is_dropping_divergent: bool = False


@dataclass(frozen=True, slots=True)
class FailoverRequest(MachineRequest):
    """Start the machine on ``target`` in place of the one on ``source``. Failback is the same with the two swapped.

    Planned: the source answers, nothing is lost. Unplanned: the replica is started at its point, or at
    ``to_point_id``.
    ``grace_seconds`` is how long a guest gets to shut down by itself, ``start_timeout_seconds`` how long the site gets
    to report the machine running.

    ``is_without_repository``: unplanned, and the repository is not asked, because it cannot be. The replica goes on
    from the point ``to_point_id`` that it is at, captured at ``captured_at`` (ISO 8601; empty or None where that is not
    known).
    """

    source: SiteName
    target: SiteName
    is_planned: bool = True
    to_point_id: PointId | None = None
    networks: Mapping[str, str] = field(default_factory=dict)
    boot_mode: str | None = None
    grace_seconds: float = 120.0
    start_timeout_seconds: float = 120.0
    is_verifying: bool = False
    is_without_repository: bool = False
    captured_at: str | None = ""
    is_dropping_divergent: bool = False


@dataclass(frozen=True, slots=True)
class RollbackRequest(MachineRequest):
    """Put a machine back to ``to_point_id`` where it is. ``is_starting`` None: start it if it ran before.

    ``other_sites`` are asked whether they hold a higher epoch. With ``is_keeping_present`` what is there now is
    captured as a point first.
    """

    site: SiteName
    to_point_id: PointId
    is_starting: bool | None = None
    is_keeping_present: bool = True
    other_sites: tuple[SiteName, ...] = ()
    grace_seconds: float = 120.0
    start_timeout_seconds: float = 120.0


@dataclass(frozen=True, slots=True)
class RestoreRequest(MachineRequest):
    """Bring a point to ``to_site`` as a new machine, to an NBD export, or into a file (one disk: ``disk_key``).

    Exactly one of ``to_site``, ``to_nbd_uri`` and ``to_path`` is given. ``new_name`` and ``new_machine_id`` are the
    new machine's (the id is made up where it is None). ``file_format`` is ``raw``, ``qcow2``, ``vmdk`` or ``vhdx``.
    ``is_overwriting`` allows an existing file to be replaced.
    """

    point_id: PointId
    to_site: SiteName | None = None
    to_nbd_uri: str | None = None
    to_path: str | None = None
    disk_key: str | None = None
    file_format: str = "raw"
    new_name: str | None = None
    new_machine_id: MachineId | None = None
    networks: Mapping[str, str] = field(default_factory=dict)
    boot_mode: str | None = None
    is_overwriting: bool = False


@dataclass(frozen=True, slots=True)
class ReconcileRequest(MachineRequest):
    """Put right what the standings on ``sites`` say is wrong: fence a stale side, stop it where it runs.

    ``is_without_repository``: the repository is away, and its points are not asked for a higher epoch.
    """

    sites: tuple[SiteName, ...] = ()
    is_without_repository: bool = False
