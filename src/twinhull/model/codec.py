"""Machines and standings as plain JSON data: the one form in which points and sites keep them.

A reader takes what it knows and ignores what it does not, so that an older Twinhull reads what a newer one wrote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twinhull.model.checks import bounded
from twinhull.model.errors import DataError
from twinhull.model.hardware_codec import (
    checked_boot_order,
    hardware_from_json,
    hardware_to_json,
    traits_from_json,
    traits_to_json,
)
from twinhull.model.machine import (
    MAX_EPOCH,
    BootMode,
    DiskKey,
    DiskSpec,
    Firmware,
    MachineSpec,
    NicSpec,
    PointId,
    Role,
    Standing,
)
from twinhull.model.names import (
    checked_cpu_count,
    checked_disk_bytes,
    checked_disk_key,
    checked_disk_keys,
    checked_mac,
    checked_machine_id,
    checked_machine_name,
    checked_memory_bytes,
    checked_network,
    checked_point_id,
    checked_tracker,
    checked_word,
)
from twinhull.model.steps import JsonValue

_Raw = Mapping[str, Any]


def spec_to_json(spec: MachineSpec) -> dict[str, JsonValue]:
    """The machine's description as JSON data."""
    return {
        "machine_id": spec.machine_id,
        "name": spec.name,
        "cpu_count": spec.cpu_count,
        "memory_bytes": spec.memory_bytes,
        "firmware": spec.firmware.value,
        "boot_mode": spec.boot_mode.value,
        "disks": [_disk_to_json(disk) for disk in spec.disks],
        "nics": [_nic_to_json(nic) for nic in spec.nics],
        "hardware": hardware_to_json(spec.hardware),
    }


def spec_from_json(raw: _Raw) -> MachineSpec:
    """The description again; raises DataError where it is none."""
    try:
        disks = tuple(_disk(disk) for disk in _list(raw["disks"]))
        checked_disk_keys(disk.key for disk in disks)
        return MachineSpec(
            machine_id=checked_machine_id(raw["machine_id"]),
            name=checked_machine_name(raw["name"]),
            cpu_count=checked_cpu_count(raw["cpu_count"]),
            memory_bytes=checked_memory_bytes(raw["memory_bytes"]),
            firmware=Firmware(raw["firmware"]),
            boot_mode=BootMode(raw["boot_mode"]),
            disks=disks,
            nics=tuple(_nic(nic) for nic in _list(raw["nics"])),
            hardware=hardware_from_json(raw.get("hardware")),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"A machine's description cannot be read: {error!r}.") from error


def standing_to_json(standing: Standing) -> dict[str, JsonValue]:
    """The standing as JSON data."""
    return {
        "machine_id": standing.machine_id,
        "role": standing.role.value,
        "epoch": standing.epoch,
        "point_id": standing.point_id,
        "is_dirty": standing.is_dirty,
        "applying_point_id": standing.applying_point_id,
        "trackers": {str(key): tracker for key, tracker in standing.trackers.items()},
        "claim": standing.claim,
        "capture": standing.capture,
        "elsewhere": standing.elsewhere,
    }


def standing_from_json(raw: _Raw) -> Standing:
    """The standing again; raises DataError where it is none."""
    try:
        return Standing(
            machine_id=checked_machine_id(raw["machine_id"]),
            role=_role(raw["role"]),
            epoch=bounded(raw["epoch"], 0, MAX_EPOCH, "an epoch"),
            point_id=_point(raw.get("point_id")),
            is_dirty=_flag(raw["is_dirty"]),
            applying_point_id=_point(raw.get("applying_point_id")),
            trackers=_trackers(raw.get("trackers") or {}),
            claim=_word(raw.get("claim")),
            capture=_word(raw.get("capture")),
            elsewhere=_word(raw.get("elsewhere")),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"A machine's standing cannot be read: {error!r}.") from error


def _disk_to_json(disk: DiskSpec) -> dict[str, JsonValue]:
    return {
        "key": disk.key,
        "size_bytes": disk.size_bytes,
        "bus": disk.bus,
        "traits": traits_to_json(disk.traits),
    }


def _disk(raw: _Raw) -> DiskSpec:
    return DiskSpec(
        checked_disk_key(raw["key"]),
        checked_disk_bytes(raw["size_bytes"]),
        checked_word(raw["bus"]),
        traits_from_json(raw.get("traits")),
    )


def _nic_to_json(nic: NicSpec) -> dict[str, JsonValue]:
    return {
        "mac": nic.mac,
        "network": nic.network,
        "model": nic.model,
        "boot_order": nic.boot_order,
        "is_unplugged": nic.is_unplugged,
    }


def _nic(raw: _Raw) -> NicSpec:
    return NicSpec(
        checked_mac(raw["mac"]),
        checked_network(raw["network"]),
        checked_word(raw["model"]),
        checked_boot_order(raw.get("boot_order", 0)),
        bool(raw.get("is_unplugged", False)),
    )


def _list(raw: Any) -> Sequence[_Raw]:  # noqa: ANN401 - whatever JSON holds, checked here
    if not isinstance(raw, list):
        raise TypeError("a list was expected")
    return raw


def _point(raw: Any) -> PointId | None:  # noqa: ANN401 - whatever JSON holds
    return checked_point_id(raw) if raw is not None else None


def _role(raw: Any) -> Role:  # noqa: ANN401 - whatever JSON holds
    role = Role(raw)
    if role is Role.UNREADABLE:
        raise ValueError("a stored standing cannot be marked unreadable")
    return role


def _flag(raw: object) -> bool:
    if not isinstance(raw, bool):
        raise TypeError("true or false was expected")
    return raw


def _word(raw: object) -> str:
    return checked_word(raw) if raw else ""


def _trackers(raw: Any) -> dict[DiskKey, str]:  # noqa: ANN401 - whatever JSON holds, checked here
    return {checked_disk_key(key): checked_tracker(tracker) for key, tracker in raw.items()}
