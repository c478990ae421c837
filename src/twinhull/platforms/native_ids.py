"""Machines of a platform that gives them ids of its own: from those to ours and back, in this one place.

A machine's id is the same on every site. So it is, in this order: the id that the machine carries (a replica that we
made carries its machine's in the platform's own metadata, others their firmware's UUID), or else one that is derived
from the platform's own id and from what tells the environment from others, so that it is the same at each look.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from twinhull.model.errors import DataError, NotFound
from twinhull.model.machine import MachineId
from twinhull.model.names import checked_machine_id


@dataclass(frozen=True, slots=True)
class Native:
    """A machine as its platform names it. ``carried`` is the UUID that it carries, if any."""

    native_id: str
    carried: str = ""


def machine_id_of(environment: str, native: Native) -> MachineId:
    """A machine's id; ``environment`` tells the platform's environment from every other one."""
    try:
        return checked_machine_id(native.carried.lower())
    except ValueError:
        return checked_machine_id(str(uuid.uuid5(uuid.NAMESPACE_URL, f"twinhull:{environment}:{native.native_id}")))


class NativeIds:
    """The mapping of one site; ``read`` lists its machines as the platform names them."""

    def __init__(self, site: str, environment: str, read: Callable[[], Iterable[Native]]) -> None:
        self._site = site
        self._environment = environment
        self._read = read

    def all(self) -> Mapping[MachineId, str]:
        """Our ids, and the platform's.

        Machines that carry the same UUID, as clones do, are listed by their derived ids: they hide no other.
        """
        natives = list(self._read())
        count = Counter(machine_id_of(self._environment, native) for native in natives)
        return {self._alone(native, count): native.native_id for native in natives}

    def _alone(self, native: Native, count: Mapping[MachineId, int]) -> MachineId:
        found = machine_id_of(self._environment, native)
        return found if count[found] == 1 else machine_id_of(self._environment, Native(native.native_id))

    def native(self, machine_id: MachineId) -> str:
        """The platform's id of a machine; raises NotFound, and DataError if several carry that id."""
        found = self.all().get(machine_id)
        if found is not None:
            return found
        same = [each.native_id for each in self._read() if machine_id_of(self._environment, each) == machine_id]
        if same:
            raise DataError(
                f"{' and '.join(same)} on site '{self._site}' carry the same id {machine_id}, so it is not known which"
                " of them is the machine. Nothing was done to them.",
                hint="Give the clone a UUID of its own on its platform.",
            )
        raise NotFound(f"There is no machine {machine_id} on site '{self._site}'.")
