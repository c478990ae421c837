"""A machine's hardware as JSON data; every field is optional, and absent means its default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twinhull.model.checks import bounded, checked_text
from twinhull.model.hardware import TIMER_SETTINGS, Clock, ClockOffset, CpuTopology, DiskTraits, Hardware, Timer
from twinhull.model.lacks import lacks_from_json, lacks_to_json
from twinhull.model.names import checked_cpu_count, checked_word
from twinhull.model.steps import JsonValue

_Raw = Mapping[str, Any]
MAX_BLOCK_BYTES = 1 << 21
MAX_BOOT_ORDER = 65_536
_MAX_SECONDS = 1 << 40
"""Some thirty thousand years."""
_MAX_TIMERS = 32


def hardware_to_json(hardware: Hardware) -> dict[str, JsonValue]:
    """The hardware as JSON data."""
    topology = hardware.topology
    return {
        "architecture": hardware.architecture,
        "chipset": hardware.chipset,
        "scsi_controller": hardware.scsi_controller,
        "topology": [topology.sockets, topology.cores, topology.threads] if topology else None,
        "clock": _clock_to_json(hardware.clock),
        "has_rng": hardware.has_rng,
        "watchdog": hardware.watchdog,
        "unspoken": lacks_to_json(hardware.unspoken),
    }


def hardware_from_json(raw: object) -> Hardware:
    """The hardware again; raises ValueError, KeyError, TypeError, DataError where it is none."""
    fields = _object(raw)
    topology = fields.get("topology")
    return Hardware(
        architecture=_word(fields, "architecture"),
        chipset=_word(fields, "chipset"),
        scsi_controller=_word(fields, "scsi_controller"),
        topology=None if topology is None else CpuTopology(*(checked_cpu_count(count) for count in topology)),
        clock=_clock_from_json(_object(fields.get("clock"))),
        has_rng=_flag(fields, "has_rng"),
        watchdog=_text(fields, "watchdog"),
        unspoken=lacks_from_json(fields.get("unspoken")),
    )


def traits_to_json(traits: DiskTraits) -> dict[str, JsonValue]:
    """A disk's traits as JSON data."""
    return {
        "logical_block_bytes": traits.logical_block_bytes,
        "physical_block_bytes": traits.physical_block_bytes,
        "serial": traits.serial,
        "wwn": traits.wwn,
        "boot_order": traits.boot_order,
        "is_read_only": traits.is_read_only,
    }


def traits_from_json(raw: object) -> DiskTraits:
    """The traits again; raises ValueError, TypeError where they are none."""
    fields = _object(raw)
    return DiskTraits(
        logical_block_bytes=checked_block_bytes(fields.get("logical_block_bytes", 0)),
        physical_block_bytes=checked_block_bytes(fields.get("physical_block_bytes", 0)),
        serial=_text(fields, "serial"),
        wwn=_word(fields, "wwn"),
        boot_order=checked_boot_order(fields.get("boot_order", 0)),
        is_read_only=_flag(fields, "is_read_only"),
    )


def checked_block_bytes(value: object) -> int:
    """A disk's sector size: 0 (the platform's own) or a power of two."""
    size = bounded(value, 0, MAX_BLOCK_BYTES, "a sector size in bytes")
    if size & (size - 1):
        raise ValueError(f"{size} is not a sector size: it is not a power of two.")
    return size


def checked_boot_order(value: object) -> int:
    """A place in the boot order, 0 for none."""
    return bounded(value, 0, MAX_BOOT_ORDER, "a place in the boot order")


def checked_seconds(value: object) -> int:
    """A clock's adjustment or instant."""
    return bounded(value, -_MAX_SECONDS, _MAX_SECONDS, "a number of seconds")


def _clock_to_json(clock: Clock) -> dict[str, JsonValue]:
    return {
        "offset": clock.offset.value,
        "zone": clock.zone,
        "basis": clock.basis.value,
        "adjustment_seconds": clock.adjustment_seconds,
        "start_seconds": clock.start_seconds,
        "timers": [{"name": timer.name, "settings": dict(timer.settings)} for timer in clock.timers],
    }


def _clock_from_json(raw: _Raw) -> Clock:
    timers = raw.get("timers", [])
    if not isinstance(timers, list) or len(timers) > _MAX_TIMERS:
        raise ValueError("its timers are not a list, or too many")
    return Clock(
        offset=ClockOffset(raw.get("offset", ClockOffset.UTC)),
        zone=_text(raw, "zone"),
        basis=ClockOffset(raw.get("basis", ClockOffset.UTC)),
        adjustment_seconds=checked_seconds(raw.get("adjustment_seconds", 0)),
        start_seconds=checked_seconds(raw.get("start_seconds", 0)),
        timers=tuple(_timer(_object(timer)) for timer in timers),
    )


def _timer(raw: _Raw) -> Timer:
    settings = {str(key): checked_word(value) for key, value in _object(raw.get("settings")).items()}
    if not settings.keys() <= TIMER_SETTINGS:
        raise ValueError("a timer has unknown settings")
    return Timer(checked_word(raw["name"]), settings)


def _object(raw: object) -> _Raw:
    """A JSON object; absent is empty."""
    if raw is None:
        return {}
    if not isinstance(raw, Mapping):
        raise TypeError("an object was expected")
    return raw


def _text(raw: _Raw, key: str) -> str:
    value = raw.get(key, "")
    return "" if value == "" else checked_text(value)


def _word(raw: _Raw, key: str) -> str:
    value = raw.get(key, "")
    return "" if value == "" else checked_word(value)


def _flag(raw: _Raw, key: str) -> bool:
    value = raw.get(key, False)
    if not isinstance(value, bool):
        raise TypeError(f"{key} is neither true nor false")
    return value
