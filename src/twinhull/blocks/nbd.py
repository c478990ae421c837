"""A disk behind an NBD server: extents, changes, reads and writes over libnbd.

Nothing here waits for ever: a server that sends nothing for ``STALL_SECONDS`` while we wait for it is an error.

Sources: the NBD protocol (NetworkBlockDevice/nbd, doc/proto.md, *Structured replies* and *Metadata querying*, with
``base:allocation``) and QEMU's ``qemu:dirty-bitmap`` contexts (QEMU, docs/interop/nbd.rst); libnbd(3).
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import nbd

from twinhull.model.errors import DataError, SiteFull
from twinhull.model.extents import Extent, merged
from twinhull.model.units import GIB, MIB

STALL_SECONDS = 60
"""How long a server may send nothing at all while we wait for its answer."""

FURTHER_SECONDS = 5
"""How long a server may take to open one more connection; one that has enough of them just lets it wait."""

CLOSE_SECONDS = 5
"""How long a server may take to close a connection that we have done with."""

_QUERY_BYTES = GIB
"""How much of a disk one question about extents covers; bounds the answer's size."""

_REQUEST_BYTES = 16 * MIB
"""How much one read or write moves; every server takes at least 32 MiB."""

_ALLOCATION = "base:allocation"
_DIRTY = 1
_ZERO = int(nbd.STATE_ZERO)


@dataclass(frozen=True, slots=True)
class NbdAddress:
    """Where an export is: a unix socket on this machine, the export's name, and a dirty bitmap it offers (or none)."""

    socket_path: str
    export: str = ""
    bitmap: str | None = None

    @property
    def changes_context(self) -> str | None:
        """The name of the meta context that tells changes."""
        return f"qemu:dirty-bitmap:{self.bitmap}" if self.bitmap else None

    def __str__(self) -> str:
        return f"nbd+unix:///{self.export}?socket={self.socket_path}"


