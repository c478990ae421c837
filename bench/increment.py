"""What an increment costs on real hypervisors: a live tiny guest on QEMU, its replica on Xen (``make bench``).

The guest is idle but for what is written on purpose: nothing for the idle sync, one random MiB for the increment.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.figures import Figure, show
from lab.casts import tiny_cast
from lab.guests import TinyClient
from lab.stage import Stage, stage

MIB = 1 << 20
POINT_DOCUMENT_BYTES = 4096
"""A point that holds no new data is a document of about a KiB all the same."""
PHASES = ("freeze", "begin", "read", "publish", "prepare", "apply")


def _moved(name: str, facts: dict[str, Any], bar: int) -> list[Figure]:
    columns = {
        "read from the source": ("source_read_bytes", bar),
        "added to the repository": ("stored_bytes", max(bar, POINT_DOCUMENT_BYTES)),
        "written to the replica": ("replica_written_bytes", bar),
    }
    return [Figure(f"{name}: bytes {what}", facts[key], "B", limit) for what, (key, limit) in columns.items()]


def _phases(name: str, facts: dict[str, Any]) -> list[Figure]:
    bars = {"freeze": 0.5}
    return [
        Figure(f"{name}: phase {phase}", facts[f"{phase}_seconds"], "s", bars.get(phase))
        for phase in PHASES
        if f"{phase}_seconds" in facts
    ]


def _sync(played: Stage) -> dict[str, Any]:
    facts: dict[str, Any] = played.twinhull("sync", played.machine)["runs"][0]["result"]
    return facts


def measure(played: Stage) -> list[Figure]:
    """Sync in full, then idle, then with one changed MiB."""
    played.power_on_at_home()
    address = played.at_home()
    played.connect_sites()
    guest = TinyClient(address.port, address.host)
    first = _sync(played)
    guest.be_quiet()
    _sync(played)
    _sync(played)
    idle = _sync(played)
    guest.write("mebibyte", 1)
    increment = _sync(played)
    return [
        *_phases("first sync", first),
        *_moved("idle machine", idle, 0),
        *_phases("idle machine", idle),
        *_moved("1 MiB changed", increment, 4 * MIB),
        *_phases("1 MiB changed", increment),
    ]


def main() -> int:
    """Measure and print."""
    with (
        tempfile.TemporaryDirectory(prefix="twinhull-bench-") as directory,
        stage(Path(directory), tiny_cast()) as played,
    ):
        return show(measure(played))


if __name__ == "__main__":
    sys.exit(main())
