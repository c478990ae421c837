"""Restoring one disk into an NBD export that the caller has made and serves.

Source: the NBD URI specification (NetworkBlockDevice/nbd, doc/uri.md).
"""

from __future__ import annotations

from urllib.parse import parse_qs, unquote, urlsplit

from twinhull.actions.context import Context
from twinhull.actions.requests import RestoreRequest
from twinhull.blocks.nbd import NbdAddress, NbdDisk
from twinhull.model.errors import UsageError
from twinhull.model.steps import Facts
from twinhull.replication.applying import apply_disk
from twinhull.replication.known import Known
from twinhull.repository import PointDisk


def look(request: RestoreRequest, disk: PointDisk) -> Facts:
    """Is the URI one that we can open; raises UsageError."""
    nbd_address(str(request.to_nbd_uri))
    return {"disk_key": disk.key, "size_bytes": disk.root.size_bytes}


def write(context: Context, request: RestoreRequest, disk: PointDisk) -> Facts:
    """Bring the export to the point; only what differs is written. Raises TargetTooSmall, DataError."""
    address = nbd_address(str(request.to_nbd_uri))
    known = Known(reason=f"What {request.to_nbd_uri} holds is not known.")
    applied = apply_disk(context, lambda: NbdDisk(address), disk.key, disk.root, known)
    return {"written_bytes": applied.written_bytes, "read_bytes": applied.read_bytes}


def nbd_address(uri: str) -> NbdAddress:
    """The address in ``nbd+unix:///EXPORT?socket=PATH``; raises UsageError."""
    parts = urlsplit(uri)
    sockets = parse_qs(parts.query).get("socket", [])
    if parts.scheme != "nbd+unix" or len(sockets) != 1:
        raise UsageError(
            f"'{uri}' is no NBD URI that can be restored to.",
            hint="Write nbd+unix:///EXPORT?socket=PATH; reach another host's server through 'ssh -L PATH:ITS-SOCKET'.",
        )
    return NbdAddress(sockets[0], unquote(parts.path.removeprefix("/")))