class NbdDisk:
    """One connection to an NBD export; a :class:`~twinhull.blocks.disk.Disk`."""

    def __init__(self, address: NbdAddress, connect_seconds: int | None = None) -> None:
        """Connect; the server may be silent for ``connect_seconds`` meanwhile, by default for ``STALL_SECONDS``.

        Raises:
            DataError: no server listens there, it does not answer, it has no such export, or not the bitmap that was
                asked for.
        """
        self._address = address
        self._handle_or_none: Any = nbd.NBD()
        self._scratch = bytearray()
        try:
            self._connect(connect_seconds or STALL_SECONDS)
        except BaseException:
            self.close()
            raise

    def _connect(self, seconds: int) -> None:
        self._handle.set_export_name(self._address.export)
        self._handle.add_meta_context(_ALLOCATION)
        changes = self._address.changes_context
        if changes:
            self._handle.add_meta_context(changes)
        try:
            self._handle.aio_connect_unix(self._address.socket_path)
            while self._handle.aio_is_connecting():
                if self._handle.poll(seconds * 1000) == 0:
                    raise DataError(
                        f"The server of {self._address} sent nothing for {seconds} s while the disk was opened.",
                        hint="Check the site's storage and network, then repeat the run.",
                    )
        except nbd.Error as error:
            raise DataError(f"The disk {self._address} could not be opened: {error.string}") from error
        if changes and not self._handle.can_meta_context(changes):
            raise DataError(f"The disk {self._address} has no dirty bitmap '{self._address.bitmap}'.")
        self._has_extents = bool(self._handle.can_meta_context(_ALLOCATION))
        self._can_zero = bool(self._handle.can_zero())
        self._is_consistent = bool(self._handle.can_multi_conn())
        self.size_bytes = int(self._handle.get_size())

    def another(self) -> NbdDisk | None:
        """One more connection; None when the server takes no more, or promises no consistency between several.

        NBD's flag CAN_MULTI_CONN is that promise: what one connection wrote and flushed, all of them read.
        """
        if not self._is_consistent:
            return None
        try:
            return NbdDisk(self._address, FURTHER_SECONDS)
        except DataError:
            return None

    def extents(self, offset_bytes: int, length_bytes: int) -> Iterator[Extent]:
        """The range as consecutive extents, zero or possibly data; covers the range exactly."""
        if not self._has_extents:
            return iter([Extent(offset_bytes, length_bytes)] if length_bytes else [])
        states = self._states(_ALLOCATION, offset_bytes, length_bytes)
        return merged(Extent(start, length, bool(flags & _ZERO)) for start, length, flags in states)

    def changed(self) -> Iterator[Extent]:
        """What the dirty bitmap calls changed, over the whole disk.

        Raises:
            DataError: the disk was opened without a bitmap.
        """
        context = self._address.changes_context
        if not context:
            raise DataError(f"The disk {self._address} was opened without a dirty bitmap.")
        states = self._states(context, 0, self.size_bytes)
        return merged(Extent(start, length) for start, length, flags in states if flags & _DIRTY)

    def _states(self, context: str, offset: int, length: int) -> Iterator[tuple[int, int, int]]:
        end = offset + length
        while offset < end:
            for count, flags in self._query(context, offset, min(end - offset, _QUERY_BYTES)):
                count_inside = min(count, end - offset)
                if count_inside:
                    yield offset, count_inside, flags
                offset += count_inside

    def _query(self, context: str, offset: int, length: int) -> list[tuple[int, int]]:
        """Ask once; the server may answer for less than was asked, or its last extent may reach further."""
        answer: list[int] = []

        def collect(name: str, _offset: int, entries: list[int], _error: object) -> int:
            if name == context:
                answer.extend(entries)
            return 0

        self._do("ask for the extents of", lambda: self._handle.aio_block_status(length, offset, collect))
        pairs = list(zip(answer[::2], answer[1::2], strict=True))
        # Each one must lead on: a server that names nothing would be asked for ever.
        if not pairs or any(count <= 0 for count, _ in pairs):
            raise DataError(
                f"The server of {self._address} gave no extents, or an empty one, at byte {offset}.",
                hint="That server violates the NBD protocol; use another one.",
            )
        return pairs

    def read(self, offset_bytes: int, length_bytes: int) -> bytes:
        """The bytes of the range; raises DataError where they cannot be had."""
        parts = [self._read_once(*part) for part in _requests(offset_bytes, length_bytes)]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _read_once(self, offset: int, length: int) -> bytes:
        if length == 0:
            return b""
        target = self._scratch_of(length)
        shared = nbd.Buffer.from_buffer(target)
        self._do("read", lambda: self._handle.aio_pread(shared, offset))
        return bytes(target)

    def _scratch_of(self, length: int) -> memoryview:
        """Memory that is used again for each read: fresh memory costs more than the copy out of it."""
        if len(self._scratch) < length:
            self._scratch = bytearray(length)
        return memoryview(self._scratch)[:length]

    def write(self, offset_bytes: int, data: bytes) -> None:
        """Write; durable only after ``flush``. Raises SiteFull where there is no room, DataError otherwise."""
        view = memoryview(data)
        for offset, length in _requests(offset_bytes, len(data)):
            part = view[offset - offset_bytes : offset - offset_bytes + length]
            self._do("write", partial(self._handle.aio_pwrite, nbd.Buffer.from_buffer(part), offset))

    def zero(self, offset_bytes: int, length_bytes: int) -> None:
        """Make the range read as zeros, as holes where the disk can."""
        if not self._can_zero:
            for offset, length in _requests(offset_bytes, length_bytes):
                self.write(offset, bytes(length))
            return
        end = offset_bytes + length_bytes
        while offset_bytes < end:
            length = min(end - offset_bytes, _QUERY_BYTES)
            self._do("zero", partial(self._handle.aio_zero, length, offset_bytes))
            offset_bytes += length

    def flush(self) -> None:
        """Return when everything written is durable."""
        if self._handle.can_flush():
            self._do("flush", self._handle.aio_flush)

    def close(self) -> None:
        """Close the connection; safe to repeat. Does not flush."""
        if self._handle_or_none is None:
            return
        try:
            if self._handle.aio_is_ready():
                self._disconnect()
        except nbd.Error:
            # The server is gone already, which is what closing wants.
            pass
        finally:
            # libnbd closes the socket with the last reference.
            self._handle_or_none = None

    def _disconnect(self) -> None:
        """Say goodbye; a server that does not close in time is left alone."""
        self._handle.aio_disconnect()
        while not (self._handle.aio_is_closed() or self._handle.aio_is_dead()):
            if self._handle.poll(CLOSE_SECONDS * 1000) == 0:
                return

    @property
    def _handle(self) -> Any:  # noqa: ANN401 - libnbd has no types
        if self._handle_or_none is None:
            raise DataError(f"The disk {self._address} was used after it was closed.")
        return self._handle_or_none

    def _do(self, what: str, issue: Callable[[], Any]) -> None:
        try:
            cookie = issue()
            while not self._handle.aio_command_completed(cookie):
                if self._handle.poll(STALL_SECONDS * 1000) == 0:
                    # The answer may yet come, into memory that is used again: this handle is done.
                    self._handle_or_none = None
                    raise DataError(
                        f"The server of {self._address} sent nothing for {STALL_SECONDS} s after a request to "
                        f"{what} it.",
                        hint="Check the site's storage and network, then repeat the run.",
                    )
        except nbd.Error as error:
            raise self._told(what, error) from error

    def _told(self, what: str, error: nbd.Error) -> DataError | SiteFull:
        if error.errnum == errno.ENOSPC:
            return SiteFull(
                f"The storage behind {self._address} is full.",
                hint="Free space on the target site and repeat the run.",
            )
        return DataError(f"{self._address} failed to {what} a disk: {error.string}")


def _requests(offset: int, length: int) -> Iterator[tuple[int, int]]:
    end = offset + length
    if length == 0:
        yield offset, 0
    while offset < end:
        step = min(end - offset, _REQUEST_BYTES)
        yield offset, step
        offset += step
