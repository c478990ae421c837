"""Copying, comparing and summing disks: each written once, for whatever opens as a disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from threading import Lock

from blake3 import blake3

from twinhull.blocks.disk import Disk, DiskOpener
from twinhull.blocks.progress import Listener, Meter
from twinhull.blocks.workers import work_through
from twinhull.model.errors import TargetTooSmall
from twinhull.model.extents import Extent, merged, pieces
from twinhull.model.ports import Clock
from twinhull.model.units import MIB

PIECE_BYTES = MIB
"""What one worker moves at a time: workers times this, twice, is the memory in use."""

_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class Work:
    """How a piece of work is done: by how many workers, told to whom, called off by whom."""

    clock: Clock
    workers: int = 4
    listener: Listener | None = None
    is_cancelled: Callable[[], bool] = lambda: False


@dataclass(frozen=True, slots=True)
class Copied:
    """What a copy did: bytes written as data, bytes made zero, and the time it took until they were durable."""

    data_bytes: int
    zero_bytes: int
    seconds: float


def all_extents(opener: DiskOpener) -> Iterator[Extent]:
    """The whole disk's extents, by a handle of its own."""
    with closing(opener()) as disk:
        yield from disk.extents(0, disk.size_bytes)


def copy(source: DiskOpener, target: DiskOpener, work: Work, extents: Iterable[Extent] | None = None) -> Copied:
    """Copy the source's extents (all of it, where none are given) to the same place of the target, and flush.

    Zero extents are not read; the target is told to zero them. A piece is copied whole or its error is raised.

    Raises:
        TargetTooSmall: the target ends before the source does.
        Cancelled: the work was called off.
    """
    _check_room(source, target)
    data, zero = Meter(work.clock, work.listener), Meter(work.clock)

    @contextmanager
    def worker() -> Iterator[Callable[[Extent], None]]:
        with ExitStack() as stack:
            reader, writer = (stack.enter_context(closing(opener())) for opener in (source, target))

            def act(piece: Extent) -> None:
                if piece.is_zero:
                    writer.zero(piece.offset_bytes, piece.length_bytes)
                    zero.add(piece.length_bytes)
                else:
                    writer.write(piece.offset_bytes, reader.read(piece.offset_bytes, piece.length_bytes))
                    data.add(piece.length_bytes)

            yield act
            writer.flush()

    chosen = all_extents(source) if extents is None else extents
    work_through(pieces(chosen, PIECE_BYTES), worker, count=work.workers, is_cancelled=work.is_cancelled)
    data.tell()
    return Copied(data.done_bytes, zero.done_bytes, data.seconds)


def _check_room(source: DiskOpener, target: DiskOpener) -> None:
    with closing(source()) as left, closing(target()) as right:
        if right.size_bytes < left.size_bytes:
            raise TargetTooSmall(
                f"The target has {right.size_bytes} bytes, the source {left.size_bytes}; nothing was written.",
                hint="Grow the target disk.",
            )


def _is_all_zero(disk: Disk, piece: Extent) -> bool:
    return all(extent.is_zero for extent in disk.extents(piece.offset_bytes, piece.length_bytes))


def differences(left: DiskOpener, right: DiskOpener, work: Work) -> list[Extent]:
    """Where two disks of one size differ, in whole pieces, sorted. Nothing is read where both say zero."""
    found: list[Extent] = []
    lock = Lock()
    meter = Meter(work.clock, work.listener)

    @contextmanager
    def worker() -> Iterator[Callable[[Extent], None]]:
        with closing(left()) as one, closing(right()) as other:

            def act(piece: Extent) -> None:
                where = (piece.offset_bytes, piece.length_bytes)
                are_zero = _is_all_zero(one, piece) and _is_all_zero(other, piece)
                if not are_zero and one.read(*where) != other.read(*where):
                    with lock:
                        found.append(piece)
                meter.add(piece.length_bytes)

            yield act

    with closing(left()) as disk:
        whole = [Extent(0, disk.size_bytes)]
    work_through(pieces(whole, PIECE_BYTES), worker, count=work.workers, is_cancelled=work.is_cancelled)
    meter.tell()
    return list(merged(sorted(found)))


def checksum(opener: DiskOpener, work: Work) -> str:
    """A whole disk's checksum, in hex: BLAKE3 over the BLAKE3 of each MiB; holes and written zeros count the same."""
    with closing(opener()) as disk:
        size_bytes = disk.size_bytes
    digests = bytearray(-(-size_bytes // PIECE_BYTES) * _DIGEST_BYTES)
    meter = Meter(work.clock, work.listener, size_bytes)

    @contextmanager
    def worker() -> Iterator[Callable[[Extent], None]]:
        with closing(opener()) as disk:

            def act(piece: Extent) -> None:
                is_zero = _is_all_zero(disk, piece)
                content = bytes(piece.length_bytes) if is_zero else disk.read(piece.offset_bytes, piece.length_bytes)
                at = piece.offset_bytes // PIECE_BYTES * _DIGEST_BYTES
                digests[at : at + _DIGEST_BYTES] = blake3(content).digest()
                meter.add(piece.length_bytes)

            yield act

    whole = [Extent(0, size_bytes)]
    work_through(pieces(whole, PIECE_BYTES), worker, count=work.workers, is_cancelled=work.is_cancelled)
    meter.tell()
    return blake3(bytes(digests)).hexdigest()
