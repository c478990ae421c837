"""``restore``: bring a point to a new machine, an NBD export, a block device or a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from twinhull.actions.requests import RestoreRequest
from twinhull.manager.runs.desk import Desk
from twinhull.manager.runs.kinds.kind import Kind, Words
from twinhull.manager.runs.outlook import Outlook
from twinhull.manager.runs.wants import Want, same_request
from twinhull.manager.sites.names import Named
from twinhull.model.machine import PointId, RunId, SiteName
from twinhull.recovery.previews import plan_restore
from twinhull.recovery.restore.action import RESTORE as ACTION
from twinhull.runs.codec import options
from twinhull.runs.subject import Subject, SubjectKind


@dataclass(frozen=True, slots=True)
class RestoreTarget:
    """Where a point goes: exactly one of the three. See :class:`twinhull.actions.requests.RestoreRequest`."""

    site: SiteName | None = None
    nbd_uri: str | None = None
    path: str | None = None
    file_format: str = "raw"
    disk_key: str | None = None
    new_name: str | None = None
    networks: Mapping[str, str] | None = None
    boot_mode: str | None = None
    is_overwriting: bool = False


@dataclass(frozen=True, slots=True)
class _RestoreOptions(RestoreTarget):
    """As words: the same, and the point (``N-2``, ``12``, ``20:15``)."""

    point: str = field(default="N")


def want_restore(desk: Desk, machine: Named, point_id: PointId, target: RestoreTarget) -> Want:
    """Bring a point of the machine to where it is wanted."""
    if target.site:
        desk.catalog.site(target.site)

    def make(run_id: RunId) -> RestoreRequest:
        return RestoreRequest(
            run_id=run_id,
            machine_id=machine.machine_id,
            point_id=point_id,
            to_site=target.site,
            to_nbd_uri=target.nbd_uri,
            to_path=target.path,
            disk_key=target.disk_key,
            file_format=target.file_format,
            new_name=target.new_name,
            networks=target.networks or {},
            boot_mode=target.boot_mode,
            is_overwriting=target.is_overwriting,
        )

    return Want(
        RESTORE.word,
        machine.subject,
        make,
        lambda run: run.kind == RESTORE.word and same_request(run, make(run.run_id)),
    )


def _want(desk: Desk, subject: Subject, words: Words) -> Want:
    asked, machine = options(_RestoreOptions, words), Named.of(subject)
    return want_restore(desk, machine, desk.point_id(machine, asked.point), asked)


def _preview(look: Outlook, request: RestoreRequest) -> list[str]:
    return plan_restore(request, look.repository.point(request.point_id), look.now)


RESTORE = Kind(
    action=ACTION,
    request=RestoreRequest,
    about=SubjectKind.MACHINE,
    want=_want,
    preview=_preview,
    is_reading=True,
    makes_machines=True,
    told={"written_bytes": "written", "path": "file", "new_machine_id": "new machine"},
)
