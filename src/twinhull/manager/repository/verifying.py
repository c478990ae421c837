"""Does every byte match what was written? The action ``verify`` for the repository, and the reading of one point.

It changes nothing but the note on what was found good; it can be stopped anywhere, and the next one reads the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from twinhull.actions.context import Context
from twinhull.actions.requests import Request
from twinhull.manager.catalog.records import RunRecord
from twinhull.manager.record.history import RunHistory
from twinhull.model.errors import RunCancelled, UsageError
from twinhull.model.extents import pieces
from twinhull.model.progress import OnProgress, Progress
from twinhull.model.steps import Action, Facts, JsonValue, Step
from twinhull.model.units import MIB, format_bytes
from twinhull.repository import Point, ReadAheadDisk, Repository, VerifyReport
from twinhull.repository.errors import RepositoryDamaged, RepositoryError
from twinhull.repository.points.high_water import gone_back
from twinhull.runs.subject import REPOSITORY

_PIECE_BYTES = 8 * MIB
DAILY_SHARE = 1 / 30
"""What ``serve`` reads of the stored bytes each day: all of them in a month."""
_LOOKED_BACK = 100
"""So many verifications are looked through for one of this repository."""
_PROBLEMS_KEPT = 100
"""So many are written down with the run; a repository that has lost a disk has a million."""


@dataclass(frozen=True, slots=True)
class VerifyRequest(Request):
    """Verify the repository.

    ``is_reading``: the stored bytes, too, or the share ``sample`` of them. ``numbers`` are the highest ones that were
    ever seen in this repository (``Repository.high_water``).
    """

    repository_id: str
    is_reading: bool = True
    sample: float = 1.0
    numbers: Mapping[str, int] = field(default_factory=dict)


@dataclass
class Verdict:
    """What was read, and what was wrong with it; of ``problem_count`` problems the first ones are told."""

    point_count: int = 0
    read_bytes: int = 0
    problems: list[str] = field(default_factory=list)
    lost_points: list[str] = field(default_factory=list)
    problem_count: int = 0

    @classmethod
    def of(cls, facts: Facts) -> Verdict:
        """The verdict in the facts of a ``verify`` that is done; what another version did not note is left out."""
        return cls(**{name: facts[name] for name in cls.__dataclass_fields__ if name in facts})  # type: ignore[arg-type]

    @property
    def is_good(self) -> bool:
        """Whether nothing was wrong."""
        return not self.problem_count

    def lines(self) -> list[str]:
        """For people."""
        more = self.problem_count - len(self.problems)
        return [
            *self.problems,
            *([f"… and {more} more."] if more else []),
            *(f"cannot be restored whole: {point_id}" for point_id in self.lost_points),
            self._summary(),
        ]

    def _summary(self) -> str:
        """No more than was looked at: what was not read may be damaged all the same."""
        points = "1 point" if self.point_count == 1 else f"{self.point_count} points"
        if self.read_bytes:
            result = "all of it as it was written" if self.is_good else "damaged"
            return f"{points}, {format_bytes(self.read_bytes)} read: {result}."
        result = "nothing is missing" if self.is_good else "damaged"
        return f"{points}: {result}. Data was not read; to check it: twinhull repository verify --read-data"

    def shape(self) -> dict[str, object]:
        """As data."""
        return {
            "is_good": self.is_good,
            "point_count": self.point_count,
            "read_bytes": self.read_bytes,
            "problem_count": self.problem_count,
            "problems": self.problems,
            "lost_points": self.lost_points,
        }

    def damage(self) -> RepositoryDamaged | None:
        """The error that tells of the damage, if there is any."""
        return _damage(self.problem_count)


@dataclass(frozen=True, slots=True)
class Verified:
    """The latest verification that says how a repository's stored bytes are, and what it found."""

    run: RunRecord
    verdict: Verdict


