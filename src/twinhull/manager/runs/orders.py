"""From what a person asks for ("failover web1") to a run's request, decided on what the sites say at that moment."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from twinhull.actions.requests import (
    FailoverRequest,
    ReconcileRequest,
    Request,
    RestoreRequest,
    RollbackRequest,
    SyncRequest,
)
from twinhull.cluster.epochs import corrections, primary
from twinhull.cluster.situation import Side, Situation
from twinhull.manager.catalog.catalog import Catalog
from twinhull.manager.catalog.records import Plan, RunRecord
from twinhull.manager.repository.collecting import COLLECT, CollectRequest
from twinhull.manager.repository.damages import Damages, point_by_name
from twinhull.manager.repository.verifying import VERIFY, VerifyRequest, highest_numbers
from twinhull.manager.runs.wants import Want, same_request
from twinhull.manager.sites.names import REPOSITORY, Named
from twinhull.manager.sites.overview import Lookout
from twinhull.model.errors import AlreadyThere, NotFound, ReplicaDirty, SiteUnreachable, TwinhullError
from twinhull.model.machine import PointId, RunId, SiteName
from twinhull.model.ports import Clock
from twinhull.recovery.failover.looking import replica_point
from twinhull.replication.bases import comparison_due, latest_epoch, uncompared_seconds
from twinhull.repository import Point, Repository, RepositoryMissing, StoreError, latest_point

_RUNS_LOOKED_AT = 1000
"""So many of a machine's runs are looked through for when its replica's point was captured."""


@dataclass(frozen=True, slots=True)
class SyncOptions:
    """How a sync is wanted; None leaves it to the plan."""

    is_freezing: bool | None = None
    compare_reason: str = ""
    is_verifying: bool = False
    is_capture_only: bool = False
    is_dropping_divergent: bool = False


@dataclass(frozen=True, slots=True)
class FailoverOptions:
    """How a failover or failback is wanted. ``is_planned`` None: planned, and refused where the source is silent.

    ``is_without_repository``: unplanned, from the replica as it is, with the repository not asked.
    """

    is_planned: bool | None = None
    point: str | None = None
    grace_seconds: float = 120.0
    start_timeout_seconds: float = 120.0
    is_verifying: bool = False
    is_without_repository: bool = False
    is_dropping_divergent: bool = False


@dataclass(frozen=True, slots=True)
class RestoreTarget:
    """Where a point goes: exactly one of the three. See :class:`twinhull.actions.requests.RestoreRequest`."""

    site: SiteName | None = None
    nbd_uri: str | None = None
    path: str | None = None
    file_format: str = "raw"
    disk_key: str | None = None
    new_name: str | None = None
    networks: Mapping[str, str] | None = None
    boot_mode: str | None = None
    is_overwriting: bool = False


@dataclass(frozen=True)
class Desk:
    """Builds requests. ``repository`` is opened at its first use, ``damages`` hears of points that cannot be read."""

    catalog: Catalog
    lookout: Lookout
    repository: Callable[[], Repository]
    clock: Clock
    damages: Damages = field(default_factory=Damages)

    def sync(self, machine: Named, options: SyncOptions) -> Want:
        """Capture the machine where it runs, and bring its replica on the plan's other site to that point."""

        def make(run_id: RunId) -> Request:
            plan, situation, points = self.look(machine)
            source = running_side(plan, situation)
            _require_answer(situation.side(source), machine, "so it cannot be captured")
            uncompared = uncompared_seconds(latest_point(points))
            return SyncRequest(
                run_id=run_id,
                machine_id=machine.machine_id,
                source=source,
                target=None if options.is_capture_only else other_site(plan, source),
                networks=networks_from(plan, source),
                boot_mode=boot_mode_from(plan, source),
                is_freezing=plan.is_freezing if options.is_freezing is None else options.is_freezing,
                compare_reason=options.compare_reason or comparison_due(uncompared, plan.full_compare_seconds),
                is_verifying=options.is_verifying,
                is_dropping_divergent=options.is_dropping_divergent,
            )

        return Want("sync", machine, make)

    def failover(self, machine: Named, options: FailoverOptions) -> Want:
        """Start the machine on the plan's target in place of its source."""
        plan = self.plan_of(machine)
        return self._move("failover", machine, options, plan.source, plan.target)

    def failback(self, machine: Named, options: FailoverOptions) -> Want:
        """The same, homewards."""
        plan = self.plan_of(machine)
        return self._move("failback", machine, options, plan.target, plan.source)

    def _move(self, kind: str, machine: Named, options: FailoverOptions, source: SiteName, target: SiteName) -> Want:
        named = self._named_point(machine, options.point) if options.point else None

        def make(run_id: RunId) -> Request:
            if isinstance(named, TwinhullError):
                raise named
            plan, situation = self._situation_of_move(kind, machine, options)
            _require_not_there(kind, machine, plan, situation, target)
            is_planned = _settle_planned(machine, situation.side(source), options)
            request = FailoverRequest(
                run_id=run_id,
                machine_id=machine.machine_id,
                source=source,
                target=target,
                is_planned=is_planned,
                to_point_id=named,
                networks=networks_from(plan, source),
                boot_mode=boot_mode_from(plan, source),
                grace_seconds=options.grace_seconds,
                start_timeout_seconds=options.start_timeout_seconds,
                is_verifying=options.is_verifying,
                is_dropping_divergent=options.is_dropping_divergent,
            )
            return self._as_it_is(machine, request, situation) if options.is_without_repository else request

        def is_same(run: RunRecord) -> bool:
            return run.kind == kind and run.request.get("target") == target

        return Want(kind, machine, make, is_same, options.is_without_repository)

    def _named_point(self, machine: Named, name: str) -> PointId | TwinhullError:
        """The point, looked up once; or why there is none, which is of this machine, and keeps no other one back."""
        try:
            return self._point_id(machine, name)
        except TwinhullError as error:
            return error

    def _situation_of_move(self, kind: str, machine: Named, options: FailoverOptions) -> tuple[Plan, Situation]:
        try:
            plan, situation, _ = self.look(machine, is_without_repository=options.is_without_repository)
        except (RepositoryMissing, StoreError) as error:
            way = f"'twinhull {kind} {machine.name} --unplanned --without-repository'"
            hint = f"{error.hint} If it stays away, {way} starts the replica at the point that it is at."
            raise type(error)(error.message, hint=hint.strip()) from error
        return plan, situation

    def _as_it_is(self, machine: Named, request: FailoverRequest, situation: Situation) -> FailoverRequest:
        """From the replica as it is, with what the catalog's runs know of its point."""
        point_id = replica_point(situation.side(request.target))
        if point_id is None:
            raise ReplicaDirty(
                f"The replica of {machine.name} on {request.target} is at no point to start from; nothing was done.",
                hint="Only the repository could bring it to one: see docs/repository.md for where it is gone.",
            )
        runs = self.catalog.runs(machine_id=machine.machine_id, last=_RUNS_LOOKED_AT)
        captured = {run.result.get("point_id"): run.result.get("captured_at") for run in runs}
        return replace(
            request,
            to_point_id=point_id,
            is_without_repository=True,
            captured_at=str(captured.get(point_id) or ""),
        )

    def rollback(self, machine: Named, to: str, *, is_starting: bool | None, is_keeping_present: bool) -> Want:
        """Put the machine back to a point where it is."""
        to_point_id = self._point_id(machine, to)

        def make(run_id: RunId) -> Request:
            plan, situation, _ = self.look(machine)
            site = running_side(plan, situation)
            _require_answer(situation.side(site), machine, "so it cannot be put back")
            return RollbackRequest(
                run_id=run_id,
                machine_id=machine.machine_id,
                site=site,
                other_sites=(other_site(plan, site),),
                to_point_id=to_point_id,
                is_starting=is_starting,
                is_keeping_present=is_keeping_present,
            )

        # "N-2" means another point once the present was captured: an unfinished rollback that ended was this one.
        return Want("rollback", machine, make, lambda run: run.kind == "rollback")

    def restore(self, machine: Named, point_id: PointId, target: RestoreTarget) -> Want:
        """Bring a point to a new machine, an NBD export or a file."""
        if target.site:
            self.catalog.site(target.site)

        def make(run_id: RunId) -> Request:
            return RestoreRequest(
                run_id=run_id,
                machine_id=machine.machine_id,
                point_id=point_id,
                to_site=target.site,
                to_nbd_uri=target.nbd_uri,
                to_path=target.path,
                disk_key=target.disk_key,
                file_format=target.file_format,
                new_name=target.new_name,
                networks=target.networks or {},
                boot_mode=target.boot_mode,
                is_overwriting=target.is_overwriting,
            )

        return Want("restore", machine, make, lambda run: run.kind == "restore" and same_request(run, make(run.run_id)))

    def reconcile(self, machine: Named, *, is_repository_hanging: bool = False) -> Want:
        """Fence a side that came back with a stale epoch, and stop the machine where it must not run.

        What the standings alone say is put right while the repository is away, too. One that hangs is not asked, and
        no run that may need it is finished first.
        """

        def make(run_id: RunId) -> Request:
            plan, situation, is_without = self._wrong_sides(machine, is_repository_hanging=is_repository_hanging)
            sites = tuple(side.site for side in situation.sides if side.is_reachable)
            return ReconcileRequest(run_id, machine.machine_id, sites or (plan.source, plan.target), is_without)

        return Want("reconcile", machine, make, is_without_repository=True, is_ahead=is_repository_hanging)

    def _wrong_sides(self, machine: Named, *, is_repository_hanging: bool) -> tuple[Plan, Situation, bool]:
        """The machine's situation, and whether its standings alone say what is to be corrected.

        Raises what keeps the repository from being asked, if the standings alone say nothing.
        """
        reason: TwinhullError = StoreError(
            "The repository hangs.", hint="Is its disk, or the server behind it, hanging?"
        )
        if not is_repository_hanging:
            try:
                return (*self.look(machine)[:2], False)
            except (RepositoryMissing, StoreError) as error:
                reason = error
        plan, situation, _ = self.look(machine, is_without_repository=True)
        if not corrections(situation):
            raise reason
        return plan, situation, True

    def plan_of(self, machine: Named) -> Plan:
        """The machine's plan; raises NotFound."""
        plan = self.catalog.plan_of(machine.machine_id)
        if not plan:
            raise NotFound(
                f"{machine.name} is in no plan, so it is not said where its replica lives.",
                hint=f"Make one: twinhull plan create NAME --machine {machine.name} --from SITE --to SITE --rpo 15m",
            )
        return plan

    def collect(self, *, is_now: bool = False) -> Want:
        """Give back the space of what no point of the repository uses; ``is_now``: nothing waits for its grace."""
        return Want(
            COLLECT.kind,
            REPOSITORY,
            lambda run_id: CollectRequest(run_id, REPOSITORY.machine_id, is_now),
            lambda run: run.kind == COLLECT.kind and CollectRequest.of(run.request).is_now >= is_now,
        )

    def verify(self, *, is_reading: bool, sample: float = 1.0) -> Want:
        """Look whether all of the repository is there, and whether what is read of it is what was written."""

        def make(run_id: RunId) -> Request:
            repository_id = self.repository().id
            numbers = highest_numbers(self.catalog, repository_id)
            return VerifyRequest(run_id, REPOSITORY.machine_id, repository_id, is_reading, sample, numbers)

        return Want(VERIFY.kind, REPOSITORY, make, lambda run: same_request(run, make(RunId(run.run_id))))

    def _point_id(self, machine: Named, text: str) -> PointId:
        """Found once for a command: ``N-1`` is another one when a sync has come in between."""
        return point_by_name(self.repository(), machine.machine_id, text, self.clock.now()).id

    def look(self, machine: Named, *, is_without_repository: bool = False) -> tuple[Plan, Situation, Sequence[Point]]:
        """The machine's plan, what its two sites say of it right now, and its points (without damaged ones)."""
        plan = self.plan_of(machine)
        sites = (plan.source, plan.target)
        points = () if is_without_repository else self.repository().points(machine.machine_id, self.damages.note)
        overview = self.lookout.look(sites)
        return plan, overview.situation(machine.machine_id, sites, *latest_epoch(points)), points


