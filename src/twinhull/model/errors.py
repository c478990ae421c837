"""The errors that a user may meet, each with a hint and a stable exit code.

The tree (exit code)::

    TwinhullError (1)
    ├── UsageError (2)                what was asked for makes no sense as it stands
    │   ├── NotFound (3)              no such machine, site, plan, point or run
    │   ├── AlreadyExists (4)
    │   ├── AlreadyThere (2)          the machine is where it was to be moved to
    │   └── Declined (5)              the question was answered with no
    ├── SiteError (10)                a site refused or failed
    │   ├── SiteUnreachable (11)      it does not answer
    │   ├── HostKeyChanged (12)       it answers with another host key than before
    │   ├── LoginRefused (13)         it answers and does not let us in
    │   ├── NotSupportedHere (14)     this site cannot do that, and why
    │   ├── SiteInUse (15)            an embedded site is held by another process
    │   ├── SiteFull (16)             no room left on the site's storage
    │   └── MachineChanged (17)       renamed, deleted or moved while we worked on it
    ├── SafetyError (20)              going on would break a promise
    │   ├── StaleEpoch (21)           this side may not start the machine
    │   ├── MachineBusy (22)          another run works on this machine
    │   ├── ReplicaDirty (23)         the replica is at no known point
    │   ├── StillRunning (24)         the other side (still) runs the machine
    │   ├── TargetTooSmall (25)
    │   └── ClaimLost (26)            another process has taken over what this one worked on
    ├── DataError (30)                bytes are not what they must be (the repository's own errors are below this)
    ├── RunFailed (40)                a run ended in an error that none of the above names
    │   ├── RunCancelled (41)         it was stopped by its user, and undone
    │   └── RunUnfinished (42)        it stopped in the middle, on its way forward or back; it can be resumed
    └── StateError (50)               the manager's state directory cannot be used as it is
        ├── StateTooNew (51)          it was written by a newer Twinhull
        ├── AlreadyServing (52)       another serve works on it
        └── PassphraseMissing (53)    nobody said the repository's passphrase
"""

from __future__ import annotations

from typing import ClassVar


class TwinhullError(Exception):
    """Any error of Twinhull: one sentence, and a hint what to do.

    ``message`` says what happened, to which machine or site, and what was left as it was; ``hint`` says what to do.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nHint: {self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders (durable runs record them), and keyword arguments do not survive by default.
        return (_rebuild, (type(self), self.message, self.hint))


def _rebuild(kind: type[TwinhullError], message: str, hint: str) -> TwinhullError:
    return kind(message, hint=hint)


class UsageError(TwinhullError):
    """The request makes no sense."""

    exit_code = 2


class NotFound(UsageError):
    """There is no such machine, site, plan, point or run."""

    exit_code = 3


class AlreadyExists(UsageError):
    """The name is taken."""

    exit_code = 4


class AlreadyThere(UsageError):
    """The machine is already where it should be moved to; in a plan it is skipped."""


class Declined(UsageError):
    """A question was answered with no, or could not be asked."""

    exit_code = 5


class SiteError(TwinhullError):
    """A site refused or failed; the message says which one, and in what."""

    exit_code = 10


class SiteUnreachable(SiteError):
    """A site does not answer."""

    exit_code = 11


class HostKeyChanged(SiteError):
    """A site's host key differs from the known one."""

    exit_code = 12


class LoginRefused(SiteError):
    """A site refused the login."""

    exit_code = 13


class NotSupportedHere(SiteError):
    """The site cannot do what was asked; the message says why."""

    exit_code = 14


class SiteInUse(SiteError):
    """An embedded site is in use by another process."""

    exit_code = 15


class SiteFull(SiteError):
    """The site's storage is full."""

    exit_code = 16


class MachineChanged(SiteError):
    """The machine was renamed, deleted or moved while a run worked on it."""

    exit_code = 17


class SafetyError(TwinhullError):
    """Continuing would break a promise, so nothing was done."""

    exit_code = 20


class StaleEpoch(SafetyError):
    """This side of the machine may not start: it does not hold the machine's current epoch."""

    exit_code = 21


class MachineBusy(SafetyError):
    """Another run works on this machine."""

    exit_code = 22


class ReplicaDirty(SafetyError):
    """The replica is between two points, and is not started."""

    exit_code = 23


class StillRunning(SafetyError):
    """The machine runs where it must not."""

    exit_code = 24


class TargetTooSmall(SafetyError):
    """The data does not fit into the target."""

    exit_code = 25


class ClaimLost(SafetyError):
    """Another process has taken over what this one worked on, because this one was silent for too long."""

    exit_code = 26


class DataError(TwinhullError):
    """Data is damaged."""

    exit_code = 30


class RunFailed(TwinhullError):
    """A run failed with an error that has no class of its own."""

    exit_code = 40


class RunCancelled(RunFailed):
    """A run was stopped by its user; what it had done was undone."""

    exit_code = 41


class RunUnfinished(RunFailed):
    """A run stopped where it can no longer be undone, or in its undo; resuming it skips finished steps."""

    exit_code = 42


class StateError(TwinhullError):
    """The manager's state directory cannot be used as it is."""

    exit_code = 50


class StateTooNew(StateError):
    """The manager's state was written by a newer Twinhull; it was not changed."""

    exit_code = 51


class AlreadyServing(StateError):
    """Another serve is running on this state directory."""

    exit_code = 52


class PassphraseMissing(StateError):
    """The repository's passphrase was not given and is not kept."""

    exit_code = 53
