"""Capturing a machine that is off: its images are served read-only by qemu-nbd, which also tells the bitmaps.

While they are served, the images' locks keep the machine from being started: a start in the middle fails and can be
repeated. The new tracker is put into the image before anything is read, so that no write can fall between the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from twinhull.blocks.nbd import NbdAddress
from twinhull.blocks.servers import Image, serving
from twinhull.model.machine import Consistency, DiskSpec
from twinhull.platforms.contract import CaptureRequest, CaptureWindow
from twinhull.platforms.qemu.domains import Definition, ImageFile
from twinhull.platforms.qemu.inventory import Machines
from twinhull.platforms.qemu.opened import (
    CANNOT_TRACK,
    NO_TRACKER_YET,
    OpenedCapture,
    OpenedDisk,
    TrackerAnswer,
    lost,
)
from twinhull.platforms.qemu.place import Place
from twinhull.platforms.qemu.trackers import Trackers, tracker_name


class StoppedCaptures:
    """Captures of a site's machines that are off."""

    def __init__(self, place: Place, machines: Machines, trackers: Trackers) -> None:
        self._machines = machines
        self._trackers = trackers
        self._host = place.host
        self._clock = place.clock

    @contextmanager
    def capture(self, request: CaptureRequest, scratch: str) -> Iterator[OpenedCapture]:
        """Capture; ``scratch`` is a directory of the host for sockets, taken away by the caller."""
        domain = self._machines.domain(request.machine_id)
        definition = self._machines.definition(domain)
        sizes = self._machines.exact_sizes(domain, definition)
        spec = definition.spec(sizes)
        capture: OpenedCapture | None = None
        try:
            with ExitStack() as stack:
                disks = [self._open(stack, definition, disk, request, scratch) for disk in spec.disks]
                capture = OpenedCapture(
                    spec=spec,
                    captured_at=self._clock.now(),
                    consistency=Consistency.SHUT_DOWN,
                    window=CaptureWindow(freeze_seconds=0.0, begin_seconds=0.0),
                    reasons=(),
                    disks=disks,
                )
                yield capture
        finally:
            self._end(definition, request, is_kept=capture is not None and capture.is_kept)

    def _open(
        self, stack: ExitStack, definition: Definition, disk: DiskSpec, request: CaptureRequest, scratch: str
    ) -> OpenedDisk:
        image = next(image for image in definition.disks if image.key == disk.key)
        answer = self._answer(image, request.since.get(disk.key))
        name = tracker_name(request.capture_id)
        has_tracker = request.is_tracking and self._trackers.add_stopped(image, name)
        served = Image(image.path, image.format, bitmap=answer.bitmap)
        path = stack.enter_context(serving(self._host.start, served, f"{scratch}/{disk.key}"))
        local = stack.enter_context(self._host.forward(path))
        return OpenedDisk(
            key=disk.key,
            size_bytes=disk.size_bytes,
            address=NbdAddress(local, bitmap=answer.bitmap),
            tracker_id=name if has_tracker else None,
            tracker_reason=answer.reason,
        )

    def _answer(self, image: ImageFile, since: str | None) -> TrackerAnswer:
        if not image.can_track:
            return TrackerAnswer(reason=CANNOT_TRACK)
        if not since:
            return TrackerAnswer(reason=NO_TRACKER_YET)
        is_whole = self._trackers.bitmaps(image).get(since, False)
        return TrackerAnswer(bitmap=since) if is_whole else TrackerAnswer(reason=lost(since))

    def _end(self, definition: Definition, request: CaptureRequest, *, is_kept: bool) -> None:
        present = self._machines.still_there(request.machine_id)
        if present is None:
            return
        name = tracker_name(request.capture_id)
        known = self._trackers.all_names(present, definition)
        doomed = known - {name} if is_kept else known & {name}
        is_off = self._machines.power_of(present).is_off
        self._trackers.drop(present, definition, doomed, is_off=is_off)
