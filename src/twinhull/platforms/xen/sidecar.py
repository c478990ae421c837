"""What Xen cannot say of a machine that we made: a small file beside it, written as a whole.

``DIRECTORY/machines/UUID.json`` holds the machine's description as it came, and which image is which disk. Xen knows
the disks by names of its own (``sda``, ``xvda``), which change with the boot mode; the machine keeps the keys it came
with.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from twinhull.model.codec import spec_from_json, spec_to_json
from twinhull.model.errors import DataError
from twinhull.model.machine import DiskKey, MachineId, MachineSpec
from twinhull.platforms.hosts import Host, check, read_file, write_file

_LIST = 'cd "$1" 2>/dev/null || exit 0; for f in *.json; do [ -f "$f" ] && cat "$f"; done; exit 0'


@dataclass(frozen=True, slots=True)
class Made:
    """A machine that we made: its description as it is kept here, and the image of each disk."""

    spec: MachineSpec
    paths: Mapping[DiskKey, str]

    def key_of(self, path: str) -> DiskKey | None:
        """The key of the disk that an image is, if it is one of ours."""
        return next((key for key, own in self.paths.items() if own == path), None)


class Sidecars:
    """The files below one directory of a host."""

    def __init__(self, host: Host, directory: str) -> None:
        self._host = host
        self._directory = f"{directory}/machines"

    def read(self, machine_id: MachineId) -> Made | None:
        """The machine's file, or None where we did not make it; raises DataError where it cannot be understood."""
        content = read_file(self._host, self._path(machine_id))
        return None if content is None else _parse(content)

    def read_all(self) -> Mapping[MachineId, Made]:
        """All of them, in one go."""
        lines = check(self._host, ["sh", "-c", _LIST, "list", self._directory]).splitlines()
        made = [_parse(line) for line in lines if line.strip()]
        return {item.spec.machine_id: item for item in made}

    def write(self, made: Made) -> None:
        """Write it durably and as a whole."""
        data = {"spec": spec_to_json(made.spec), "paths": dict(made.paths)}
        line = json.dumps(data, sort_keys=True) + "\n"
        write_file(self._host, self._path(made.spec.machine_id), line.encode(), mode="0644")

    def remove(self, machine_id: MachineId) -> None:
        """Forget it; safe to repeat."""
        check(self._host, ["rm", "-f", "--", self._path(machine_id)])

    def _path(self, machine_id: MachineId) -> str:
        return f"{self._directory}/{machine_id}.json"


def _parse(content: bytes) -> Made:
    try:
        data = json.loads(content)
        paths = {DiskKey(key): str(path) for key, path in data["paths"].items()}
        return Made(spec_from_json(data["spec"]), paths)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"What the site keeps about a machine of ours cannot be read: {error!r}.") from error
