"""What of ours is in the QEMU that serves a running machine's disks: finding it, and ending it.

Everything that a capture opens there is named ``twinhull-…``: exports, jobs, nodes, bitmaps. The bitmaps that are no
trackers but copies for one capture are named ``twinhull.copy…``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from twinhull.model.errors import NotSupportedHere
from twinhull.model.machine import MachineId
from twinhull.platforms.libvirt_connection import told
from twinhull.platforms.xen.images import PREFIX
from twinhull.platforms.xen.machines import Machines
from twinhull.platforms.xen.place import Place
from twinhull.platforms.xen.qmp import Qmp, QmpRefused, talking

COPY = "twinhull.copy"
"""The name of the frozen copy of a tracker that is shown to one capture."""


class Monitors:
    """The QEMUs of one host's running machines."""

    def __init__(self, place: Place, machines: Machines) -> None:
        self._place = place
        self._machines = machines

    def _path(self, machine_id: MachineId) -> str:
        domain = self._machines.domain(machine_id)
        with told(self._place.site, f"asking for the number of machine {machine_id}"):
            return f"/var/run/xen/qmp-libxenstat-{domain.ID()}"

    def has_one(self, machine_id: MachineId) -> bool:
        """Whether a QEMU serves the machine."""
        return self._place.host.run(["test", "-S", self._path(machine_id)]).is_ok

    @contextmanager
    def talking(self, machine_id: MachineId) -> Iterator[Qmp]:
        """Talk to the QEMU that serves a running machine; raises NotSupportedHere where there is none."""
        path = self._path(machine_id)
        if not self._place.host.run(["test", "-S", path]).is_ok:
            raise NotSupportedHere(
                f"No QEMU serves the disks of machine {machine_id} on site '{self._place.site}' ({path} is not there).",
                hint="Serve its disks by qdisk (driver 'qemu'), or stop the machine for the capture.",
            )
        with self._place.host.forward(path) as local, talking(local, machine_id, self._place.clock) as qmp:
            yield qmp


def our_things(qmp: Qmp) -> Sequence[str]:
    """The names of our exports, jobs, nodes and bitmap copies."""
    exports = [export["id"] for export in qmp("query-block-exports")]
    jobs = [job["device"] for job in qmp("query-block-jobs")]
    nodes = [node["node-name"] for node in qmp.nodes()]
    ours = [name for name in (*exports, *jobs, *nodes) if name.startswith(PREFIX)]
    return [*ours, *(name for _, name in _bitmaps(qmp, COPY))]


def end_all(qmp: Qmp) -> None:
    """End everything of ours but the trackers, in the order in which each lets go of the next; safe to repeat."""
    for export in _ours(qmp("query-block-exports"), "id"):
        qmp("block-export-del", id=export, mode="hard")
    qmp.settle("our exports", lambda: not _ours(qmp("query-block-exports"), "id"))
    with suppress(QmpRefused):  # none runs
        qmp("nbd-server-stop")
    for job in _ours(qmp("query-block-jobs"), "device"):
        qmp("block-job-cancel", device=job, force=True)
    qmp.settle("our jobs", lambda: not _ours(qmp("query-block-jobs"), "device"))
    for node in _ours(qmp.nodes(), "node-name"):
        qmp("blockdev-del", node_name=node)
    for node, name in _bitmaps(qmp, COPY):
        qmp("block-dirty-bitmap-remove", node=node, name=name)


def tracker_names(qmp: Qmp) -> set[str]:
    """The names of our trackers."""
    return {name for _, name in _bitmaps(qmp, PREFIX)}


def drop_bitmaps(qmp: Qmp, names: set[str]) -> None:
    """Take trackers away from all disks; safe to repeat."""
    for node, name in _bitmaps(qmp, PREFIX):
        if name in names:
            qmp("block-dirty-bitmap-remove", node=node, name=name)


def _ours(entries: Sequence[Mapping[str, Any]], field: str) -> list[str]:
    return [entry[field] for entry in entries if entry[field].startswith(PREFIX)]


def _bitmaps(qmp: Qmp, prefix: str) -> list[tuple[str, str]]:
    return [
        (node["node-name"], bitmap["name"])
        for node in qmp.nodes()
        for bitmap in node.get("dirty-bitmaps", [])
        if bitmap.get("name", "").startswith(prefix)
    ]
