"""Capturing a running machine: freeze, libvirt's backup in pull mode with a checkpoint, thaw, read over NBD, end.

Sources: libvirt's "Backup XML format" (formatbackup) and "Checkpoint XML format" (formatcheckpoint).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from xml.sax.saxutils import quoteattr

import libvirt

from twinhull.blocks.nbd import NbdAddress
from twinhull.model.errors import MachineBusy, SiteError
from twinhull.model.machine import DiskKey, DiskSpec, MachineSpec
from twinhull.model.ports import Clock
from twinhull.model.units import KIB
from twinhull.platforms.contract import CaptureRequest, CaptureWindow
from twinhull.platforms.libvirt.connection import as_site_error, told
from twinhull.platforms.libvirt.definition.domains import Definition, ImageFile
from twinhull.platforms.libvirt.finding import definition_of, find, find_again, power
from twinhull.platforms.libvirt.images import ImageInfo, look_into
from twinhull.platforms.libvirt.opened import CANNOT_TRACK, OpenedCapture, OpenedDisk, TrackerAnswer
from twinhull.platforms.libvirt.place import Place
from twinhull.platforms.libvirt.tracking import hindrances, lost, proven, tracker_name
from twinhull.platforms.qemu.freeze import Frozen, frozen
from twinhull.platforms.qemu.inventory import Machines
from twinhull.platforms.qemu.keeper import Keeper
from twinhull.platforms.qemu.room import (
    called_off,
    held_up,
    is_running_out,
    let_all_go_on,
    require_room,
    watching,
)
from twinhull.platforms.qemu.trackers import Trackers

END_SECONDS = 60.0
"""How long libvirt may take to end a backup that was called off; it usually takes a few milliseconds."""

_EXPORT_BITMAP = "changed"

THAW_TRACE_BYTES = 64 * KIB
"""What a thaw alone makes a tracker call changed: one grain, where a file system notes that it goes on."""

QUIET = (
    "Nothing was written since the last capture but what its own thaw writes: the guest is not frozen, "
    "and the capture is crash-consistent."
)

Answers = Mapping[DiskKey, TrackerAnswer]
Looked = Mapping[ImageFile, ImageInfo]
"""What was seen in each of a machine's images."""


@dataclass(frozen=True, slots=True)
class _Subject:
    """What is captured, and into which directory QEMU puts its scratch files and socket."""

    domain: libvirt.virDomain
    definition: Definition
    spec: MachineSpec
    request: CaptureRequest
    scratch: str
    infos: Mapping[DiskKey, ImageInfo]
    hindrances: Mapping[DiskKey, str]

    @property
    def new_trackers(self) -> list[str]:
        """The names of the trackers that it may leave."""
        return [tracker_name(self.request.capture_id, disk.key) for disk in self.definition.disks]

    def getting_trackers(self) -> dict[DiskKey, ImageInfo]:
        """The disks that can have a tracker which could be believed."""
        able = [disk.key for disk in self.definition.disks if disk.can_track and disk.key not in self.hindrances]
        return {key: self.infos[key] for key in able if self.request.is_tracking}

    def backup(self, answers: Answers) -> str:
        """The XML of the backup job."""
        return backup_xml(self.definition, {disk.key for disk in self.spec.disks}, answers, self.scratch)


@dataclass(frozen=True, slots=True)
class _Begun:
    frozen: Frozen
    window: CaptureWindow
    answers: Answers
    trackers: Mapping[DiskKey, str]


