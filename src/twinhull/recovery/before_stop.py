"""What is asked before a machine is stopped, so that nothing is stopped for a run that cannot end.

Each question names the later steps that would otherwise fail, when the machine is down already. A test holds the list
against the steps of each action: a step that comes behind a stop is guarded by a question, or is said to need none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from twinhull.model.errors import SiteError
from twinhull.model.lacks import Consequence
from twinhull.model.machine import DiskSpec, MachineId, MachineSpec
from twinhull.platforms.contract import ReplicaRequest, Site


@dataclass(frozen=True, slots=True)
class Asked:
    """What the questions are about: ``spec`` is the machine as it is where it is stopped.

    ``source`` is that site; ``target`` is where it is started, the same for a rollback. ``replica`` is what the target
    is asked to make, None where it makes none; ``disks`` are those that the machine shall have on the target.
    ``is_capturing`` means that what is on its disks is captured once more when it is off.
    """

    spec: MachineSpec
    source: Site
    target: Site
    replica: ReplicaRequest | None = None
    disks: Sequence[DiskSpec] = ()
    is_starting: bool = True
    is_capturing: bool = True

    @property
    def machine_id(self) -> MachineId:
        """Whose."""
        return self.spec.machine_id


@dataclass(frozen=True, slots=True)
class Question:
    """One question: ``ask`` returns a sentence for each thing that stands in the way, with what to do about it.

    ``guards`` are the steps that would fail for it.
    """

    what: str
    ask: Callable[[Asked], Sequence[str]]
    guards: frozenset[str] = field(default_factory=frozenset)


def _when_off(asked: Asked) -> Sequence[str]:
    is_here = asked.source is asked.target
    disks = asked.disks if is_here else ()
    return asked.source.power.obstacles_when_off(asked.machine_id, disks, is_capturing=asked.is_capturing)


def _what_the_target_lacks(asked: Asked) -> Sequence[str]:
    """Raises NotSupportedHere where the target can make no such machine at all."""
    if asked.replica is None:
        return ()
    vital = [
        lack for lack in asked.target.replicas.lacks(asked.replica) if lack.consequence is Consequence.WILL_NOT_BOOT
    ]
    return [f"{lack.reason} Change that where it runs, or choose another site." for lack in vital]


BEFORE_ANYTHING: tuple[Question, ...] = (
    Question(
        "Does the source keep the machine, and can its disks be opened, when it is off?",
        _when_off,
        frozenset({"capture the last", "capture the present", "put back", "arm trackers"}),
    ),
    Question(
        "Can the target make such a machine, and will it boot?",
        _what_the_target_lacks,
        frozenset({"bring the replica", "start"}),
    ),
)
"""Asked first of all: a sync does not change the answer."""

AFTER_THE_SYNC = Question(
    "Is all there that the target needs to start the machine?",
    lambda asked: asked.target.power.obstacles(asked.machine_id) if asked.is_starting else (),
    frozenset({"start", "take over"}),
)
"""Asked when the replica was brought to its point, which removes some obstacles; of a rollback, with the others."""

NEEDS_NO_QUESTION = {
    "settle the source": "a source that cannot be settled is a reason of the run, and no failure",
    "stop the source": "it is the stop",
    "stop": "it is the stop",
}
"""Steps from the stop on that no definition can make fail."""


def objections(asked: Asked) -> list[str]:
    """What stands in the way, whatever a sync may change; raises NotSupportedHere."""
    return [sentence for question in BEFORE_ANYTHING for sentence in question.ask(asked)]


def require_endable(asked: Asked) -> None:
    """Refuse, before anything is stopped, what could not be ended; raises SiteError, NotSupportedHere."""
    found = objections(asked)
    if found:
        raise SiteError(
            f"{asked.spec.name} was not stopped, because this could not be ended: {' '.join(found)}",
            hint="Do what is said there, then ask again.",
        )
