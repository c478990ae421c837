"""The actions ``prune`` and ``remove``: points are taken out of sight, and the run tells who did so, and why.

====  ==========  ==========================================================  ======================================
step  name        do                                                          undo
====  ==========  ==========================================================  ======================================
1     remove      remove each point, with its reason and the run's id; a      take back what this run has removed
                  prune passes over one that is held or gone meanwhile
====  ==========  ==========================================================  ======================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from twinhull.actions.context import Context
from twinhull.actions.requests import MachineRequest
from twinhull.manager.catalog.records import RunRecord
from twinhull.model.errors import NotFound, SafetyError
from twinhull.model.machine import PointId
from twinhull.model.steps import Action, Facts, JsonValue, Step


@dataclass(frozen=True, slots=True)
class RemoveRequest(MachineRequest):
    """Remove the points in ``why``, each for its reason; ``keeps`` are the rules of retention, where they decided."""

    repository_id: str
    why: Mapping[PointId, str] = field(default_factory=dict)
    keeps: Mapping[str, float] = field(default_factory=dict)


def _remove(context: Context, facts: Facts) -> Facts:
    request = _request(context, facts)
    for point_id in request.why.keys() - _ours(context, request):  # not again what an earlier attempt has removed
        context.repository.remove_point(point_id, _signed(request.why[point_id], request))
    return {"removed_points": [str(point_id) for point_id in request.why]}


def _prune(context: Context, facts: Facts) -> Facts:
    request = _request(context, facts)
    before = _ours(context, request)
    passed_over: list[JsonValue] = []
    for point_id, reason in request.why.items():
        try:
            if point_id not in before:
                context.repository.remove_point(point_id, _signed(reason, request))
        except (NotFound, SafetyError) as error:
            passed_over.append(error.message)
    ours = _ours(context, request)
    return {"removed_points": [str(each) for each in request.why if each in ours], "reasons": passed_over}


def _take_back(context: Context, facts: Facts) -> None:
    for point_id in sorted(_ours(context, RemoveRequest.of(facts))):
        context.repository.restore_point(point_id)


def _request(context: Context, facts: Facts) -> RemoveRequest:
    """Refuses another repository: a copy has points of the same ids, which were not meant."""
    request = RemoveRequest.of(facts)
    if request.repository_id != context.repository.id:
        raise SafetyError(
            f"The run {request.run_id} is of another repository than {context.repository.store.url}; nothing was "
            "removed there.",
            hint="Begin again with --repository; what was removed already can be taken back there.",
        )
    return request


def _ours(context: Context, request: RemoveRequest) -> set[PointId]:
    """The points that this very run has removed."""
    signed = {point_id: _signed(reason, request) for point_id, reason in request.why.items()}
    removals = context.repository.removed_points()
    return {removal.point_id for removal in removals if signed.get(removal.point_id) == removal.reason}


def _signed(reason: str, request: RemoveRequest) -> str:
    return f"{reason} ({request.run_id})"


def removed_by(run: RunRecord) -> list[PointId]:
    """The points that such a run has removed."""
    found = run.result.get("removed_points")
    return [PointId(str(point_id)) for point_id in found] if isinstance(found, list) else []


PRUNE: Action[Context] = Action("prune", (Step("remove", _prune, _take_back),))
REMOVE: Action[Context] = Action("remove", (Step("remove", _remove, _take_back),))
