"""Disk images on the host: their sizes, and the trackers (dirty bitmaps of qcow2) in them while nothing runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from twinhull.platforms.hosts import Host, check
from twinhull.platforms.xen.domains import XenImage

PREFIX = "twinhull-"

_INFO = """
while [ $# -gt 0 ]; do
  if [ -b "$2" ]; then printf '{"virtual-size": %s}' "$(blockdev --getsize64 "$2")"
  else qemu-img info --force-share --output=json -f "$1" -- "$2" || printf '{}'; fi
  printf '\\0'; shift 2
done
"""


def tracker_name(capture_id: str) -> str:
    """The name of the tracker that a capture leaves."""
    return PREFIX + capture_id


class Images:
    """The images of one host."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def sizes(self, images: Iterable[XenImage]) -> Mapping[str, int]:
        """The virtual sizes of images by their paths, asked in one go; what cannot be looked at is absent."""
        asked = [image for image in images if image.path]
        found = zip(asked, self._info(asked), strict=True)
        return {image.path: int(info["virtual-size"]) for image, info in found if "virtual-size" in info}

    def trackers(self, image: XenImage) -> Mapping[str, bool]:
        """Our trackers in a stopped machine's image, each with whether it is whole and counting."""
        if image.format != "qcow2":
            return {}
        data = self._info([image])[0].get("format-specific", {}).get("data", {})
        return {
            entry["name"]: "auto" in entry["flags"] and "in-use" not in entry["flags"]
            for entry in data.get("bitmaps", [])
            if entry["name"].startswith(PREFIX)
        }

    def add_tracker(self, image: XenImage, name: str) -> None:
        """Leave a tracker in a stopped machine's qcow2 image; safe to repeat."""
        if name not in self.trackers(image):
            check(self._host, ["qemu-img", "bitmap", "--add", "-f", "qcow2", "--", image.path, name])

    def drop_tracker(self, image: XenImage, name: str) -> None:
        """Take a tracker out of a stopped machine's image; safe to repeat."""
        if name in self.trackers(image):
            check(self._host, ["qemu-img", "bitmap", "--remove", "-f", "qcow2", "--", image.path, name])

    def _info(self, images: Iterable[XenImage]) -> list[dict[str, Any]]:
        arguments = [word for image in images for word in (image.format, image.path)]
        if not arguments:
            return []
        answer = check(self._host, ["sh", "-c", _INFO, "twinhull-info", *arguments])
        return [json.loads(part or b"{}") for part in answer.split(b"\0")[:-1]]