class RunningCaptures:
    """Captures of a site's running machines."""

    def __init__(self, place: Place, machines: Machines, trackers: Trackers) -> None:
        self._place = place
        self._machines = machines
        self._trackers = trackers
        self._site = place.site

    @contextmanager
    def capture(self, request: CaptureRequest, keeper: Keeper, scratch: str, looked: Looked) -> Iterator[OpenedCapture]:
        """Capture; ``scratch`` is a directory of the host that QEMU may write to, taken away by the caller.

        ``looked`` is what was seen in the machine's images just now.
        """
        domain = find(self._place, request.machine_id)
        definition = definition_of(self._place, domain)
        sizes = self._machines.exact_sizes(domain, definition)
        subject = self._subject(domain, definition, sizes, request, scratch, looked)
        require_room(self._place, scratch, subject.spec)
        with self._called_off_for_room(subject):
            answers = self._answers(subject)
            captured_at = self._place.clock.now()
            capture: OpenedCapture | None = None
            try:
                begun = self._begin(subject, answers, keeper)
                with self._place.host.forward(f"{scratch}/nbd") as socket:
                    capture = OpenedCapture(
                        spec=subject.spec,
                        captured_at=captured_at,
                        consistency=begun.frozen.consistency,
                        window=begun.window,
                        reasons=begun.frozen.reasons,
                        disks=[_disk(begun, disk, socket) for disk in subject.spec.disks],
                    )
                    yield capture
            finally:
                self._end(subject, is_kept=capture is not None and capture.is_kept)

    @contextmanager
    def _called_off_for_room(self, subject: _Subject) -> Iterator[None]:
        """Give the capture up, rather than a guest, before the room for it is used up.

        Raises:
            SiteFull: it was called off; machines that stood still for it go on by now.
        """
        before = held_up(self._place)
        if subject.request.machine_id in before:
            yield  # it stood still before, for another reason: that is left as it is
            return
        ended: list[list[str]] = []

        def call_off() -> bool:
            is_short = is_running_out(self._place, subject.scratch, subject.spec)
            return (is_short or bool(held_up(self._place) - before)) and end()

        def end() -> bool:
            domain = find_again(self._place, subject.request.machine_id)
            if domain is not None:
                self._end_backup(subject, domain)
            ended.append(let_all_go_on(self._place, before))
            return True

        def is_held() -> bool:
            return bool(held_up(self._place) - before) and end()

        name = subject.spec.name
        try:
            with watching(call_off):
                yield
        except BaseException as error:
            if (ended or is_held()) and isinstance(error, Exception):
                raise called_off(self._place, name, subject.scratch, ended[0]) from error
            raise
        if ended or is_held():
            raise called_off(self._place, name, subject.scratch, ended[0])

    def _subject(  # noqa: PLR0917 - all that a capture begins with
        self,
        domain: libvirt.virDomain,
        definition: Definition,
        sizes: Mapping[DiskKey, int],
        request: CaptureRequest,
        scratch: str,
        looked: Looked,
    ) -> _Subject:
        if looked.keys() != set(definition.disks):  # a disk was plugged in, or out, meanwhile
            looked = dict(zip(definition.disks, look_into(self._place.host, definition.disks), strict=True))
        infos = {image.key: info for image, info in looked.items()}
        hindered = hindrances(list(looked.items()), is_guarded=not self._place.connection.is_embedded)
        return _Subject(domain, definition, definition.spec(sizes), request, scratch, infos, hindered)

    def _answers(self, subject: _Subject) -> Answers:
        """For each disk, whether its tracker can be used; asked before the guest is frozen."""
        return {disk.key: self._answer(subject, disk) for disk in subject.definition.disks}

    def _answer(self, subject: _Subject, disk: ImageFile) -> TrackerAnswer:
        if not disk.can_track:
            return TrackerAnswer(reason=CANNOT_TRACK)
        since, hindrance = subject.request.since.get(disk.key), subject.hindrances.get(disk.key, "")
        answer = proven(subject.infos[disk.key], hindrance, since)
        if not answer.bitmap:
            return answer
        changed_bytes = self._trackers.changed_bytes(subject.domain, answer.bitmap, disk.key)
        if changed_bytes is None:
            return TrackerAnswer(reason=lost(answer.bitmap))
        return replace(answer, changed_bytes=changed_bytes)

    def _begin(self, subject: _Subject, answers: Answers, keeper: Keeper) -> _Begun:
        """Freeze, begin, thaw, and measure how long the guest stood still."""
        before = power(self._place, subject.domain)
        started = self._place.clock.monotonic()
        with ExitStack() as stack:
            state = Frozen()
            if subject.request.is_freezing and is_quiet(answers):
                state.reasons.append(QUIET)
            elif subject.request.is_freezing:
                state = stack.enter_context(frozen(subject.domain, subject.definition, before, keeper))
            begin_started = self._place.clock.monotonic()
            # A tracker that begins a moment before the backup counts a little more than it must, and nothing less.
            trackers, not_left = self._trackers.leave(
                subject.domain, subject.definition, subject.getting_trackers(), subject.request.capture_id
            )
            state.reasons.extend(not_left)
            answers = self._begin_backup(subject, answers)
            begin_seconds = self._place.clock.monotonic() - begin_started
        freeze_seconds = self._place.clock.monotonic() - started if state.is_frozen else begin_seconds
        return _Begun(state, CaptureWindow(freeze_seconds, begin_seconds), answers, trackers)

    def _begin_backup(self, subject: _Subject, answers: Answers) -> Answers:
        """Begin; where a tracker breaks at the very last moment, begin without any."""
        try:
            subject.domain.backupBegin(subject.backup(answers), None)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_CHECKPOINT_INCONSISTENT:
                self._refused(subject, error)
        else:
            return answers
        demoted: Answers = {
            key: TrackerAnswer(reason=lost(answer.bitmap)) if answer.bitmap else answer
            for key, answer in answers.items()
        }
        with told(self._site, "beginning a backup"):
            subject.domain.backupBegin(subject.backup(demoted), None)
        return demoted

    def _refused(self, subject: _Subject, error: libvirt.libvirtError) -> None:
        name = subject.spec.name
        socket = backup_socket(subject.domain, self._site)
        if socket is not None and not socket.startswith(subject.scratch):
            raise MachineBusy(
                f"Another program's backup of machine '{name}' is under way on site '{self._site}'.",
                hint="Wait for its end, or look at it with: virsh backup-dumpxml",
            ) from error
        if "Permission denied" in str(error):
            raise SiteError(
                f"QEMU may not use {subject.scratch} on site '{self._site}' for a capture of machine '{name}': {error}",
                hint="Let AppArmor or SELinux allow it, as docs/platforms/qemu.md says for hosts that confine QEMU.",
            ) from error
        with told(self._site, f"beginning a backup of machine '{name}'"):
            raise error

    def _end(self, subject: _Subject, *, is_kept: bool) -> None:
        """End our backup; then either the older trackers go, or the new one."""
        machine_id = subject.request.machine_id
        domain = find_again(self._place, machine_id)
        if domain is None:
            return
        self._end_backup(subject, domain)
        self._trackers.settle(machine_id, subject.definition, subject.new_trackers, is_kept=is_kept)

    def _end_backup(self, subject: _Subject, domain: libvirt.virDomain) -> None:
        if (backup_socket(domain, self._site) or "").startswith(subject.scratch):
            end_backup(domain, self._site, self._place.clock)


