"""What the conformance kit tries, one function each, in an order in which each finds what the earlier ones left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from twinhull.blocks.disk import Disk
from twinhull.model.errors import MachineBusy, NotFound, ReplicaDirty, StaleEpoch, StillRunning
from twinhull.model.extents import Extent, total_bytes
from twinhull.model.machine import Consistency, DiskKey, DiskSpec, MachineId, PointId, PowerState, Role, Standing
from twinhull.model.units import MIB
from twinhull.platforms.conformance.scratch import DISK_BYTES, GROWN_BYTES, KEY, Scratch
from twinhull.platforms.contract import Capability, CapturedDisk

_CHANGE_LIMIT_BYTES = 4 * MIB
_EPOCH = 7


class Nonconforming(Exception):
    """The site did something else than the contract says."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One check. What it ``needs`` the site must say that it has; ``is_on_scratch`` ones need the scratch machine."""

    name: str
    act: Callable[[Scratch], None]
    needs: Sequence[Capability] = ()
    is_on_scratch: bool = True


def require(condition: object, reason: str) -> None:
    """Raise Nonconforming with the reason unless the condition holds."""
    if not condition:
        raise Nonconforming(reason)


def require_refusal(act: Callable[[], object], kinds: tuple[type[Exception], ...], what: str) -> None:
    """The site must refuse with one of these errors."""
    try:
        act()
    except kinds:
        return
    raise Nonconforming(f"{what} was not refused.")


def inventory(scratch: Scratch) -> None:
    """The machines are listed, each once, with an id that is a lower-case UUID."""
    ids = [status.spec.machine_id for status in scratch.site.inventory.machines()]
    require(len(ids) == len(set(ids)), "A machine is listed twice.")
    require(all(item == item.lower() and item.count("-") == 4 for item in ids), "A machine's id is no UUID.")  # noqa: PLR2004


def prepare_replica(scratch: Scratch) -> None:
    """A replica is made, powered off, with disks that read as zeros; preparing it again changes nothing."""
    changes = scratch.prepare()
    require(changes.is_new and changes.new_disks == (KEY,), f"A new replica was told as {changes}.")
    again = scratch.prepare()
    require(not again.is_new and not again.new_disks, f"A replica that is there was told as {again}.")
    status = scratch.site.inventory.machine(scratch.machine_id)
    require(status.power.is_off, f"A new replica is {status.power.value}.")
    disk = status.spec.disk(KEY)
    require(disk and disk.size_bytes == DISK_BYTES, f"The replica's disk is listed as {disk}.")
    require(not any(scratch.read(0)[0]), "A new disk does not read as zeros.")


