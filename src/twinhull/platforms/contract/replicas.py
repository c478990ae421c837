"""The powered-off twin of a machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from twinhull.model.lacks import Lack
from twinhull.model.machine import BootMode, DiskKey, MachineId, MachineSpec


@dataclass(frozen=True, slots=True)
class ReplicaRequest:
    """A replica that is asked for: the machine's spec, what its networks are called here, how it shall boot.

    ``boot_mode`` None lets the platform choose its most faithful one.
    """

    spec: MachineSpec
    networks: Mapping[str, str] = field(default_factory=dict)
    boot_mode: BootMode | None = None


@dataclass(frozen=True, slots=True)
class ReplicaChanges:
    """What preparing a replica did.

    A disk in ``new_disks`` reads as zeros; ``reasons`` say what was not as hoped; ``lacks`` are what the replica lacks
    of its machine, none where a machine that was here before us follows.
    """

    is_new: bool
    new_disks: tuple[DiskKey, ...] = ()
    grown_disks: tuple[DiskKey, ...] = ()
    removed_disks: tuple[DiskKey, ...] = ()
    reasons: tuple[str, ...] = ()
    lacks: tuple[Lack, ...] = ()


class Replicas(Protocol):
    """The powered-off twin."""

    def prepare(self, request: ReplicaRequest) -> ReplicaChanges:
        """Create the replica, or make it follow the spec (disks added, grown, removed; CPUs, memory, NICs).

        A disk is never shrunk: that is a removed and a new disk of the same key. Machines that were here before us
        keep their definition's other parts. Raises SiteFull, NotSupportedHere, StillRunning.
        """
        ...

    def lacks(self, request: ReplicaRequest) -> Sequence[Lack]:
        """What the replica of that request lacks here, or would lack; changes nothing.

        Raises NotSupportedHere where ``prepare`` would.
        """
        ...

    def remove(self, machine_id: MachineId) -> None:
        """Remove a replica that we made, with its disks and its standing.

        Safe to repeat; never touches a machine that we did not make.
        """
        ...
