"""``verify``: is all of the repository there, and does what is read of it match what was written?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from twinhull.manager.catalog.records import RunRecord
from twinhull.manager.repository.verifying import VERIFY as ACTION
from twinhull.manager.repository.verifying import Verdict, VerifyRequest, highest_numbers
from twinhull.manager.runs.desk import Desk
from twinhull.manager.runs.kinds.kind import Kind, Words
from twinhull.manager.runs.outlook import Outlook
from twinhull.manager.runs.wants import Want, same_request
from twinhull.model.machine import RunId
from twinhull.runs.codec import options
from twinhull.runs.subject import REPOSITORY, Subject, SubjectKind


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """``is_reading``: the stored bytes, too, or the share ``sample`` (0 to 1) of them."""

    is_reading: bool = True
    sample: float = 1.0


def want_verify(desk: Desk, *, is_reading: bool, sample: float = 1.0) -> Want:
    """A verification of the repository."""

    def make(run_id: RunId) -> VerifyRequest:
        repository_id = desk.repository().id
        numbers = highest_numbers(desk.history, repository_id)
        return VerifyRequest(run_id, repository_id, is_reading, sample, numbers)

    return Want(
        VERIFY.word, REPOSITORY, make, lambda run: run.kind == VERIFY.word and same_request(run, make(run.run_id))
    )


def _want(desk: Desk, subject: Subject, words: Words) -> Want:
    del subject
    asked = options(VerifyOptions, words)
    return want_verify(desk, is_reading=asked.is_reading, sample=asked.sample)


def _preview(look: Outlook, request: VerifyRequest) -> list[str]:
    del look
    if not request.is_reading:
        return ["Look whether everything is there that the points need, without reading data."]
    return [f"Read {request.sample:.0%} of what is stored, and check it against what was written."]


def _problems(run: RunRecord) -> Sequence[Mapping[str, str]]:
    return list(_damages(run))


def _damages(run: RunRecord) -> Iterator[Mapping[str, str]]:
    verdict = Verdict.of(run.result)
    for line in verdict.problems:
        yield {"run": run.run_id, "reason": line}
    for point_id in verdict.lost_points:
        yield {"point": point_id, "reason": "It cannot be restored whole."}


VERIFY = Kind(
    action=ACTION,
    request=VerifyRequest,
    about=SubjectKind.REPOSITORY,
    want=_want,
    preview=_preview,
    is_reading=True,
    problems=_problems,
)
