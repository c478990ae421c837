"""Capturing a machine that is off: its images are served read-only by qemu-nbd, which also tells the trackers.

The new tracker is put into the images before anything is read, so that no write can fall between the two. What keeps
the machine from being started meanwhile is the platform's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from twinhull.blocks.nbd import NbdAddress
from twinhull.blocks.servers import Image, serving
from twinhull.model.machine import Consistency, MachineSpec
from twinhull.platforms.contract import CaptureRequest, CaptureWindow
from twinhull.platforms.libvirt.definition.domains import ImageFile
from twinhull.platforms.libvirt.finding import find, has_saved_memory
from twinhull.platforms.libvirt.opened import OpenedCapture, OpenedDisk, TrackerAnswer
from twinhull.platforms.libvirt.place import Place
from twinhull.platforms.libvirt.tracking import Disks, add_trackers, answer_of, hindrances

ASLEEP = (
    "The machine is asleep (managed save): what was in its memory is in no capture, and the capture is"
    " crash-consistent."
)


@contextmanager
def stopped_capture(
    place: Place, spec: MachineSpec, disks: Disks, request: CaptureRequest, scratch: str
) -> Iterator[OpenedCapture]:
    """Serve the images of a stopped machine; ``scratch`` is a directory of the host for the servers' sockets.

    ``disks`` are the machine's images with what was seen in them. Whoever calls takes the trackers away that do not
    stay.
    """
    new, reasons = add_trackers(place.host, disks, request.capture_id) if request.is_tracking else ({}, [])
    is_asleep = has_saved_memory(place, find(place, request.machine_id))
    hindered = hindrances(disks)
    with ExitStack() as stack:
        opened = []
        for image, info in disks:
            answer = answer_of(image, info, hindered.get(image.key, ""), request.since.get(image.key))
            address = stack.enter_context(_served(place, image, answer, f"{scratch}/{image.key}"))
            opened.append(OpenedDisk(image.key, info.size_bytes or 0, address, new.get(image.key), answer.reason))
        yield OpenedCapture(
            spec=spec,
            captured_at=place.clock.now(),
            consistency=Consistency.CRASH if is_asleep else Consistency.SHUT_DOWN,
            window=CaptureWindow(freeze_seconds=0.0, begin_seconds=0.0),
            reasons=(*((ASLEEP,) if is_asleep else ()), *reasons),
            disks=opened,
        )


@contextmanager
def _served(place: Place, image: ImageFile, answer: TrackerAnswer, socket_path: str) -> Iterator[NbdAddress]:
    served = Image(image.path, image.format, bitmap=answer.bitmap)
    with serving(place.host.start, served, socket_path) as path, place.host.forward(path) as local:
        yield NbdAddress(local, bitmap=answer.bitmap)
