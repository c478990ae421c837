"""Reading points whole: does every byte match what was written?"""

from __future__ import annotations

from dataclasses import dataclass, field

from twinhull.model.extents import pieces
from twinhull.model.units import MIB, format_bytes
from twinhull.repository import Point, ReadAheadDisk, Repository, VerifyReport
from twinhull.repository.errors import RepositoryDamaged, RepositoryError

_PIECE_BYTES = 8 * MIB


@dataclass
class Verdict:
    """What was read, and what was wrong with it."""

    point_count: int = 0
    read_bytes: int = 0
    problems: list[str] = field(default_factory=list)
    lost_points: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """For people."""
        good = f"{self.point_count} points, {format_bytes(self.read_bytes)} read"
        return [*self.problems, f"{good}: {'damaged' if self.problems else 'all as they were written'}."]

    def shape(self) -> dict[str, object]:
        """As data."""
        return {
            "is_good": not self.problems,
            "point_count": self.point_count,
            "read_bytes": self.read_bytes,
            "problems": self.problems,
            "lost_points": self.lost_points,
        }

    def damage(self) -> RepositoryDamaged | None:
        """The error that tells of the damage, if there is any."""
        return _damage(len(self.problems))


def damage_of(report: VerifyReport) -> RepositoryDamaged | None:
    """The error that tells of what a verification has found, if it has found anything."""
    return _damage(len(report.findings))


def verify_all(repository: Repository) -> Verdict:
    """Every object of the repository."""
    report = repository.verify(read_data=True)
    return Verdict(
        point_count=report.point_count,
        read_bytes=report.bytes_read,
        problems=[f"{finding.object_name}: {finding.problem}" for finding in report.findings],
        lost_points=[str(point_id) for point_id in report.lost_points],
    )


def verify_point(repository: Repository, point: Point) -> Verdict:
    """Every disk of one point, from its first byte to its last."""
    verdict = Verdict(point_count=1)
    for disk in point.document.disks:
        opened = ReadAheadDisk(repository.reader(), disk.root)
        try:
            data = (extent for extent in opened.extents(0, opened.size_bytes) if not extent.is_zero)
            for piece in pieces(data, _PIECE_BYTES):
                verdict.read_bytes += len(opened.read(piece.offset_bytes, piece.length_bytes))
        except RepositoryError as error:
            verdict.problems.append(f"{point.id} disk {disk.key}: {error.message}")
            verdict.lost_points = [str(point.id)]
        finally:
            opened.close()
    return verdict


def _damage(count: int) -> RepositoryDamaged | None:
    if not count:
        return None
    return RepositoryDamaged(
        f"{count} things in the repository are not as they were written.",
        hint="Points that are not named can be restored. 'twinhull repository repair' brings back what lies elsewhere; "
        "'twinhull sync --full-compare' makes a new whole point.",
    )
