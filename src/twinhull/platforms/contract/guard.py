"""What refuses a start that a standing forbids, and how strong it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Grade(StrEnum):
    """How strong a site's guard is."""

    REFUSES = "refuses"
    """The host itself refuses every start that the standing forbids, whoever asks."""
    NOTICES = "notices"
    """Twinhull refuses to start the machine. A start by anyone else succeeds, and is noticed at the next look."""
    NONE = "none"
    """The site holds no standings: nothing there tells which side may run."""


@dataclass(frozen=True, slots=True)
class GuardGrade:
    """A guard's strength. ``reason`` is one sentence: why it is no stronger, or within which limits it holds."""

    grade: Grade
    reason: str = ""

    @property
    def is_refusing(self) -> bool:
        """Whether a start that the standing forbids fails, whoever asks for it."""
        return self.grade is Grade.REFUSES


class Guard(Protocol):
    """What stands at the power switch of a site's machines."""

    def grade(self) -> GuardGrade:
        """How strong it is right now. A site that was made ready may try it on a machine of its own."""
        ...

    def withdraw(self) -> Sequence[str]:
        """The site is given up: take the guard away, unless a standing here needs it.

        Returns what was left on the host, one sentence each. Safe to repeat.
        """
        ...