def is_quiet(answers: Answers) -> bool:
    """Whether a freeze would change more than it could save: an idle machine shall move no data.

    Each freeze and thaw writes; to freeze an idle machine at every capture would make a change for the next one.
    """
    return bool(answers) and all(
        answer.bitmap and answer.changed_bytes <= THAW_TRACE_BYTES for answer in answers.values()
    )


def _disk(begun: _Begun, disk: DiskSpec, socket: str) -> OpenedDisk:
    answer = begun.answers[disk.key]
    return OpenedDisk(
        key=disk.key,
        size_bytes=disk.size_bytes,
        address=NbdAddress(socket, disk.key, _EXPORT_BITMAP if answer.bitmap else None),
        tracker_id=begun.trackers.get(disk.key),
        tracker_reason=answer.reason,
    )


def backup_xml(definition: Definition, keys: set[DiskKey], answers: Answers, scratch: str) -> str:
    """The XML of a pull-mode backup of those disks, each by its own tracker or in full."""
    parts = []
    for disk in definition.disks:
        if disk.key not in keys:
            parts.append(f"<disk name='{disk.key}' backup='no'/>")
            continue
        bitmap = answers[disk.key].bitmap
        mode = "backupmode='full'"
        if bitmap:
            mode = f"backupmode='incremental' incremental='{bitmap}' exportbitmap='{_EXPORT_BITMAP}'"
        file = quoteattr(f"{scratch}/{disk.key}")
        parts.append(
            f"<disk name='{disk.key}' backup='yes' type='file' exportname='{disk.key}' {mode}>"
            f"<driver type='qcow2'/><scratch file={file}/></disk>"
        )
    parts += [f"<disk name='{name}' backup='no'/>" for name in definition.other_devices]
    socket = quoteattr(f"{scratch}/nbd")
    server = f"<server transport='unix' socket={socket}/>"
    return f"<domainbackup mode='pull'>{server}<disks>{''.join(parts)}</disks></domainbackup>"


_NO_BACKUP = (libvirt.VIR_ERR_NO_DOMAIN_BACKUP, libvirt.VIR_ERR_OPERATION_INVALID, libvirt.VIR_ERR_NO_DOMAIN)


def backup_socket(domain: libvirt.virDomain, site: str) -> str | None:
    """The socket path of the machine's backup job, empty where it has none of its own; None without a job."""
    try:
        xml: str = domain.backupGetXMLDesc(0)
    except libvirt.libvirtError as error:
        if error.get_error_code() in _NO_BACKUP:
            return None
        raise as_site_error(site, "looking at its backup job", error) from error
    return xml.partition("socket='")[2].partition("'")[0]


def end_backup(domain: libvirt.virDomain, site: str, clock: Clock) -> None:
    """Call off the machine's backup job and wait until it is gone; safe to repeat.

    A job whose end libvirtd missed raises while it is being cleared: what counts is that it is gone.
    """
    deadline = clock.monotonic() + END_SECONDS
    complaint = ""
    while backup_socket(domain, site) is not None:
        try:
            domain.abortJob()
        except libvirt.libvirtError as error:
            complaint = str(error)
        if clock.monotonic() > deadline:
            raise SiteError(
                f"The backup job of machine {domain.name()} on site '{site}' did not end: {complaint}",
                hint="Look at it with virsh domjobinfo; the next run tries again.",
            )
        clock.sleep(0.02)


__all__ = ["RunningCaptures", "backup_socket", "backup_xml", "end_backup"]