def latest_verified(history: RunHistory, repository_id: str) -> Verified | None:
    """The latest one of this repository, by whatever process, that has read stored bytes or found damage without."""
    for run in history.done(REPOSITORY.key, VERIFY.kind, last=_LOOKED_BACK):
        request, verdict = VerifyRequest.of(run.request), Verdict.of(run.result)
        if request.repository_id == repository_id and (request.is_reading or not verdict.is_good):
            return Verified(run, verdict)
    return None


def highest_numbers(history: RunHistory, repository_id: str) -> Mapping[str, int]:
    """The highest numbers that verifications of this repository have seen, by this manager's records."""
    for run in history.done(REPOSITORY.key, VERIFY.kind, last=_LOOKED_BACK):
        numbers = run.result.get("numbers")
        if VerifyRequest.of(run.request).repository_id == repository_id and isinstance(numbers, dict):
            return {str(name): int(str(number)) for name, number in numbers.items()}
    return {}


def damage_of(report: VerifyReport) -> RepositoryDamaged | None:
    """The error that tells of what a verification has found, if it has found anything."""
    return _damage(len(report.findings))


def verify_point(repository: Repository, point: Point, on_progress: OnProgress) -> Verdict:
    """Every disk of one point, from its first byte to its last."""
    verdict = Verdict(point_count=1)
    for disk in point.document.disks:
        opened = ReadAheadDisk(repository.reader(), disk.root)
        try:
            data = (extent for extent in opened.extents(0, opened.size_bytes) if not extent.is_zero)
            for piece in pieces(data, _PIECE_BYTES):
                verdict.read_bytes += len(opened.read(piece.offset_bytes, piece.length_bytes))
                on_progress(Progress("read", disk.key, piece.offset_bytes + piece.length_bytes, opened.size_bytes))
        except RepositoryError as error:
            verdict.problems.append(f"{point.id} disk {disk.key}: {error.message}")
            verdict.problem_count += 1
            verdict.lost_points = [str(point.id)]
        finally:
            opened.close()
    return verdict


def _verify(context: Context, facts: Facts) -> Facts:
    request = VerifyRequest.of(facts)
    if request.repository_id != context.repository.id:
        raise UsageError(
            f"The run {request.run_id} was of another repository than {context.repository.store.url}; it was ended.",
            hint="Verify that one anew: twinhull --repository URL repository verify",
        )
    try:
        report = context.repository.verify(
            read_data=request.is_reading, sample=request.sample, on_progress=context.on_progress
        )
    except RunCancelled:
        raise RunCancelled(
            "The verification was stopped on demand. What it had read and found good is noted.",
            hint="'twinhull repository verify --sample 10' reads of the rest first; what is damaged is read each time.",
        ) from None
    now = context.repository.high_water()
    problems: list[JsonValue] = [
        *gone_back(request.numbers, now),
        *(f"{finding.object_name}: {finding.problem}" for finding in report.findings),
    ]
    return {
        "point_count": report.point_count,
        "read_bytes": report.bytes_read,
        "problem_count": len(problems),
        "problems": problems[:_PROBLEMS_KEPT],
        "lost_points": [str(point_id) for point_id in report.lost_points],
        "numbers": {name: max(now.get(name, 0), request.numbers.get(name, 0)) for name in {*now, *request.numbers}},
        "reasons": [*report.reasons, *([damage.message] if (damage := _damage(len(problems))) else [])],
    }


def _damage(count: int) -> RepositoryDamaged | None:
    if not count:
        return None
    things = "1 thing in the repository is" if count == 1 else f"{count} things in the repository are"
    return RepositoryDamaged(
        f"{things} not as written.",
        hint="Points that are not named can be restored. 'twinhull repository repair' brings back what lies elsewhere; "
        "'twinhull sync MACHINE --full-compare' makes a new whole point.",
    )


VERIFY: Action[Context] = Action("verify", (Step("verify", _verify),))
