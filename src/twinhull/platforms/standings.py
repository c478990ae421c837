"""Standings on a site's own host: small files, written as a whole, that the guard at the power switch reads.

``DIRECTORY/standings/UUID.json`` holds one standing as one line of JSON with sorted keys; a shell script can find
``"is_dirty": false`` and ``"role": "primary"`` in it without a JSON parser.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from twinhull.model.codec import standing_from_json, standing_to_json
from twinhull.model.errors import DataError, ReplicaDirty, StaleEpoch
from twinhull.model.machine import MachineId, Role, Standing
from twinhull.platforms.hosts import Host, check, read_file, write_file

_LIST = 'cd "$1" 2>/dev/null || exit 0; for f in *.json; do [ -f "$f" ] && cat "$f"; done; exit 0'


class StandingFiles:
    """The standings below one directory of a host."""

    def __init__(self, host: Host, directory: str) -> None:
        self._host = host
        self.directory = f"{directory}/standings"

    def path(self, machine_id: MachineId) -> str:
        """Where a machine's standing is."""
        return f"{self.directory}/{machine_id}.json"

    def read(self, machine_id: MachineId) -> Standing | None:
        """The machine's standing, or None; raises DataError where the file cannot be understood."""
        content = read_file(self._host, self.path(machine_id))
        return None if content is None else _parse(content, self.path(machine_id))

    def read_all(self) -> Sequence[Standing]:
        """All of them, in one go."""
        lines = check(self._host, ["sh", "-c", _LIST, "list", self.directory]).splitlines()
        return [_parse(line, self.directory) for line in lines if line.strip()]

    def write(self, standing: Standing) -> None:
        """Write it durably and as a whole; raises StaleEpoch where it would lower the epoch that is held."""
        held = self.read(standing.machine_id)
        if held and held.epoch > standing.epoch:
            raise StaleEpoch(
                f"Machine {standing.machine_id} holds epoch {held.epoch} on {self._host.name}; epoch {standing.epoch}"
                " is past and was not written.",
                hint="The machine was failed over meanwhile: look at it with twinhull status.",
            )
        line = json.dumps(standing_to_json(standing), sort_keys=True) + "\n"
        write_file(self._host, self.path(standing.machine_id), line.encode(), mode="0644")

    def remove(self, machine_id: MachineId) -> None:
        """Forget it; safe to repeat."""
        check(self._host, ["rm", "-f", "--", self.path(machine_id)])


def _parse(content: bytes, where: str) -> Standing:
    try:
        return standing_from_json(json.loads(content))
    except ValueError as error:
        raise DataError(
            f"The standing in {where} cannot be read ({error}); its machine is not started.",
            hint="If the site lost data, remove the file and run a sync: the standing is written again.",
        ) from error


def check_may_start(standing: Standing, epoch: int, site: str) -> None:
    """Raise where this standing does not let this epoch start the machine."""
    name = f"Machine {standing.machine_id}"
    if standing.is_dirty:
        raise ReplicaDirty(
            f"{name} is at no known point on site '{site}' (between {standing.point_id} and"
            f" {standing.applying_point_id}) and was not started.",
            hint="Run the sync again: it drives the replica forward to a whole point.",
        )
    if standing.role is not Role.PRIMARY or standing.epoch != epoch:
        raise StaleEpoch(
            f"{name} is {standing.role.value} with epoch {standing.epoch} on site '{site}'; epoch {epoch} was asked to"
            " start it, and it was not started.",
            hint="twinhull status tells which side holds the machine's epoch.",
        )
