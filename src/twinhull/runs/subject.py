"""What a run is about: a machine, a plan, a point, a site, a host, or the repository."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from twinhull.model.machine import MachineId


class SubjectKind(StrEnum):
    """The nouns that a run can be about."""

    MACHINE = "machine"
    PLAN = "plan"
    POINT = "point"
    SITE = "site"
    HOST = "host"
    REPOSITORY = "repository"


@dataclass(frozen=True, slots=True)
class Subject:
    """One of them: its id (a machine's UUID, a site's name, …) and what to call it."""

    kind: SubjectKind
    id: str
    name: str

    @classmethod
    def machine(cls, machine_id: MachineId, name: str) -> Subject:
        """A machine."""
        return cls(SubjectKind.MACHINE, machine_id, name)

    @classmethod
    def site(cls, name: str) -> Subject:
        """A site."""
        return cls(SubjectKind.SITE, name, name)

    @classmethod
    def of_key(cls, key: str, name: str) -> Subject:
        """The subject again, from its key and what to call it."""
        if key == REPOSITORY.key:
            return REPOSITORY
        word, colon, subject_id = key.partition(":")
        if colon and word in set(SubjectKind):
            return cls(SubjectKind(word), subject_id, name)
        return cls(SubjectKind.MACHINE, key, name)

    @property
    def key(self) -> MachineId:
        """One word that names it among all subjects, in the place where records have always had a machine's id."""
        if self.kind in (SubjectKind.MACHINE, SubjectKind.REPOSITORY):
            return MachineId(self.id)
        return MachineId(f"{self.kind.value}:{self.id}")

    @property
    def is_machine(self) -> bool:
        """Whether it is a machine."""
        return self.kind is SubjectKind.MACHINE

    def shape(self) -> dict[str, str]:
        """As data."""
        return {"kind": self.kind.value, "id": self.id, "name": self.name}


REPOSITORY = Subject(SubjectKind.REPOSITORY, "repository", "repository")
"""The repository that a manager works with; no machine has that id, which would be a UUID."""