def running_side(plan: Plan, situation: Situation) -> SiteName:
    """Where the machine is at work: its primary side, or its home where it was never synced."""
    holder = primary(situation)
    return holder.site if holder else plan.source


def other_site(plan: Plan, site: SiteName) -> SiteName:
    """The plan's other site."""
    return plan.target if site == plan.source else plan.source


def networks_from(plan: Plan, source: SiteName) -> dict[str, str]:
    """The plan's network mapping, turned round on the way home."""
    if source == plan.source:
        return dict(plan.networks)
    return {target: home for home, target in plan.networks.items()}


def boot_mode_from(plan: Plan, source: SiteName) -> str | None:
    """How the replica boots: as the plan says on its target, and as it always did at home."""
    return plan.boot_mode if source == plan.source else None


def _require_answer(side: Side, machine: Named, so: str) -> None:
    if not side.is_reachable:
        raise SiteUnreachable(
            f"{side.site}, where {machine.name} runs, does not answer, {so}: {side.reason}",
            hint="Its points and its replica are as they were. "
            f"To start the replica: twinhull failover {machine.name} --unplanned",
        )


def _require_not_there(kind: str, machine: Named, plan: Plan, situation: Situation, target: SiteName) -> None:
    holder = primary(situation)
    if target == plan.source and not any(side.standing for side in situation.sides):
        raise AlreadyThere(
            f"{machine.name} is at home, and was never synced; nothing was done.",
            hint=f"'twinhull sync {machine.name}' makes its replica on {plan.target}.",
        )
    if holder and holder.site == target:
        verb = "failback" if kind == "failover" else "failover"
        state = "runs" if holder.is_running else "is, though switched off,"
        raise AlreadyThere(
            f"{machine.name} {state} on {target} already; nothing was done.",
            hint=f"'twinhull {verb} {machine.name}' moves it to the other site.",
        )


def _settle_planned(machine: Named, source: Side, options: FailoverOptions) -> bool:
    if options.is_planned is not False and not source.is_reachable:
        raise SiteUnreachable(
            f"{source.site} does not answer, so {machine.name} cannot be moved without loss: {source.reason}",
            hint="If that site is really down, take over with --unplanned: the epoch rises, and the old side may not "
            "start the machine when it comes back.",
        )
    return options.is_planned is not False
