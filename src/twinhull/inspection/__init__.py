"""Looking into disks: whatever parses a guest's bytes runs in a confined child process, and comes through this door.

A guest decides every byte of its disks, and may have been taken over. So the process that holds keys and reaches sites
parses none of them: it starts a fresh child with no keys, no network, no files and no privileges, serves it parts of
the disks over a pipe, and takes typed records back. A child that dies, hangs, floods or lies ends the look with a
sentence; it raises nothing and holds nothing open longer than its bounds.

In reading order: ``tasks`` (what can be asked), ``inspector`` (our side), ``wire`` (what the two say), ``confinement``
and ``seccomp`` (what the child gives up), ``child`` (its side). ``guest/`` has the parsers; only the child loads them.
``readiness`` and ``naming`` belong to the first task: will a machine come up on its other site?
"""

from twinhull.inspection.inspector import BOUNDS, Bounds, Outcome, Readable, inspect
from twinhull.inspection.readiness import Finding, Surroundings
from twinhull.inspection.tasks import READINESS, Task

__all__ = ["BOUNDS", "READINESS", "Bounds", "Finding", "Outcome", "Readable", "Surroundings", "Task", "inspect"]
