"""What a platform brings: a :class:`Platform` that opens a :class:`Site`, which offers parts.

Each part is one small protocol in a file of its own, and is there or absent with a reason. Callers ask for the part
that they need. No word of one platform stands here. The conformance kit tries the parts of any site, a user's own
included. In reading order: ``site``, ``parts``, then the parts.
"""

from twinhull.platforms.contract.capabilities import Capability, Support
from twinhull.platforms.contract.captures import Capture, CapturedDisk, CaptureRequest, Captures, CaptureWindow
from twinhull.platforms.contract.disks import DiskDoor, Disks
from twinhull.platforms.contract.guard import Grade, Guard, GuardGrade
from twinhull.platforms.contract.inventory import Inventory
from twinhull.platforms.contract.leftovers import TRACKER, Leftover, Leftovers, OnTrouble, raising
from twinhull.platforms.contract.options import NoOptions, checked_options, option, options_of, require_fixed
from twinhull.platforms.contract.parts import Absent, Parts
from twinhull.platforms.contract.platform import Platform
from twinhull.platforms.contract.power import Power
from twinhull.platforms.contract.replicas import ReplicaChanges, ReplicaRequest, Replicas
from twinhull.platforms.contract.screen import Screen
from twinhull.platforms.contract.serial_log import SerialLog
from twinhull.platforms.contract.settings import SiteIdentity, SiteSettings
from twinhull.platforms.contract.site import Site
from twinhull.platforms.contract.standings import Standings

__all__ = [
    "TRACKER",
    "Absent",
    "Capability",
    "Capture",
    "CaptureRequest",
    "CaptureWindow",
    "CapturedDisk",
    "Captures",
    "DiskDoor",
    "Disks",
    "Grade",
    "Guard",
    "GuardGrade",
    "Inventory",
    "Leftover",
    "Leftovers",
    "NoOptions",
    "OnTrouble",
    "Parts",
    "Platform",
    "Power",
    "ReplicaChanges",
    "ReplicaRequest",
    "Replicas",
    "Screen",
    "SerialLog",
    "Site",
    "SiteIdentity",
    "SiteSettings",
    "Standings",
    "Support",
    "checked_options",
    "option",
    "options_of",
    "raising",
    "require_fixed",
]
