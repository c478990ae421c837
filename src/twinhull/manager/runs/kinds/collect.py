"""``collect``: give back the space of what no point of the repository uses."""

from __future__ import annotations

from dataclasses import dataclass

from twinhull.manager.repository.collecting import COLLECT as ACTION
from twinhull.manager.repository.collecting import CollectRequest, plan_collect
from twinhull.manager.runs.desk import Desk
from twinhull.manager.runs.kinds.kind import Kind, Words
from twinhull.manager.runs.outlook import Outlook
from twinhull.manager.runs.wants import Want
from twinhull.runs.codec import options
from twinhull.runs.subject import REPOSITORY, Subject, SubjectKind


@dataclass(frozen=True, slots=True)
class CollectOptions:
    """``is_now``: nothing waits for its grace."""

    is_now: bool = False


def want_collect(*, is_now: bool = False) -> Want:
    """A collection of the repository."""
    return Want(
        COLLECT.word,
        REPOSITORY,
        lambda run_id: CollectRequest(run_id, is_now),
        lambda run: run.kind == COLLECT.word and COLLECT.request_of(run).is_now >= is_now,
    )


def _want(desk: Desk, subject: Subject, words: Words) -> Want:
    del desk, subject
    return want_collect(is_now=options(CollectOptions, words).is_now)


def _preview(look: Outlook, request: CollectRequest) -> list[str]:
    return plan_collect(look.repository, is_now=request.is_now)


COLLECT = Kind(
    action=ACTION,
    request=CollectRequest,
    about=SubjectKind.REPOSITORY,
    want=_want,
    preview=_preview,
    told={
        "freed_bytes": "freed",
        "waiting_bytes": "waiting for the end of its grace",
        "points_gone": "removed points deleted for good",
    },
)
