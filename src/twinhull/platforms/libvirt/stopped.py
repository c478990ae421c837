"""Capturing a machine that is off: its images are served read-only by qemu-nbd, which also tells the trackers.

The new tracker is put into the images before anything is read, so that no write can fall between the two. What keeps
the machine from being started meanwhile is the platform's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from twinhull.blocks.nbd import NbdAddress
from twinhull.blocks.servers import Image, serving
from twinhull.model.machine import Consistency, MachineSpec
from twinhull.platforms.contract import CaptureRequest, CaptureWindow
from twinhull.platforms.libvirt.domains import ImageFile
from twinhull.platforms.libvirt.finding import find, has_saved_memory
from twinhull.platforms.libvirt.images import ImageInfo, add_tracker, tracker_name
from twinhull.platforms.libvirt.opened import (
    CANNOT_TRACK,
    NO_TRACKER_YET,
    OpenedCapture,
    OpenedDisk,
    TrackerAnswer,
    lost,
)
from twinhull.platforms.libvirt.place import Place

ASLEEP = (
    "The machine is asleep (managed save): what was in its memory is in no capture, and the capture is"
    " crash-consistent."
)

Disks = Sequence[tuple[ImageFile, ImageInfo]]


@contextmanager
def stopped_capture(
    place: Place, spec: MachineSpec, disks: Disks, request: CaptureRequest, scratch: str
) -> Iterator[OpenedCapture]:
    """Serve the images of a stopped machine; ``scratch`` is a directory of the host for the servers' sockets.

    ``disks`` are the machine's images with what was seen in them. Whoever calls takes the trackers away that do not
    stay.
    """
    if request.is_tracking:
        add_tracker(place.host, [image for image, _ in disks], tracker_name(request.capture_id))
    is_asleep = has_saved_memory(place, find(place, request.machine_id))
    with ExitStack() as stack:
        yield OpenedCapture(
            spec=spec,
            captured_at=place.clock.now(),
            consistency=Consistency.CRASH if is_asleep else Consistency.SHUT_DOWN,
            window=CaptureWindow(freeze_seconds=0.0, begin_seconds=0.0),
            reasons=(ASLEEP,) if is_asleep else (),
            disks=_serve(place, stack, disks, request, scratch),
        )


def _serve(place: Place, stack: ExitStack, disks: Disks, request: CaptureRequest, scratch: str) -> list[OpenedDisk]:
    opened = []
    for image, info in disks:
        answer = _answer(image, info, request.since.get(image.key))
        served = Image(image.path, image.format, bitmap=answer.bitmap)
        path = stack.enter_context(serving(place.host.start, served, f"{scratch}/{image.key}"))
        address = NbdAddress(stack.enter_context(place.host.forward(path)), bitmap=answer.bitmap)
        tracker = tracker_name(request.capture_id) if request.is_tracking and image.can_track else None
        opened.append(OpenedDisk(image.key, info.size_bytes or 0, address, tracker, answer.reason))
    return opened


def _answer(image: ImageFile, info: ImageInfo, since: str | None) -> TrackerAnswer:
    if not image.can_track:
        return TrackerAnswer(reason=CANNOT_TRACK)
    if not since:
        return TrackerAnswer(reason=NO_TRACKER_YET)
    return TrackerAnswer(bitmap=since) if info.trackers.get(since) else TrackerAnswer(reason=lost(since))