def write_and_read(scratch: Scratch) -> None:
    """What is written is read back by another handle and by a later opening; zeroed ranges read as zeros."""
    first, last = scratch.pattern(MIB), scratch.pattern(MIB)
    with scratch.site.disks.writing(scratch.machine_id, KEY) as door:
        one, other = door(), door()
        try:
            require(one.size_bytes == DISK_BYTES, f"The disk opens with {one.size_bytes} bytes.")
            one.write(MIB, first)
            one.write(DISK_BYTES - MIB, last)
            one.zero(MIB + MIB // 2, MIB // 2)
            one.flush()
            other.flush()
            require(other.read(DISK_BYTES - MIB, MIB) == last, "A second handle does not read what the first wrote.")
        finally:
            one.close()
            other.close()
    scratch.holds = {MIB: first[: MIB // 2] + bytes(MIB // 2), DISK_BYTES - MIB: last}
    zeroed, written = scratch.read(MIB, DISK_BYTES - MIB)
    require(written == last, "What was written and flushed is not there later.")
    require(zeroed == scratch.holds[MIB], "A zeroed range does not read as zeros.")


def extents(scratch: Scratch) -> None:
    """Extents cover the range exactly, and no data is called zero."""
    with scratch.site.disks.reading(scratch.machine_id, KEY) as door:
        disk = door()
        try:
            _require_honest(disk, list(disk.extents(0, DISK_BYTES)), 0, DISK_BYTES)
            _require_honest(disk, list(disk.extents(MIB, 3 * MIB)), MIB, 3 * MIB)
        finally:
            disk.close()


def _require_honest(disk: Disk, found: Sequence[Extent], offset_bytes: int, length_bytes: int) -> None:
    position = offset_bytes
    for extent in found:
        require(extent.offset_bytes == position, f"Extents leave a gap or overlap at {position}.")
        position = extent.end_bytes
        for start in range(extent.offset_bytes, extent.end_bytes if extent.is_zero else 0, MIB):
            piece = disk.read(start, min(MIB, extent.end_bytes - start))
            require(not any(piece), f"Data at {start} is called zero.")
    require(position == offset_bytes + length_bytes, f"Extents end at {position}.")


def standing(scratch: Scratch) -> None:
    """A standing is read as it was written; its epoch is never lowered, nor taken from the run that claimed it."""
    site, written = scratch.site, _standing(scratch, Role.REPLICA)
    require(site.standings.read(scratch.machine_id) is None, "A machine that has no standing is told to have one.")
    written = replace(written, point_id=PointId(f"{scratch.machine_id}/00000001"), trackers={KEY: "word-1"})
    site.standings.write(written)
    require(
        site.standings.read(scratch.machine_id) == written, f"It reads as {site.standings.read(scratch.machine_id)}."
    )
    require(written in site.standings.read_all(), "The list of standings lacks it.")
    listed = next(status for status in site.inventory.machines() if status.spec.machine_id == scratch.machine_id)
    for status in (listed, site.inventory.machine(scratch.machine_id)):
        require(status.standing == written, f"The inventory tells another standing: {status.standing}.")
    ours = replace(written, claim="run-1")
    site.standings.write(ours)
    site.standings.write(ours)
    for other, what in (
        (replace(ours, epoch=_EPOCH - 1), "Lowering the epoch"),
        (replace(ours, claim="run-2"), "Taking an epoch that another run has claimed"),
        (written, "Taking an epoch without saying who does"),
    ):
        require_refusal(lambda other=other: site.standings.write(other), (StaleEpoch,), what)  # type: ignore[misc]
        require(site.standings.read(scratch.machine_id) == ours, f"{what} was refused, and written all the same.")
    primary = replace(ours, role=Role.PRIMARY, epoch=_EPOCH + 1)
    there = replace(ours, point_id=PointId(f"{scratch.machine_id}/00000002"))
    for held, other, what in (
        (replace(ours, is_dirty=True), primary, "Making a replica the primary that is half-way"),
        (there, primary, "Making a replica the primary that is elsewhere"),
        (replace(ours, is_dirty=True), there, "Calling a replica clean at a point that it was not brought to"),
    ):
        site.standings.remove(scratch.machine_id)
        site.standings.write(held)
        require_refusal(lambda other=other: site.standings.write(other), (ReplicaDirty,), what)  # type: ignore[misc]
        require(site.standings.read(scratch.machine_id) == held, f"{what} was refused, and written all the same.")
    site.standings.remove(scratch.machine_id)
    site.standings.write(ours)
    primary = replace(ours, role=Role.PRIMARY)
    site.standings.write(primary)
    require_refusal(lambda: site.standings.write(ours), (StaleEpoch,), "Making a primary a replica in its own epoch")
    require(site.standings.read(scratch.machine_id) == primary, "A refused standing was written all the same.")
    site.standings.remove(scratch.machine_id)


def obstacles(scratch: Scratch) -> None:
    """Nothing is told to keep a machine off that needs nothing; a machine that is not there has no obstacles."""
    found = scratch.site.power.obstacles(scratch.machine_id)
    require(not found, f"A machine that needs nothing is told to have obstacles: {found}.")
    nobody = MachineId(scratch.ports.randomness.uuid())
    require_refusal(lambda: scratch.site.power.obstacles(nobody), (NotFound,), "Asking for a machine that is not there")


def guard(scratch: Scratch) -> None:
    """A replica, a dirty machine and a wrong epoch do not start."""
    refused = (StaleEpoch, ReplicaDirty)
    for held, epoch, what in (
        (_standing(scratch, Role.REPLICA), _EPOCH, "Starting a replica"),
        (_standing(scratch, Role.FENCED), _EPOCH, "Starting a fenced machine"),
        (replace(_standing(scratch, Role.PRIMARY), is_dirty=True), _EPOCH, "Starting a dirty machine"),
        (_standing(scratch, Role.PRIMARY), _EPOCH - 1, "Starting with an epoch that is past"),
    ):
        scratch.site.standings.write(held)
        require_refusal(lambda epoch=epoch: scratch.site.power.start(scratch.machine_id, epoch), refused, what)  # type: ignore[misc]
        power = scratch.site.power.state(scratch.machine_id)
        require(power.is_off, f"{what} was refused, and the machine is {power.value}.")


def start_as_primary(scratch: Scratch) -> None:
    """A canary: the power switch works, and the disks of a running machine are not handed out."""
    scratch.site.standings.write(_standing(scratch, Role.PRIMARY))
    scratch.site.power.start(scratch.machine_id, _EPOCH)
    power = scratch.wait_for_power(PowerState.RUNNING)
    require(power is PowerState.RUNNING, f"After its start the machine is {power.value}.")
    scratch.site.power.start(scratch.machine_id, _EPOCH)
    require_refusal(lambda: scratch.write(0, b"x" * 512), (StillRunning,), "Writing to a running machine's disk")
    require_refusal(scratch.prepare, (StillRunning,), "Preparing a running machine")


def capture_running(scratch: Scratch) -> None:
    """A running machine is captured, and a second capture at the same time is refused."""
    _start(scratch)
    with scratch.site.captures.capture(scratch.capture_request()) as capture:
        require(capture.consistency is not Consistency.SHUT_DOWN, "A running machine was captured as shut down.")
        require([disk.key for disk in capture.disks] == [KEY], f"The capture has the disks {capture.disks}.")
        _require_held(scratch, capture.disks[0], MIB)
        second = scratch.capture_request()

        def capture_again() -> None:
            with scratch.site.captures.capture(second):
                pass

        require_refusal(capture_again, (MachineBusy,), "A second capture at the same time")


def switch_off(scratch: Scratch) -> None:
    """A machine is switched off, and stopping one that is off is no error."""
    _start(scratch)
    _switch_off(scratch)
    require(scratch.site.power.stop(scratch.machine_id, 1.0), "Stopping a machine that is off is told as not obeyed.")


def capture_stopped(scratch: Scratch) -> None:
    """A stopped machine is captured, and reading it leaves no tracker behind that was not kept."""
    _switch_off(scratch)
    with scratch.site.captures.capture(scratch.capture_request()) as capture:
        require(capture.consistency in (Consistency.SHUT_DOWN, Consistency.CRASH), f"It reached {capture.consistency}.")
        _require_held(scratch, capture.disks[0], MIB)
        require(capture.disks[0].size_bytes == DISK_BYTES, "The captured disk has another size.")
    left = scratch.site.leftovers.find(scratch.machine_id, ())
    require(not left, f"A capture that was not kept has left {left}.")


def track_changes(scratch: Scratch) -> None:
    """One changed MiB is found, and little more than that is called changed."""
    _switch_off(scratch)
    tracker = _tracked_capture(scratch)
    scratch.write(8 * MIB, scratch.pattern(MIB))
    _require_tracked(scratch, tracker, Extent(8 * MIB, MIB))


def arm(scratch: Scratch) -> None:
    """Trackers that are armed on a stopped machine count from there."""
    _switch_off(scratch)
    armed = scratch.site.captures.arm_trackers(scratch.machine_id, f"{scratch.label}-armed")
    require(KEY in armed, "No tracker was armed.")
    scratch.write(16 * MIB, scratch.pattern(MIB))
    _require_tracked(scratch, armed[KEY], Extent(16 * MIB, MIB))


def broken_tracker(scratch: Scratch) -> None:
    """A tracker that is not there is said, not guessed."""
    _switch_off(scratch)
    with scratch.site.captures.capture(scratch.capture_request({KEY: "no-such-tracker"})) as capture:
        disk = capture.disks[0]
        require(not disk.is_tracked and disk.tracker_reason, "A tracker that is not there is told to be whole.")


def grow_disk(scratch: Scratch) -> None:
    """A grown disk keeps its content, and its new part reads as zeros."""
    _switch_off(scratch)
    changes = scratch.prepare(DiskSpec(KEY, GROWN_BYTES))
    require(changes.grown_disks == (KEY,) and not changes.new_disks, f"Growing a disk was told as {changes}.")
    before, added = scratch.read(DISK_BYTES - MIB, DISK_BYTES)
    require(before == scratch.holds.get(DISK_BYTES - MIB), "Growing a disk has changed its content.")
    require(not any(added), "The new part of a grown disk does not read as zeros.")


def add_and_remove_disk(scratch: Scratch) -> None:
    """A second disk comes, reads as zeros, and goes."""
    _switch_off(scratch)
    first, second = scratch.spec.disks[0], DiskSpec(DiskKey("vdb"), 8 * MIB)
    added = scratch.prepare(first, second)
    require(added.new_disks == (second.key,), f"An added disk was told as {added}.")
    removed = scratch.prepare(first)
    require(removed.removed_disks == (second.key,), f"A removed disk was told as {removed}.")


def _standing(scratch: Scratch, role: Role) -> Standing:
    return Standing(scratch.machine_id, role, _EPOCH)


def _start(scratch: Scratch) -> None:
    scratch.site.standings.write(_standing(scratch, Role.PRIMARY))
    scratch.site.power.start(scratch.machine_id, _EPOCH)
    scratch.wait_for_power(PowerState.RUNNING)


def _switch_off(scratch: Scratch) -> None:
    scratch.site.power.kill(scratch.machine_id)
    power = scratch.wait_for_power(PowerState.OFF, PowerState.CRASHED)
    require(power.is_off, f"After it was switched off the machine is {power.value}.")


def _require_held(scratch: Scratch, disk: CapturedDisk, offset_bytes: int) -> None:
    """The capture holds what was written there. It is compared with that: a disk opened once more would cost."""
    handle = disk.open()
    try:
        found = handle.read(offset_bytes, MIB)
    finally:
        handle.close()
    require(found == scratch.holds.get(offset_bytes), "The capture does not hold what was written to the disk.")


def _tracked_capture(scratch: Scratch) -> str:
    with scratch.site.captures.capture(scratch.capture_request()) as capture:
        tracker = capture.disks[0].tracker_id
        require(tracker, "The capture has left no tracker.")
        capture.keep_trackers()
    return str(tracker)


def _require_tracked(scratch: Scratch, tracker: str, written: Extent) -> None:
    with scratch.site.captures.capture(scratch.capture_request({KEY: tracker})) as capture:
        disk = capture.disks[0]
        require(disk.is_tracked, f"The tracker is not usable: {disk.tracker_reason}")
        changed = sorted(disk.changed())
        _require_held(scratch, disk, written.offset_bytes)
        capture.keep_trackers()
    require(_covers(changed, written), f"What was written is not called changed: {changed}.")
    amount = total_bytes(changed)
    require(amount < _CHANGE_LIMIT_BYTES, f"{amount} bytes are called changed, {written.length_bytes} were written.")


def _covers(changed: Sequence[Extent], wanted: Extent) -> bool:
    position = wanted.offset_bytes
    for extent in changed:
        if extent.offset_bytes <= position < extent.end_bytes:
            position = extent.end_bytes
    return position >= wanted.end_bytes


_RUNNING = (Capability.POWER, Capability.CAPTURE_RUNNING)
_STOPPED = (Capability.REPLICA, Capability.CAPTURE_STOPPED)
_TRACKED = (*_STOPPED, Capability.CHANGE_TRACKING)

CHECKS: Sequence[Trial] = (
    Trial("inventory", inventory, (Capability.INVENTORY,), is_on_scratch=False),
    Trial("prepare a replica", prepare_replica, (Capability.REPLICA,), is_on_scratch=False),
    Trial("write, read back, zero, flush", write_and_read, (Capability.REPLICA,)),
    Trial("extents", extents, (Capability.REPLICA,)),
    Trial("standing", standing),
    Trial("obstacles", obstacles, (Capability.POWER,)),
    Trial("guard refuses to start", guard, (Capability.POWER,)),
    Trial("start as primary", start_as_primary, (Capability.POWER,)),
    Trial("capture running", capture_running, _RUNNING),
    Trial("switch off", switch_off, (Capability.POWER,)),
    Trial("capture stopped", capture_stopped, _STOPPED),
    Trial("track changes", track_changes, _TRACKED),
    Trial("armed trackers", arm, _TRACKED),
    Trial("broken tracker is said", broken_tracker, _STOPPED),
    Trial("grow a disk", grow_disk, (Capability.REPLICA,)),
    Trial("add and remove a disk", add_and_remove_disk, (Capability.REPLICA,)),
)
