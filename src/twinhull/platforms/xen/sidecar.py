"""What Xen cannot say of a machine that we made: a small file beside it, written as a whole.

``DIRECTORY/machines/UUID.json`` holds the machine's description as it came: its firmware, its disks' buses, the
networks that are not here.
"""

from __future__ import annotations

import json

from twinhull.hosts.host import Host, check, write_file
from twinhull.model.codec import spec_from_json, spec_to_json
from twinhull.model.errors import DataError
from twinhull.model.machine import MachineId, MachineSpec


class Sidecars:
    """The files below one directory of a host; they are read with all else in a :mod:`survey`."""

    def __init__(self, host: Host, directory: str) -> None:
        self._host = host
        self._directory = f"{directory}/machines"

    def write(self, spec: MachineSpec) -> None:
        """Write it durably and as a whole."""
        line = json.dumps({"spec": spec_to_json(spec)}, sort_keys=True) + "\n"
        write_file(self._host, self._path(spec.machine_id), line.encode())

    def remove(self, machine_id: MachineId) -> None:
        """Forget it; safe to repeat."""
        check(self._host, ["rm", "-f", "--", self._path(machine_id)])

    def _path(self, machine_id: MachineId) -> str:
        return f"{self._directory}/{machine_id}.json"


def parse_sidecar(content: bytes) -> MachineSpec | DataError:
    """What a machine's file says, or why it cannot be understood: that shall not keep others from being listed."""
    try:
        return spec_from_json(json.loads(content)["spec"])
    except (ValueError, KeyError, TypeError, DataError) as error:
        return DataError(f"What the site keeps about this machine, which Twinhull made, cannot be read: {error!r}.")
