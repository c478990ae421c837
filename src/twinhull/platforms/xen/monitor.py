"""What of ours is in the QEMU that serves a running machine's disks: finding it, and ending it.

Everything that a capture opens there is named ``twinhull-…``: jobs, nodes, trackers. The bitmaps that are no trackers
but copies for one capture are named ``twinhull.copy…``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from twinhull.model.errors import NotSupportedHere
from twinhull.model.machine import MachineId
from twinhull.platforms.libvirt.connection import told
from twinhull.platforms.libvirt.finding import find
from twinhull.platforms.libvirt.images import PREFIX
from twinhull.platforms.libvirt.place import Place
from twinhull.platforms.xen.qmp import QemuGone, Qmp, QmpRefused, talking

COPY = "twinhull.copy"
"""The name of the frozen copy of a tracker that is shown to one capture."""


class Monitors:
    """The QEMUs of one host's running machines."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def _path(self, machine_id: MachineId) -> str:
        domain = find(self._place, machine_id)
        with told(self._place.site, f"asking for the number of machine {machine_id}"):
            return f"/var/run/xen/qmp-libxenstat-{domain.ID()}"

    def has_one(self, machine_id: MachineId) -> bool:
        """Whether a QEMU serves the machine."""
        return self._place.host.run(["test", "-S", self._path(machine_id)]).is_ok

    @contextmanager
    def talking(self, machine_id: MachineId) -> Iterator[Qmp]:
        """Talk to the QEMU that serves a running machine; raises NotSupportedHere where there is none."""
        path = self._path(machine_id)
        with ExitStack() as stack:
            local = stack.enter_context(self._place.host.forward(path))
            try:
                qmp = stack.enter_context(talking(local, machine_id, self._place.clock))
            except QemuGone as error:
                if self._place.host.run(["test", "-S", path]).is_ok:
                    raise
                raise NotSupportedHere(
                    f"No QEMU serves the disks of machine {machine_id} on site '{self._place.site}' ({path} is not"
                    " there).",
                    hint="Serve its disks by qdisk (driver 'qemu'), or stop the machine for the capture.",
                ) from error
            yield qmp


def our_things(qmp: Qmp) -> Sequence[str]:
    """The names of our jobs, nodes and bitmap copies."""
    ours = [*_ours(qmp("query-jobs"), "id"), *_ours(qmp.nodes(), "node-name")]
    return [*ours, *(name for _, name in _bitmaps(qmp, COPY))]


def end_all(qmp: Qmp) -> None:
    """End everything of ours but the trackers, each before what it uses; safe to repeat."""
    for job in qmp("query-jobs"):
        if job["id"].startswith(PREFIX) and job["status"] != "concluded":
            with suppress(QmpRefused):  # it has ended by itself meanwhile
                qmp("job-cancel", id=job["id"])
    qmp.settle("our jobs", lambda: all(job["status"] == "concluded" for job in _our_jobs(qmp)))
    for job in _our_jobs(qmp):
        qmp("job-dismiss", id=job["id"])
    for node in _ours(qmp.nodes(), "node-name"):
        qmp("blockdev-del", node_name=node)
    for node, name in _bitmaps(qmp, COPY):
        qmp("block-dirty-bitmap-remove", node=node, name=name)


def _our_jobs(qmp: Qmp) -> list[Mapping[str, Any]]:
    return [job for job in qmp("query-jobs") if job["id"].startswith(PREFIX)]


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
