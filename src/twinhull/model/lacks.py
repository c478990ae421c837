"""What a replica lacks of its machine, and what follows from it when the replica is started."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from twinhull.model.checks import checked_text
from twinhull.model.errors import DataError
from twinhull.model.steps import JsonValue


class Consequence(StrEnum):
    """What becomes of the guest when it is started without it."""

    WILL_NOT_BOOT = "will not boot"
    BOOTS_WITHOUT = "boots without it"


@dataclass(frozen=True, slots=True)
class Lack:
    """One thing that the machine has and its replica has not: a short noun phrase, and the consequence."""

    what: str
    consequence: Consequence

    @property
    def reason(self) -> str:
        """The sentence of a sync, a finding and a status."""
        if self.consequence is Consequence.WILL_NOT_BOOT:
            return f"The replica will not boot: it lacks {self.what}."
        return f"The replica boots without {self.what}."


def lacks_to_json(lacks: Iterable[Lack]) -> list[JsonValue]:
    """Lacks as facts of a run."""
    return [{"what": lack.what, "consequence": lack.consequence.value} for lack in lacks]


def lacks_from_json(raw: object) -> tuple[Lack, ...]:
    """The lacks among a run's facts; none where an older version wrote none. Raises DataError."""
    if raw is None:
        return ()
    try:
        return tuple(_lack(item) for item in raw) if isinstance(raw, list) else _not_a_list()
    except (KeyError, ValueError) as error:
        raise DataError(f"What a replica lacks cannot be read: {error}") from error


def _lack(raw: object) -> Lack:
    if not isinstance(raw, Mapping):
        raise ValueError("a lack is not an object")  # noqa: TRY004 - a reader of foreign data, as above
    return Lack(checked_text(raw["what"]), Consequence(raw["consequence"]))


def _not_a_list() -> tuple[Lack, ...]:
    raise ValueError("they are not a list")
